// SPDX-License-Identifier: Apache-2.0
// What the maps hold, in host terms, and by what a change of one Service needs.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "dataplane/model/state.h"

namespace mesh::dataplane {

// Whom a frontend serves; each scope of a Service port has its own set of backends.
enum class Scope : uint8_t { kInternal = 0, kExternal = 1 };
inline constexpr std::array<Scope, 2> kScopes = {Scope::kInternal, Scope::kExternal};

struct FrontendEntry {
  uint32_t service_id = 0;  // of the Service's port
  Scope scope = Scope::kInternal;
  uint32_t identity = 0;
  uint32_t affinity_seconds = 0;
  bool source_ranges = false;
  bool direct_return = false;
  friend auto operator<=>(const FrontendEntry&, const FrontendEntry&) = default;
};

struct SetEntry {
  // Raised by the executor with each change; no part of a plan.
  uint32_t generation = 0;
  Algorithm algorithm = Algorithm::kRandom;
  uint32_t table_size = 0;      // Maglev; else 0
  std::vector<uint32_t> slots;  // active backends by (ip, port), each as often as its share
  friend auto operator<=>(const SetEntry&, const SetEntry&) = default;
};

// A backend belongs to one Service port, for good: (service_id, ip, port) never changes for an id.
struct BackendEntry {
  uint32_t service_id = 0;
  IpAddress ip;
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  BackendState state = BackendState::kActive;
  uint16_t weight = 1;
  uint8_t scopes = kScopeBoth;  // of the sets it stands in
  bool counted = false;         // its live flows are: it stands in a least-loaded set
  friend auto operator<=>(const BackendEntry&, const BackendEntry&) = default;
};

// Everything that is kept under the number of one Service port.
struct ServiceEntry {
  std::set<Frontend> frontends;
  std::array<std::optional<SetEntry>, 2> sets;                     // by Scope
  std::map<std::pair<IpAddress, uint16_t>, uint32_t> backend_ids;  // by address and port
  std::set<IpPrefix> source_ranges;
  bool empty() const {
    return frontends.empty() && !sets[0] && !sets[1] && backend_ids.empty() &&
           source_ranges.empty();
  }
  friend bool operator==(const ServiceEntry&, const ServiceEntry&) = default;
};

// Addresses that mean something outside the pods' world.
enum class Outside : uint8_t {
  kNode,          // of another node
  kNoMasquerade,  // sees the pods' own addresses
  kAnnounced,     // this node answers ARP and neighbour solicitations for it
  kRoute,         // processes of this node reach it through mesh_host
  kPortRoute,     // so they do one port of an address that is not the cluster's as a whole
};
struct OutsidePlace {
  Outside kind = Outside::kNode;
  IpPrefix range;
  // Of kPortRoute.
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  friend auto operator<=>(const OutsidePlace&, const OutsidePlace&) = default;
};

// Of another node: end of the tunnel to it, and its address in the family of the pod range.
struct PeerEntry {
  IpAddress ip;
  IpAddress ip6;  // unset: none, and for ranges of IPv4
  friend auto operator<=>(const PeerEntry&, const PeerEntry&) = default;
};

// Whose an address is; `ns`: the number of its namespace, 0: the same as the identity.
struct IdentityEntry {
  uint32_t identity = 0;
  uint32_t ns = 0;
  friend auto operator<=>(const IdentityEntry&, const IdentityEntry&) = default;
};

struct Observed {
  std::map<Frontend, FrontendEntry> frontends;
  std::map<uint32_t, BackendEntry> backends;      // by backend id
  std::array<std::set<uint32_t>, 2> left;         // those in state kLeft: IPv4, IPv6
  std::map<uint32_t, ServiceEntry> services;      // by service id; every part has its rows
  std::map<IpPrefix, PeerEntry> peers;            // by pod range
  std::map<uint32_t, Isolation> namespaces;       // by identity; kDefault has no row
  std::map<IpAddress, IdentityEntry> identities;  // of pods and gateways of other nodes
  std::set<OutsidePlace> outside;
  friend bool operator==(const Observed&, const Observed&) = default;

  // These keep `services` in step.
  void Put(const Frontend& frontend, const FrontendEntry& entry);
  void Remove(const Frontend& frontend);
  void PutBackend(uint32_t backend_id, const BackendEntry& entry);
  void RemoveBackend(uint32_t backend_id);
  void PutSet(uint32_t service_id, Scope scope, SetEntry entry);
  void RemoveSet(uint32_t service_id, Scope scope);
  void PutSourceRange(uint32_t service_id, const IpPrefix& range);
  void RemoveSourceRange(uint32_t service_id, const IpPrefix& range);
  const std::set<uint32_t>& Left(Family family) const { return left[family == Family::kV6]; }
  // Null when there is none.
  const SetEntry* FindSet(uint32_t service_id, Scope scope) const;

 private:
  void Prune(uint32_t service_id);
};

}  // namespace mesh::dataplane
