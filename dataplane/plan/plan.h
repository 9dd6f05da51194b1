// SPDX-License-Identifier: Apache-2.0
// What must be done to bring the maps from what they hold to what they should hold. Pure.
//
// Order, so that packets never meet a reference to something absent: policies, peers,
// identities and backends appear before the sets that hold them, sets and source ranges before the
// frontends that name them, and all leave in the other order. Nothing is removed on the word of an
// incomplete desired state.
//
// A TCP backend that leaves and may live (its Service or port is deleted, or Backend::may_outlive)
// keeps its row for its flows, as kLeft, until GiveBack(). Those rows make room when it is needed,
// the oldest first.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "dataplane/model/state.h"
#include "dataplane/plan/observed.h"
#include "dataplane/plan/room.h"

namespace mesh::dataplane {

struct PutNamespace {
  uint32_t identity = 0;
  Isolation isolation = Isolation::kDefault;
};
struct PutPeer {
  IpPrefix pod_cidr;
  PeerEntry node;
};
struct PutIdentity {
  IpAddress ip;
  IdentityEntry entry;
};
struct PutOutside {
  OutsidePlace place;
};
struct PutBackend {
  uint32_t backend_id = 0;
  BackendEntry entry;
};
struct PutSourceRange {
  uint32_t service_id = 0;
  IpPrefix range;
};
struct PutSet {
  uint32_t service_id = 0;
  Scope scope = Scope::kInternal;
  SetEntry entry;  // generation: of the observed entry, or 0
};
struct PutFrontend {
  Frontend frontend;
  FrontendEntry entry;
};
struct RemoveFrontend {
  Frontend frontend;
};
struct RemoveSet {
  uint32_t service_id = 0;
  Scope scope = Scope::kInternal;
};
struct RemoveSourceRange {
  uint32_t service_id = 0;
  IpPrefix range;
};
struct RemoveBackend {
  uint32_t backend_id = 0;
};
struct RemoveOutside {
  OutsidePlace place;
};
struct RemoveIdentity {
  IpAddress ip;
};
struct RemovePeer {
  IpPrefix pod_cidr;
};
struct RemoveNamespace {
  uint32_t identity = 0;
};
using Action =
    std::variant<PutNamespace, PutPeer, PutIdentity, PutOutside, PutBackend, PutSourceRange, PutSet,
                 PutFrontend, RemoveFrontend, RemoveSet, RemoveSourceRange, RemoveBackend,
                 RemoveOutside, RemoveIdentity, RemovePeer, RemoveNamespace>;

struct Plan {
  std::vector<Action> actions;
  // Decisions kept in flows may be wrong after these actions: flows have to be judged again.
  bool judge_flows_again = false;
  // What of the desired state cannot be programmed (two Services on one address and port, an
  // address of another family, a peer inside this node's range), the first of all by key; the rest
  // is planned.
  absl::Status problem;
};

// Numbers never given out yet; they move on.
struct NextIds {
  uint32_t service = 1;
  uint32_t backend = 1;
};

// Remembers which Service claims what, so that the cost of a plan follows the Services that have
// changed, not those that exist. Knows nothing of the maps: they are told with each plan.
//
// Two Services that claim one frontend: the first by key has it, the others are a problem until it
// is free. A Service whose rows do not fit into the maps beside the others' is left out as a whole
// and is a problem until they do; those that are served already stay.
class Planner {
 public:
  explicit Planner(NodeConfig node, NextIds next = {}, const RowCounts& limits = MapLimits());
  ~Planner();

  // Looks at `desired.changed_services` when they are named; the first plan, and the first complete
  // one, look at everything anyhow.
  // REQUIRES: `observed` is what the actions of all plans before, and of GiveBack(), have made of
  // the maps, or Forget() was called.
  Plan Compute(const DesiredState& desired, const Observed& observed);

  // The maps may hold anything: the next plan looks at everything. Numbers are not given out again.
  void Forget();

  // The Service whose port has this number, as planned last, and the index of the port. Null: none.
  const Service* Find(uint32_t service_id, size_t* port) const;
  // Why a frontend exists.
  FrontendKind Kind(const Frontend& frontend) const;

  // What Plan::problem has of Services: all of it, by Service.
  //   tell  with each problem's text
  void ForEachServiceProblem(
      const std::function<void(const Service& service, const std::string& problem)>& tell) const;

  const NextIds& next() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// A plan of everything, from no memory.
Plan ComputePlan(const NodeConfig& node, const DesiredState& desired, const Observed& observed,
                 NextIds& next);

// Names of the namespaces whose isolation `observed` does not have.
std::set<std::string> UnwrittenNamespaces(const DesiredState& desired, const Observed& observed);

// Carries out one action on a value: what the executor does to the maps. For the executor's memory
// and for tests.
void Perform(const Action& action, Observed& observed);

// Removes those of `unused`, backends that no flow names, that are still only kept for flows.
std::vector<Action> GiveBack(const std::set<uint32_t>& unused, const Observed& observed);

}  // namespace mesh::dataplane
