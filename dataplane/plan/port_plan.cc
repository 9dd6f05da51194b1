// SPDX-License-Identifier: Apache-2.0
#include "dataplane/plan/port_plan.h"

#include <algorithm>
#include <numeric>

#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

constexpr uint64_t kSlotsMax = 1024;

}  // namespace

std::vector<Claim> ClaimsOf(const std::string& key, const Service& service, const ServicePort& port,
                            std::vector<std::string>* problems) {
  std::vector<Claim> out;
  const bool has_cluster_ip = service.cluster_ip != IpAddress();
  const auto claim = [&](const IpAddress& ip, FrontendKind kind) {
    if (!IsOf(service.family, ip) || port.port == 0) {
      problems->push_back(fmt::format("service {}: cannot serve {} port {} in {}", key,
                                      ip.ToString(), port.port, NameOf(service.family)));
      return;
    }
    out.push_back({{ip, port.port, port.protocol}, kind});
  };
  if (has_cluster_ip) claim(service.cluster_ip, FrontendKind::kClusterIp);
  if (port.node_port != 0) {
    out.push_back(
        {{AnyAddress(service.family), port.node_port, port.protocol},
         has_cluster_ip || service.outside ? FrontendKind::kNodePort : FrontendKind::kHostPort});
  }
  for (const IpAddress& ip : service.load_balancer_ips) claim(ip, FrontendKind::kLoadBalancer);
  for (const IpAddress& ip : service.external_ips) claim(ip, FrontendKind::kExternalIp);
  return out;
}

bool IsOf(Family family, const IpAddress& ip) {
  return FamilyOf(ip) == family && ip != AnyAddress(family);
}

std::vector<uint8_t> ServedScopes(const std::vector<const Backend*>& backends) {
  uint8_t active = 0;
  for (const Backend* backend : backends) {
    if (backend->state == BackendState::kActive) active |= backend->scopes;
  }
  std::vector<uint8_t> out;
  out.reserve(backends.size());
  for (const Backend* backend : backends) {
    if (backend->state == BackendState::kActive) {
      out.push_back(backend->scopes);
    } else {
      out.push_back(backend->serves_last ? backend->scopes & ~active & kScopeBoth : 0);
    }
  }
  return out;
}

std::vector<uint32_t> SlotsOf(const std::vector<std::pair<uint32_t, uint16_t>>& weights) {
  uint64_t divisor = 0, total = 0;
  for (const auto& [id, weight] : weights) {
    divisor = std::gcd(divisor, uint64_t{std::max<uint16_t>(1, weight)});
    total += std::max<uint16_t>(1, weight);
  }
  std::vector<uint32_t> out;
  if (weights.empty()) return out;
  total /= divisor;
  const uint64_t limit = std::max<uint64_t>(kSlotsMax, 2 * weights.size());
  for (const auto& [id, weight] : weights) {
    uint64_t count = std::max<uint16_t>(1, weight) / divisor;
    if (total > limit) count = std::max<uint64_t>(1, (count * limit + total / 2) / total);
    out.insert(out.end(), count, id);
  }
  return out;
}

Algorithm AlgorithmOf(const Service& service, Scope scope) {
  return scope == Scope::kInternal ? service.internal_algorithm : service.external_algorithm;
}

std::string Describe(const Frontend& frontend) {
  const char* protocol = frontend.protocol == Protocol::kUdp ? "UDP" : "TCP";
  const Family family = FamilyOf(frontend.vip);
  if (frontend.vip == AnyAddress(family)) {
    return fmt::format("NodePort {}/{}", frontend.port, protocol);
  }
  const std::string ip = frontend.vip.ToString();
  return fmt::format("{}:{}/{}", family == Family::kV4 ? ip : fmt::format("[{}]", ip),
                     frontend.port, protocol);
}

}  // namespace mesh::dataplane
