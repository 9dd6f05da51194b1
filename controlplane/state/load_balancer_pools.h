// SPDX-License-Identifier: Apache-2.0
// The addresses that Services of type LoadBalancer get, as the flags of meshd give them.
#pragma once

#include <array>
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
  // Each a range ("192.168.1.240/28", "fd00:1::/112") or "first-last" of one family (IPv6: of one
  // /64), or several of them with commas between. INVALID_ARGUMENT for anything else, and for
  // addresses that are in two of them.
  static absl::StatusOr<LoadBalancerPools> Parse(const std::vector<std::string>& ranges);

  bool Contains(const IpAddress& address) const;
  // Addresses of one family, saturated at 2^63.
  uint64_t size(bool is_v4) const;
  // REQUIRES: index < size(is_v4).
  IpAddress At(bool is_v4, uint64_t index) const;
  // "192.168.1.240/28 (16 addresses), 192.168.2.1-192.168.2.9 (9 addresses)": those of a family.
  std::string ToString(bool is_v4) const;
  // OK when no address is in `range`, which `what` names.
  absl::Status CheckApart(const IpPrefix& range, const std::string& what) const;

 private:
  struct Range {
    IpAddress first;
    IpAddress last;  // inclusive
    std::string text;
    // Saturated at 2^63.
    uint64_t size() const;
  };
  std::vector<Range> ranges_;
};

// What a Service of type LoadBalancer gets: one address of each of its families, in their order.
struct BalancerChoice {
  std::vector<std::string> ips;
  // Of the event that says why a family has none; both empty when nothing is missing, and when the
  // Service is not meshd's to serve. A family that a PreferDualStack Service has beside another is
  // not missed.
  std::string reason;
  std::string message;
};

// Who has an address, other than the Service that is asked for: of the pool, or for one of its
// ports as an externalIP.
struct BalancerOwners {
  std::function<std::optional<ObjectKey>(const std::string& ip)> pool;
  std::function<std::optional<ObjectKey>(const ExternalPort& port)> external;
};

// The addresses that `service` has stay when they may; what others have is not given. `from` is
// where the search for a free one of IPv4, of IPv6, begins.
BalancerChoice ChooseBalancerAddresses(const LoadBalancerPools& pools, const v1::Service& service,
                                       const std::array<uint64_t, 2>& from,
                                       const BalancerOwners& owners);

// Its address is not meshd's to give.
bool IsForeignBalancer(const v1::Service& service);

// Of its status.
std::vector<std::string> BalancerAddressesOf(const v1::Service& service);

}  // namespace mesh::controlplane
