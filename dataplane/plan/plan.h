// SPDX-License-Identifier: Apache-2.0
// What must be done to bring the maps from what they hold to what they should hold. Pure.
//
// Order, so that packets never meet a reference to something absent: policies, peers and backends
// appear before the Services that need them, and leave after them. Nothing is removed on the word
// of an incomplete desired state.
#pragma once

#include <compare>
#include <map>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "dataplane/model/state.h"

namespace mesh::dataplane {

// What a client dials.
struct Frontend {
  IpAddress vip;
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  friend auto operator<=>(const Frontend&, const Frontend&) = default;
};

struct ServiceEntry {
  uint32_t service_id = 0;
  uint32_t identity = 0;
  // Raised by the executor with each change of `backend_ids`; no part of a plan.
  uint32_t generation = 0;
  std::vector<uint32_t> backend_ids;  // active ones, ascending
  friend auto operator<=>(const ServiceEntry&, const ServiceEntry&) = default;
};

// A backend belongs to one Service port, for good: (service_id, ip, port) never changes for an id.
struct BackendEntry {
  uint32_t service_id = 0;
  IpAddress ip;
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  BackendState state = BackendState::kActive;
  uint16_t weight = 1;
  uint8_t scopes = kScopeBoth;
  friend auto operator<=>(const BackendEntry&, const BackendEntry&) = default;
};

// What the maps hold.
struct Observed {
  std::map<Frontend, ServiceEntry> services;
  std::map<uint32_t, BackendEntry> backends;  // by backend id
  std::map<IpPrefix, IpAddress> peers;        // pod range -> node
  std::map<uint32_t, Isolation> namespaces;   // by identity; kDefault has no row
  friend auto operator<=>(const Observed&, const Observed&) = default;
};

struct PutNamespace {
  uint32_t identity = 0;
  Isolation isolation = Isolation::kDefault;
};
struct PutPeer {
  IpPrefix pod_cidr;
  IpAddress node;
};
struct PutBackend {
  uint32_t backend_id = 0;
  BackendEntry entry;
};
struct PutService {
  Frontend frontend;
  ServiceEntry entry;  // generation: of the observed entry, or 0
};
struct RemoveService {
  Frontend frontend;
};
struct RemoveBackend {
  uint32_t backend_id = 0;
};
struct RemovePeer {
  IpPrefix pod_cidr;
};
struct RemoveNamespace {
  uint32_t identity = 0;
};
using Action = std::variant<PutNamespace, PutPeer, PutBackend, PutService, RemoveService,
                            RemoveBackend, RemovePeer, RemoveNamespace>;

struct Plan {
  std::vector<Action> actions;
  // Decisions kept in flows may be wrong after these actions: flows have to be judged again.
  bool judge_flows_again = false;
  // What of the desired state cannot be programmed (two Services on one address and port, an IPv6
  // address, a peer inside this node's range); the rest is planned.
  absl::Status problem;
};

// Numbers never given out yet; they move on.
struct NextIds {
  uint32_t service = 1;
  uint32_t backend = 1;
};

Plan ComputePlan(const NodeConfig& node, const DesiredState& desired, const Observed& observed,
                 NextIds& next);

// Carries out one action on a value: what the executor does to the maps. For the executor's memory
// and for tests.
void Perform(const Action& action, Observed& observed);

}  // namespace mesh::dataplane
