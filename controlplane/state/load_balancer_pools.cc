// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/load_balancer_pools.h"

#include <algorithm>

#include "common/check.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::controlplane {

absl::StatusOr<LoadBalancerPools> LoadBalancerPools::Parse(const std::vector<std::string>& ranges) {
  LoadBalancerPools out;
  for (const std::string& text : ranges) {
    Range range{.first = 0, .last = 0, .text = text};
    if (const size_t dash = text.find('-'); dash != std::string::npos) {
      const auto first = IpAddress::Parse(text.substr(0, dash));
      const auto last = IpAddress::Parse(text.substr(dash + 1));
      if (!first.ok() || !last.ok() || !first->is_v4() || !last->is_v4() ||
          first->v4() > last->v4()) {
        return absl::InvalidArgumentError(fmt::format(
            "load balancer pool \"{}\" is not FIRST-LAST, e.g. 192.168.1.240-192.168.1.250", text));
      }
      range.first = first->v4();
      range.last = last->v4();
    } else {
      const auto prefix = IpPrefix::Parse(text);
      if (!prefix.ok() || !prefix->base().is_v4()) {
        return absl::InvalidArgumentError(fmt::format(
            "load balancer pool \"{}\" is neither an IPv4 range, e.g. 192.168.1.240/28, nor "
            "FIRST-LAST",
            text));
      }
      range.first = prefix->base().v4();
      range.last = static_cast<uint32_t>(range.first + prefix->size() - 1);
    }
    for (const Range& other : out.ranges_) {
      if (range.first > other.last || other.first > range.last) continue;
      return absl::InvalidArgumentError(
          fmt::format("load balancer pools \"{}\" and \"{}\" overlap", other.text, text));
    }
    out.ranges_.push_back(std::move(range));
  }
  return out;
}

bool LoadBalancerPools::Contains(const IpAddress& address) const {
  if (!address.is_v4()) return false;
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return address.v4() >= range.first && address.v4() <= range.last;
  });
}

uint64_t LoadBalancerPools::size() const {
  uint64_t out = 0;
  for (const Range& range : ranges_) out += uint64_t{range.last} - range.first + 1;
  return out;
}

IpAddress LoadBalancerPools::At(uint64_t index) const {
  for (const Range& range : ranges_) {
    const uint64_t count = uint64_t{range.last} - range.first + 1;
    if (index < count) return IpAddress::V4(static_cast<uint32_t>(range.first + index));
    index -= count;
  }
  MESH_CHECK(false) << "beyond the end of the pools";
  __builtin_unreachable();
}

std::string LoadBalancerPools::ToString() const {
  std::string out;
  for (const Range& range : ranges_) {
    const uint64_t count = uint64_t{range.last} - range.first + 1;
    out += fmt::format("{}{} ({} {})", out.empty() ? "" : ", ", range.text, count,
                       count == 1 ? "address" : "addresses");
  }
  return out;
}

absl::Status LoadBalancerPools::CheckApart(const IpPrefix& range, const std::string& what) const {
  const uint32_t first = range.base().v4();
  const auto last = static_cast<uint32_t>(first + range.size() - 1);
  for (const Range& own : ranges_) {
    if (own.first > last || first > own.last) continue;
    return absl::InvalidArgumentError(
        fmt::format("load balancer pool \"{}\" overlaps {} {}", own.text, what, range.ToString()));
  }
  return absl::OkStatus();
}

BalancerChoice ChooseBalancerAddress(
    const LoadBalancerPools& pools, const v1::Service& service, uint64_t from,
    const std::function<std::optional<ObjectKey>(const std::string& ip)>& owner) {
  const v1::ServiceSpec& spec = service.spec();
  const std::string& load_balancer_class = spec.load_balancer_class();
  if (!load_balancer_class.empty() && load_balancer_class != kLoadBalancerClass) return {};
  const uint64_t size = pools.size();
  if (size == 0) {
    return {.ip = "",
            .reason = "NoLoadBalancerPool",
            .message = "no address to give: meshd has no --load-balancer-pool"};
  }
  if (!spec.load_balancer_ip().empty()) {
    const auto wanted = IpAddress::Parse(spec.load_balancer_ip());
    if (!wanted.ok() || !pools.Contains(*wanted)) {
      return {.ip = "",
              .reason = "AddressOutsidePool",
              .message = fmt::format("spec.loadBalancerIP {} is outside of the pool {}",
                                     spec.load_balancer_ip(), pools.ToString())};
    }
    if (const auto other = owner(wanted->ToString())) {
      return {.ip = "",
              .reason = "AddressInUse",
              .message = fmt::format("spec.loadBalancerIP {} is in use by Service {}",
                                     spec.load_balancer_ip(), other->ToString())};
    }
    return {.ip = wanted->ToString(), .reason = "", .message = ""};
  }
  if (service.status().load_balancer().ingress_size() > 0) {
    const std::string& present = service.status().load_balancer().ingress(0).ip();
    const auto address = IpAddress::Parse(present);
    if (address.ok() && pools.Contains(*address) && !owner(present)) {
      return {.ip = present, .reason = "", .message = ""};
    }
  }
  for (uint64_t tried = 0; tried < size; ++tried) {
    std::string ip = pools.At((from + tried) % size).ToString();
    if (!owner(ip)) return {.ip = std::move(ip), .reason = "", .message = ""};
  }
  return {.ip = "",
          .reason = "PoolExhausted",
          .message = fmt::format("all {} addresses of the pool {} are in use; delete a Service of "
                                 "type LoadBalancer, or start meshd with a larger "
                                 "--load-balancer-pool",
                                 size, pools.ToString())};
}

}  // namespace mesh::controlplane
