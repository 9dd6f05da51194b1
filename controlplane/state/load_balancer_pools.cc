// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/load_balancer_pools.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "common/check.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr uint64_t kSizeMax = uint64_t{1} << 63;

const char* FamilyName(bool is_v4) { return is_v4 ? "IPv4" : "IPv6"; }

uint64_t Low(const IpAddress& address) {
  uint64_t out = 0;
  for (int i = 8; i < 16; ++i) out = out << 8 | address.bytes()[i];
  return out;
}

bool SameHigh(const IpAddress& a, const IpAddress& b) {
  return std::equal(a.bytes().begin(), a.bytes().begin() + 8, b.bytes().begin());
}

constexpr char kForms[] =
    "FIRST-LAST, such as 192.168.1.240-192.168.1.250, or a range such as 192.168.1.240/28";

std::string Quoted(const std::string& text) { return fmt::format("\"{}\"", text); }

absl::Status Refused(const std::string& range, const std::string& why) {
  return absl::InvalidArgumentError(fmt::format("--load-balancer-pool {}: {}", range, why));
}

// REQUIRES: the last 64 bits do not overflow.
IpAddress Plus(const IpAddress& address, uint64_t count) {
  std::array<uint8_t, 16> bytes = address.bytes();
  const uint64_t low = Low(address) + count;
  for (int i = 0; i < 8; ++i) bytes[8 + i] = static_cast<uint8_t>(low >> (56 - 8 * i));
  return IpAddress::FromBytes(bytes);
}

// One range each; commas separate several in one value of the flag.
std::vector<std::string> Separated(const std::vector<std::string>& values) {
  std::vector<std::string> out;
  for (const std::string& value : values) {
    const std::vector<std::string> texts = absl::StrSplit(value, ',');
    out.insert(out.end(), texts.begin(), texts.end());
  }
  return out;
}

IpAddress LastOf(const IpPrefix& prefix) {
  std::array<uint8_t, 16> bytes = prefix.base().bytes();
  const int fixed = (prefix.base().is_v4() ? 96 : 0) + prefix.length();
  for (int bit = fixed; bit < 128; ++bit) bytes[bit / 8] |= 0x80 >> (bit % 8);
  return IpAddress::FromBytes(bytes);
}

}  // namespace

uint64_t LoadBalancerPools::Range::size() const {
  if (!SameHigh(first, last)) return kSizeMax;
  const uint64_t distance = Low(last) - Low(first);
  return distance >= kSizeMax ? kSizeMax : distance + 1;
}

absl::StatusOr<LoadBalancerPools> LoadBalancerPools::Parse(const std::vector<std::string>& ranges) {
  LoadBalancerPools out;
  for (const std::string& text : Separated(ranges)) {
    Range range{.first = {}, .last = {}, .text = text};
    if (const size_t dash = text.find('-'); dash != std::string::npos) {
      const auto first = IpAddress::Parse(text.substr(0, dash));
      const auto last = IpAddress::Parse(text.substr(dash + 1));
      if (!first.ok() || !last.ok()) {
        return Refused(text, fmt::format("{} is no address: give {}",
                                         !first.ok() ? Quoted(text.substr(0, dash))
                                                     : Quoted(text.substr(dash + 1)),
                                         kForms));
      }
      if (first->is_v4() != last->is_v4())
        return Refused(text, "its ends are of different families: give a range for each");
      if (*first > *last) {
        return Refused(text, fmt::format("its first address is above its last: give {}-{}",
                                         last->ToString(), first->ToString()));
      }
      if (!SameHigh(*first, *last))
        return Refused(text, "reaches over several /64: give a range for each of them");
      range.first = *first;
      range.last = *last;
    } else {
      const auto prefix = IpPrefix::Parse(text);
      if (!prefix.ok()) {
        const auto masked = IpPrefix::ParseMasked(text);
        return Refused(text, masked.ok() ? fmt::format("has bits set beyond its length: give {}",
                                                       masked->ToString())
                                         : fmt::format("is no range: give {}", kForms));
      }
      range.first = prefix->base();
      range.last = LastOf(*prefix);
    }
    for (const Range& other : out.ranges_) {
      if (range.first > other.last || other.first > range.last) continue;
      return Refused(text, fmt::format("overlaps --load-balancer-pool {}: give each address once",
                                       other.text));
    }
    out.ranges_.push_back(std::move(range));
  }
  return out;
}

bool LoadBalancerPools::Contains(const IpAddress& address) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return address >= range.first && address <= range.last;
  });
}

uint64_t LoadBalancerPools::size(bool is_v4) const {
  uint64_t out = 0;
  for (const Range& range : ranges_) {
    if (range.first.is_v4() == is_v4) out = std::min(kSizeMax, out + range.size());
  }
  return out;
}

IpAddress LoadBalancerPools::At(bool is_v4, uint64_t index) const {
  for (const Range& range : ranges_) {
    if (range.first.is_v4() != is_v4) continue;
    if (index < range.size()) return Plus(range.first, index);
    index -= range.size();
  }
  MESH_CHECK(false) << "beyond the end of the pools";
  __builtin_unreachable();
}

std::string LoadBalancerPools::ToString(bool is_v4) const {
  std::string out;
  for (const Range& range : ranges_) {
    if (range.first.is_v4() != is_v4) continue;
    const uint64_t count = range.size();
    out += fmt::format("{}{} ({} {})", out.empty() ? "" : ", ", range.text, count,
                       count == 1 ? "address" : "addresses");
  }
  return out;
}

