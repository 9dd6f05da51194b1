// SPDX-License-Identifier: Apache-2.0
// What the control plane says, in the dataplane's terms. No I/O.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/network/service_translation.h"
#include "agent/network/taken_ports.h"
#include "agent/network/warning.h"
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
//   node_ip6  empty: none
absl::StatusOr<dataplane::NodeConfig> BuildNodeConfig(const v1::Welcome& config,
                                                      const std::string& node_name,
                                                      const std::string& node_ip,
                                                      const std::string& node_ip6,
                                                      const Uplink& uplink);

struct Translation {
  dataplane::DesiredState desired;
  // One line per thing that cannot be programmed and was left out, with its reason.
  std::vector<std::string> skipped;
};

// Translates one state after the other. What a state shares with the one before is not looked at
// again: an update costs what it changes.
class DesiredStateBuilder {
 public:
  // `config`: of the dataplane that gets the states.
  explicit DesiredStateBuilder(dataplane::NodeConfig config)
      : config_(std::move(config)),
        taken_ports_(config_.node_name, config_.node_ip, config_.node_ip6) {}

  // The result is this object's, until the next call, and equal to what a new builder would give,
  // but for the lists of what changed, which are relative to the call before (unset after the
  // first).
  const Translation& Build(NodeStatePtr state);
  // Who listens on the node now, for the result of the last Build() too. True: that has changed.
  bool SetListeners(const NodeListeners& listeners);
  // Whether it matters, and whether it has begun to with the last Build().
  bool AsksForListeners() const { return taken_ports_.AnyNamed(); }
  bool AsksForListenersAnew() const { return names_anew_; }
  // Pods of the last state whose host ports are not all served here, and why.
  std::set<NetworkWarning> HostPortProblems() const;
  // Services of the last state of which something was left out, and why.
  std::set<NetworkWarning> ServiceProblems() const;

 private:
  // Both halves of `key`.
  void Change(const std::string& key, Translated translated, std::vector<std::string> skipped);
  void ChangeOne(const std::string& key, std::optional<dataplane::Service> service);
  void UpdateServices(const NodeState& before, const NodeState& now, const NodeView& node);
  void UpdateHostPorts(const NodeState& now, const NodeView& node);
  void UpdatePeers(const NodeState& now);
  std::optional<dataplane::Peer> TranslatePeer(const std::string& name, const v1::PeerNode& from);
  void UpdateNamespaces(const NodeState& now);
  void UpdatePodIdentities(const NodeState& before, const NodeState& now);
  void UpdatePolicies(const NodeState& before, const NodeState& now);
  // One or two; each that is none gets a line.
  std::vector<IpAddress> AddressesOf(const std::string& ip, const PodIdentity& pod,
                                     std::vector<std::string>* skipped) const;

  const dataplane::NodeConfig config_;
  NodeStatePtr state_;  // of the last call
  NodeView node_;
  Translation out_;
  TakenPorts taken_ports_;
  bool names_anew_ = false;           // a Service with external addresses has come or changed
  std::set<std::string> host_ports_;  // keys, of both halves
  // Lines about Services and pods, by key in DesiredState::services; about pods of other nodes, by
  // address; and about the rest.
  std::map<std::string, std::vector<std::string>> skipped_;
  std::map<std::string, std::vector<std::string>> skipped_identities_;
  std::map<uint32_t, std::string> skipped_sets_;
  std::vector<std::string> skipped_peers_, skipped_namespaces_;
};

}  // namespace mesh::agent
