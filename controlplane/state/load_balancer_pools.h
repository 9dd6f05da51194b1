// SPDX-License-Identifier: Apache-2.0
// The addresses that Services of type LoadBalancer get, as the flags of meshd give them.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ip_address.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

// spec.loadBalancerClass of Services that are meshd's to serve, beside an empty one.
inline constexpr char kLoadBalancerClass[] = "mesh.io/pool";

class LoadBalancerPools {
 public:
  LoadBalancerPools() = default;
  // Each "a.b.c.d/n" or "first-last". INVALID_ARGUMENT for anything else, and for addresses that
  // are in two of them.
  static absl::StatusOr<LoadBalancerPools> Parse(const std::vector<std::string>& ranges);

  bool Contains(const IpAddress& address) const;
  uint64_t size() const;
  // REQUIRES: index < size().
  IpAddress At(uint64_t index) const;
  // "192.168.1.240/28 (16 addresses), 192.168.2.1-192.168.2.9 (9 addresses)"
  std::string ToString() const;
  // OK when no address is in `range`, which `what` names.
  absl::Status CheckApart(const IpPrefix& range, const std::string& what) const;

 private:
  struct Range {
    uint32_t first;
    uint32_t last;  // inclusive
    std::string text;
  };
  std::vector<Range> ranges_;
};

// What a Service of type LoadBalancer gets: an address, or the reason why there is none.
struct BalancerChoice {
  std::string ip;
  // Of the event; both empty when the Service is not meshd's to serve.
  std::string reason;
  std::string message;
};

// The address that `service` has stays when it may. `owner` tells which other Service has an
// address; `from` is where the search for a free one begins.
BalancerChoice ChooseBalancerAddress(
    const LoadBalancerPools& pools, const v1::Service& service, uint64_t from,
    const std::function<std::optional<ObjectKey>(const std::string& ip)>& owner);

}  // namespace mesh::controlplane