absl::Status LoadBalancerPools::CheckApart(const IpPrefix& range, const std::string& what) const {
  const IpAddress last = LastOf(range);
  for (const Range& own : ranges_) {
    if (own.first.is_v4() != range.base().is_v4()) continue;
    if (own.first > last || range.base() > own.last) continue;
    return absl::InvalidArgumentError(
        fmt::format("--load-balancer-pool {}: overlaps {} {}", own.text, what, range.ToString()));
  }
  return absl::OkStatus();
}

bool IsForeignBalancer(const v1::Service& service) {
  const std::string& name = service.spec().load_balancer_class();
  return !name.empty() && name != kLoadBalancerClass;
}

std::vector<std::string> BalancerAddressesOf(const v1::Service& service) {
  std::vector<std::string> out;
  for (const auto& entry : service.status().load_balancer().ingress()) out.push_back(entry.ip());
  return out;
}

namespace {

// Somebody else's externalIP, at a port of this Service.
std::optional<ObjectKey> ServedFromOutside(const BalancerOwners& owners, const v1::Service& service,
                                           const std::string& ip) {
  for (const v1::ServicePort& port : service.spec().ports()) {
    if (auto other = owners.external({ip, port.port(), port.protocol()})) return other;
  }
  return std::nullopt;
}

// Of one family: the address, or why there is none.
BalancerChoice ChooseOne(const LoadBalancerPools& pools, const v1::Service& service, bool is_v4,
                         uint64_t from, const BalancerOwners& owners) {
  const uint64_t size = pools.size(is_v4);
  if (size == 0) {
    return {.ips = {},
            .reason = "NoLoadBalancerPool",
            .message = pools.size(!is_v4) == 0
                           ? "no address to give: meshd has no --load-balancer-pool"
                           : fmt::format("no {0} address to give: meshd has no "
                                         "--load-balancer-pool of {0}",
                                         FamilyName(is_v4))};
  }
  const std::string& text = service.spec().load_balancer_ip();
  const auto wanted = IpAddress::Parse(text);
  if (!text.empty() && (!wanted.ok() || wanted->is_v4() == is_v4)) {
    if (!wanted.ok() || !pools.Contains(*wanted)) {
      return {.ips = {},
              .reason = "AddressOutsidePool",
              .message = fmt::format("spec.loadBalancerIP {} is outside of the pool {}", text,
                                     pools.ToString(is_v4))};
    }
    if (const auto other = owners.pool(wanted->ToString())) {
      return {.ips = {},
              .reason = "AddressInUse",
              .message = fmt::format("spec.loadBalancerIP {} is in use by Service {}", text,
                                     other->ToString())};
    }
    const std::vector<std::string> had = BalancerAddressesOf(service);
    const bool has_it = std::find(had.begin(), had.end(), wanted->ToString()) != had.end();
    if (const auto other = ServedFromOutside(owners, service, wanted->ToString());
        other && !has_it) {
      return {
          .ips = {},
          .reason = "AddressInUse",
          .message = fmt::format("spec.loadBalancerIP {} is in use by Service {}, as one of its "
                                 "externalIPs with the same port",
                                 text, other->ToString())};
    }
    return {.ips = {wanted->ToString()}, .reason = "", .message = ""};
  }
  for (const std::string& present : BalancerAddressesOf(service)) {
    const auto address = IpAddress::Parse(present);
    const bool stays = address.ok() && address->is_v4() == is_v4 && pools.Contains(*address);
    if (stays && !owners.pool(present)) return {.ips = {present}, .reason = "", .message = ""};
  }
  for (uint64_t tried = 0; tried < size; ++tried) {
    std::string ip = pools.At(is_v4, (from + tried) % size).ToString();
    if (owners.pool(ip) || ServedFromOutside(owners, service, ip)) continue;
    return {.ips = {std::move(ip)}, .reason = "", .message = ""};
  }
  return {
      .ips = {},
      .reason = "PoolExhausted",
      .message = fmt::format("all addresses of the pool {} are in use; delete a Service of type "
                             "LoadBalancer, or start meshd with a larger --load-balancer-pool",
                             pools.ToString(is_v4))};
}

}  // namespace

BalancerChoice ChooseBalancerAddresses(const LoadBalancerPools& pools, const v1::Service& service,
                                       const std::array<uint64_t, 2>& from,
                                       const BalancerOwners& owners) {
  const v1::ServiceSpec& spec = service.spec();
  if (IsForeignBalancer(service)) return {};
  BalancerChoice out;
  std::vector<std::string> families(spec.ip_families().begin(), spec.ip_families().end());
  if (families.empty()) families = {"IPv4"};
  BalancerChoice missing;
  for (const std::string& family : families) {
    const bool is_v4 = family == "IPv4";
    BalancerChoice one = ChooseOne(pools, service, is_v4, from[is_v4 ? 0 : 1], owners);
    out.ips.insert(out.ips.end(), one.ips.begin(), one.ips.end());
    if (one.ips.empty() && missing.reason.empty()) missing = std::move(one);
  }
  // Without a pool of the second family that was only preferred, the first is all there is.
  const bool content = !out.ips.empty() && missing.reason == "NoLoadBalancerPool" &&
                       spec.ip_family_policy() == "PreferDualStack";
  if (!content) {
    out.reason = missing.reason;
    out.message = missing.message;
  }
  const auto wanted = IpAddress::Parse(spec.load_balancer_ip());
  if (wanted.ok() && out.reason.empty() &&
      std::find(families.begin(), families.end(), FamilyName(wanted->is_v4())) == families.end()) {
    out.reason = "AddressFamily";
    out.message = fmt::format("spec.loadBalancerIP {} is not given: the Service has no {}",
                              spec.load_balancer_ip(), FamilyName(wanted->is_v4()));
  }
  return out;
}

}  // namespace mesh::controlplane
