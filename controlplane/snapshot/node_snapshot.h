// SPDX-License-Identifier: Apache-2.0
// What one node must know of the cluster, as the messages of its sync stream. Pure functions.
//
// Apply(Apply(s, a), b) == Apply(s, Merge(a, b)): increments that a slow node has not taken yet
// merge into one, in any grouping.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

// The parts, one object each. A Service that waits for its cluster IP, a Node without an address or
// range is not told: nullopt.
std::optional<v1::ServiceState> BuildService(const ClusterState& state, const ObjectKey& key);
// The node that answers for the Service's load balancer addresses: of those that may (with
// externalTrafficPolicy Local: of those with a ready endpoint, or where no node has one, with one
// that stops and still serves) `kept`, else the one with the highest RendezvousWeight(). With that
// policy `kept` stays also while an endpoint of it stops and still serves: the connections to it
// are known there, and the agent there leads new ones to the next node. Empty: none.
std::string AnnouncingNode(const ClusterState& state, const v1::ServiceState& service,
                           std::string_view kept = {});
// The condition of a Service that names its announcing node, as the message. It is the choice of
// before, which stays while the node can (controllers/announce_controller.h).
inline constexpr char kAnnouncedCondition[] = "mesh.io/Announced";
std::string KeptAnnouncer(const v1::Service& service);
// It is heard and forwards packets. That it can start no container (Ready is False while containerd
// restarts) is no reason to take away an address: connections through it would end.
bool MayAnnounce(const v1::Node& node);
// The node's range of IPv6 addresses; empty: none.
std::string PodCidr6(const v1::Node& node);
std::optional<v1::PeerNode> PeerOf(const v1::Node& node);
v1::NamespaceState NamespaceOf(const v1::Namespace& ns);
// Name of the Service that the slice belongs to; nullptr when of none.
const std::string* ServiceOf(const v1::EndpointSlice& slice);

// Services, all nodes and namespaces: the part that is the same for every node. Full, without pods.
// A backend is ACTIVE while its endpoint is ready, DRAINING while it terminates and still serves
// (then it says so), or runs and is not ready. The last is not listed for UDP where another one of
// its family is ready.
v1::NodeUpdate BuildClusterPart(const ClusterState& state);

// The pods bound to `node`, without what only meshd reads. Full.
v1::NodeUpdate BuildPodPart(const ClusterState& state, std::string_view node);
v1::Pod PodForNode(const v1::Pod& pod);

// Both, without the node itself among its peers, and the ConfigMaps and Secrets that its pods refer
// to: the first update of a stream.
v1::NodeUpdate BuildNodeSnapshot(const ClusterState& state, std::string_view node);

// The increment that turns `previous` into `next`, both full. Carries next's revision. A pod whose
// status alone has changed, as the node reported it, is not in it.
v1::NodeUpdate Diff(const v1::NodeUpdate& previous, const v1::NodeUpdate& next);

// One update with the effect of `first`, then `second`; full when either is.
v1::NodeUpdate Merge(const v1::NodeUpdate& first, const v1::NodeUpdate& second);

// Without what it says about the node itself as a peer.
void DropPeer(std::string_view node, v1::NodeUpdate* update);

// True when it changes nothing on a node.
bool IsEmpty(const v1::NodeUpdate& update);

}  // namespace mesh::controlplane
