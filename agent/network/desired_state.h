// SPDX-License-Identifier: Apache-2.0
// What the control plane says, in the dataplane's terms. No I/O.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/network/service_translation.h"
#include "agent/state/node_state.h"
#include "dataplane/model/state.h"

namespace mesh::agent {

// What the node itself knows of its uplink.
struct Uplink {
  std::string name;
  int mtu = 1500;
  bool xdp = false;
};

// INVALID_ARGUMENT names the range or address that does not parse. REQUIRES: nothing; an empty
// `config` (no Welcome yet) is UNAVAILABLE.
absl::StatusOr<dataplane::NodeConfig> BuildNodeConfig(const v1::Welcome& config,
                                                      const std::string& node_name,
                                                      const std::string& node_ip,
                                                      const Uplink& uplink);

struct Translation {
  dataplane::DesiredState desired;
  // One line per thing that cannot be programmed and was left out, with its reason.
  std::vector<std::string> skipped;
};

// Translates one state after the other. What a state shares with the one before is not looked at
// again: an update costs one pass over pointers and what it changes.
class DesiredStateBuilder {
 public:
  // `node_ip`: as the other nodes know it.
  explicit DesiredStateBuilder(IpAddress node_ip) : node_ip_(node_ip) {}

  // The result is this object's, until the next call, and equal to what a new builder would give,
  // but for `changed_services`, which is relative to the call before (unset after the first).
  const Translation& Build(NodeStatePtr state);

 private:
  void Change(const std::string& key, std::optional<dataplane::Service> service,
              std::vector<std::string> skipped);
  void UpdateServices(const NodeState& before, const NodeState& now, const NodeView& node);
  void UpdateHostPorts(const NodeState& now, const NodeView& node);
  void UpdatePeers(const NodeState& now);
  void UpdateNamespaces(const NodeState& now);

  const IpAddress node_ip_;
  NodeStatePtr state_;  // of the last call
  NodeView node_;
  Translation out_;
  std::set<std::string> host_ports_;  // keys
  // Lines about Services and pods, by key in DesiredState::services; and about the rest.
  std::map<std::string, std::vector<std::string>> skipped_;
  std::vector<std::string> skipped_others_;
};

}  // namespace mesh::agent
