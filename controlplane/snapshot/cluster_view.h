// SPDX-License-Identifier: Apache-2.0
// What every node must know of the cluster, kept current change by change: the cost of one changed
// endpoint does not depend on the number of services.
//
// Thread: loop only. Deterministic.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "controlplane/controllers/controller.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

class ClusterView {
 public:
  // `identities`: with those of pods, for nodes that do not learn them from packets (native
  // routing), or that must know whom their pods send to.
  explicit ClusterView(bool identities = false) : identities_wanted_(identities) {}
  // From the next Refresh on.
  void WantIdentities(bool wanted, const ClusterState& state);

  // Everything anew; the increment is not of interest.
  void Reset(const ClusterState& state);
  // Marks what a change may concern. Cheap.
  void Note(const Change& change);
  bool dirty() const {
    return !services_dirty_.empty() || !nodes_dirty_.empty() || namespaces_dirty_ ||
           !pods_dirty_.empty();
  }
  // Looks at what is dirty, and returns what is different from before (full is false; without
  // revision). The same for every node but for what DropOwn takes out.
  v1::NodeUpdate Refresh(const ClusterState& state);

  // Equal to BuildClusterPart of the state of the last Refresh, but for the revision and the
  // identities. Without what it says about `node` itself, when given.
  v1::NodeUpdate Full(const std::string& node = {}) const;

  // Takes out what the increment of the last Refresh says about the node itself: its row among the
  // peers, and those of its own pods.
  void DropOwn(const std::string& node, v1::NodeUpdate* increment) const;

  // Some Service sends new flows to this address.
  bool IsActive(const std::string& ip) const { return active_.contains(ip); }

 private:
  void NoteAnnouncer(const Change& change);
  void RefreshService(const ClusterState& state, const ObjectKey& key, v1::NodeUpdate* out);
  void RefreshNode(const ClusterState& state, const std::string& name, v1::NodeUpdate* out);
  void RefreshNamespaces(const ClusterState& state, v1::NodeUpdate* out);
  struct PodRow {
    std::string node;
    v1::PodIdentity identity;
  };
  std::optional<PodRow> RowOf(const ClusterState& state, const ObjectKey& key) const;
  void RemovePod(const ClusterState& state, const ObjectKey& key, v1::NodeUpdate* out);
  void AddPod(const ClusterState& state, const ObjectKey& key, v1::NodeUpdate* out);
  void CountActive(const v1::ServiceState& service, int by);

  std::map<ObjectKey, v1::ServiceState> services_;
  std::map<std::string, v1::PeerNode> nodes_;
  std::map<uint32_t, v1::NamespaceState> namespaces_;
  std::map<std::string, int> active_;  // address -> ports of services that have it ACTIVE
  std::set<ObjectKey> announced_;      // Services with load balancer addresses
  std::set<ObjectKey> services_dirty_;
  std::set<std::string> nodes_dirty_;
  bool namespaces_dirty_ = false;
  // Identities of pods that have a node and an address.
  bool identities_wanted_;
  std::map<ObjectKey, PodRow> pods_;
  std::set<ObjectKey> pods_dirty_;
  // Addresses that the last increment speaks of, by their node.
  std::map<std::string, std::set<std::string>> spoken_of_;
};

}  // namespace mesh::controlplane
