// SPDX-License-Identifier: Apache-2.0
// Policies in the kernel's maps: mesh_pol_peer, mesh_pol_block(6), mesh_pol_port, mesh_pod_ns, and
// the part of the endpoints' rows that names their sets.
//
// Order. A pod's other set is written whole under a number that nobody names; then the pod's row
// names it; what nobody names any more goes with the next Collect(), when no packet is on its way
// with it. Members of selectors come and go row by row: what is said of a new identity is there
// before an address has it (Write(), then mesh_identity), and an address before a pod asks about it
// (mesh_identity, then Enforce()). What does not fit is refused as a whole:
// the pods keep the sets they have, and a new pod that needs others takes and sends nothing.
//
// Restart. Numbers are this object's own. A new one writes everything anew beside what it finds,
// under other numbers, and removes the rest: a complete state is needed for that, so that policies
// hold while no agent and no control plane lives.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "dataplane/bpf/map.h"
#include "dataplane/model/state.h"
#include "dataplane/policy/policy_table.h"
#include "dataplane/tables/endpoint_table.h"
#include "mesh/shared/identity_map.h"
#include "mesh/shared/limits.h"
#include "mesh/shared/policy_map.h"

namespace mesh::dataplane {

class PolicyTables {
 public:
  struct Maps {
    Map<mesh_pod_namespace_key, mesh_pod_namespace_value>& ns;
    Map<mesh_policy_peer_key, mesh_policy_class>& peer;
    Map<mesh_policy_block_key, mesh_policy_class>& block;
    Map<mesh_policy_block6_key, mesh_policy_class>* block6;  // null on a node without IPv6
    Map<mesh_policy_port_key, mesh_policy_decision>& port;
  };
  // Half of the maps: while all sets get other numbers, both kinds are there.
  static constexpr PolicyLimits kLimits = {.peers = MESH_POLICY_PEER_MAX_ENTRIES / 2,
                                           .blocks = MESH_POLICY_BLOCK_MAX_ENTRIES / 2,
                                           .ports = MESH_POLICY_PORT_MAX_ENTRIES / 2};

  // `endpoints` outlives this.
  PolicyTables(Maps maps, EndpointTable& endpoints, const PolicyLimits& limits = kLimits);

  // Bring maps and endpoints to `desired`, in two steps: what it needs beside what is in force;
  // then the endpoints that name it, and what goes. Enforce() follows each Write(), with the same
  // state. `judge_again` is set when flows that exist may be decided otherwise now, also after an
  // error. INVALID_ARGUMENT: the policies do not fit; nothing of them has changed. Others: try
  // again.
  absl::Status Write(const DesiredState& desired, bool* judge_again);
  absl::Status Enforce(const DesiredState& desired, bool* judge_again);

  // What the last Write() and Enforce() did not bring in force, because it does not fit or the
  // kernel has refused it.
  RefusedPolicies refused() const;

  // Read from the maps: what they say about pods of this node, by set and class.
  absl::StatusOr<std::vector<PolicyClassRow>> Rows() const;
  // Of the sets in force: the control plane's numbers, by those in the maps.
  std::map<uint32_t, uint32_t> Numbers() const;

  // What the row of a pod says that is to be attached. Its sets are in the maps, or it is shut.
  EndpointPolicy PolicyOf(uint32_t identity) const;
  void Attached(const Endpoint& endpoint, const EndpointPolicy& policy);
  void Detached(const IpAddress& ip) { endpoints_.erase(ip); }

  // Removes rows that packets may still have been on their way with; call it every second.
  absl::Status Collect();

 private:
  struct Bound {
    IpAddress ip6;
    EndpointPolicy policy;
  };
  struct Doomed {
    std::vector<mesh_policy_peer_key> peers;
    std::vector<mesh_policy_block_key> blocks;
    std::vector<mesh_policy_block6_key> blocks6;
    std::vector<mesh_policy_port_key> ports;
  };

  // From what is in force to what is asked for.
  struct Step {
    PolicyChange change;
    std::map<uint32_t, uint32_t> added;  // numbers of sets, here, by the control plane's
    std::vector<uint32_t> removed;       // sets, by the control plane's number
  };

  absl::Status Load();
  void BeginAnew(uint64_t epoch);
  // Where a write of the step fails it is not known which rows are there: all of them again, under
  // other numbers.
  absl::Status Whole(absl::Status status, const Step& step, const DesiredState& desired);
  absl::Status WriteNamespaces(const DesiredState& desired);
  absl::Status WriteRows(const PolicyRowChanges& changes);
  absl::Status RemoveMembers(const PolicyRowChanges& changes);
  void Doom(const PolicyRowChanges& changes);
  absl::Status DoomStrangers();
  absl::Status Bind(const std::map<IpAddress, uint32_t>& pods, bool* judge_again);
  EndpointPolicy::Sets SetsOf(uint32_t ingress, uint32_t egress) const;
  Step StepTo(const DesiredState& desired) const;
  // After a step that was refused: new identities that ask for no set that is not there.
  void KnowNew(const DesiredState& desired);
  // Those that the step is about.
  std::vector<uint32_t> SetsOf(const Step& step, const DesiredState& desired) const;

  Maps maps_;
  EndpointTable& endpoint_table_;
  const PolicyLimits limits_;
  bool loaded_ = false;
  std::map<IpAddress, Bound> endpoints_;           // by IPv4 address; what their rows say
  std::map<uint32_t, uint32_t> namespaces_;        // rows of mesh_pod_ns
  std::map<uint32_t, IdentityPolicy> identities_;  // in force
  uint64_t epoch_ = 0;
  std::optional<PolicyTable> table_;
  std::map<uint32_t, uint32_t> numbers_;  // of sets, here, by the control plane's
  // Numbers below these are not of `table_`.
  uint32_t first_set_ = 1, first_class_ = 1;
  uint32_t next_set_ = 1;
  RefusedPolicies refused_;
  bool strangers_ = false;    // there may be rows of others
  std::set<uint32_t> dirty_;  // identities to be looked at, when not all
  bool all_dirty_ = true;
  // Of a Write() whose Enforce() is to come.
  struct Written {
    Step step;
    PolicyRowChanges rows;
  };
  std::optional<Written> written_;
  Doomed doomed_;
};

}  // namespace mesh::dataplane
