// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/cluster_view.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "controlplane/snapshot/node_snapshot.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::util::MessageDifferencer;

}  // namespace

void ClusterView::Reset(const ClusterState& state) {
  services_.clear();
  nodes_.clear();
  namespaces_.clear();
  active_.clear();
  announced_.clear();
  pods_.clear();
  if (identities_wanted_) {
    for (const auto& [key, pod] : state.pods) pods_dirty_.insert(key);
  }
  for (const auto& [key, service] : state.services) services_dirty_.insert(key);
  for (const auto& [key, node] : state.nodes) nodes_dirty_.insert(key.name);
  namespaces_dirty_ = true;
  Refresh(state);
}

void ClusterView::Note(const Change& change) {
  for (const v1::Resource* side : {change.before.get(), change.after.get()}) {
    if (side == nullptr) continue;
    switch (side->kind_case()) {
      case v1::Resource::kService:
        services_dirty_.insert(KeyOf(*side));
        break;
      case v1::Resource::kEndpointSlice: {
        const std::string* service = ServiceOf(side->endpoint_slice());
        if (service != nullptr) services_dirty_.insert({MetaOf(*side).namespace_(), *service});
        break;
      }
      case v1::Resource::kNode:
        nodes_dirty_.insert(MetaOf(*side).name());
        NoteAnnouncer(change);
        break;
      case v1::Resource::kNamespace:
        namespaces_dirty_ = true;
        break;
      case v1::Resource::kPod:
        if (identities_wanted_) pods_dirty_.insert(KeyOf(*side));
        break;
      default:
        break;
    }
  }
}

// A node that comes or goes may change who announces any of the load balancer addresses.
void ClusterView::NoteAnnouncer(const Change& change) {
  const bool before = change.before != nullptr && MayAnnounce(change.before->node());
  const bool after = change.after != nullptr && MayAnnounce(change.after->node());
  if (before != after) services_dirty_.insert(announced_.begin(), announced_.end());
}

v1::NodeUpdate ClusterView::Refresh(const ClusterState& state) {
  v1::NodeUpdate out;
  if (std::exchange(namespaces_dirty_, false)) RefreshNamespaces(state, &out);
  for (const ObjectKey& key : std::exchange(services_dirty_, {})) {
    RefreshService(state, key, &out);
  }
  for (const std::string& name : std::exchange(nodes_dirty_, {})) RefreshNode(state, name, &out);
  spoken_of_.clear();
  // Before what comes: an address may have gone from one pod to another.
  const std::set<ObjectKey> pods = std::exchange(pods_dirty_, {});
  for (const ObjectKey& key : pods) RemovePod(state, key, &out);
  for (const ObjectKey& key : pods) AddPod(state, key, &out);
  return out;
}

void ClusterView::RefreshService(const ClusterState& state, const ObjectKey& key,
                                 v1::NodeUpdate* out) {
  std::optional<v1::ServiceState> next = BuildService(state, key);
  if (next && !next->load_balancer_ips().empty()) {
    announced_.insert(key);
  } else {
    announced_.erase(key);
  }
  auto it = services_.find(key);
  if (!next) {
    if (it == services_.end()) return;
    CountActive(it->second, -1);
    services_.erase(it);
    out->add_removed_services(key.ns + "/" + key.name);
    return;
  }
  if (it != services_.end()) {
    if (MessageDifferencer::Equals(it->second, *next)) return;
    CountActive(it->second, -1);
  }
  CountActive(*next, 1);
  *out->add_services() = *next;
  services_[key] = *std::move(next);
}

void ClusterView::RefreshNode(const ClusterState& state, const std::string& name,
                              v1::NodeUpdate* out) {
  auto node = state.nodes.find({"", name});
  std::optional<v1::PeerNode> next;
  if (node != state.nodes.end()) next = PeerOf(*node->second);
  auto it = nodes_.find(name);
  if (!next) {
    if (it == nodes_.end()) return;
    nodes_.erase(it);
    out->add_removed_nodes(name);
    return;
  }
  if (it != nodes_.end() && MessageDifferencer::Equals(it->second, *next)) return;
  *out->add_nodes() = *next;
  nodes_[name] = *std::move(next);
}

// Rare, and few: all of them. An identity that has changed concerns the Services of the namespace.
void ClusterView::RefreshNamespaces(const ClusterState& state, v1::NodeUpdate* out) {
  std::map<uint32_t, v1::NamespaceState> next;
  std::set<std::string> moved;
  for (const auto& [key, ns] : state.namespaces) {
    if (ns->status().identity() == 0) continue;
    v1::NamespaceState built = NamespaceOf(*ns);
    auto it = namespaces_.find(built.identity());
    const bool known = it != namespaces_.end() && it->second.name() == built.name();
    if (!known) moved.insert(key.name);
    if (!known || !MessageDifferencer::Equals(it->second, built)) *out->add_namespaces() = built;
    next[built.identity()] = std::move(built);
  }
  for (const auto& [identity, ns] : namespaces_) {
    if (next.contains(identity)) {
      if (next[identity].name() != ns.name()) moved.insert(ns.name());
      continue;
    }
    moved.insert(ns.name());
    out->add_removed_identities(identity);
  }
  namespaces_ = std::move(next);
  for (const std::string& ns : moved) {
    for (auto it = state.services.lower_bound({ns, ""});
         it != state.services.end() && it->first.ns == ns; ++it) {
      services_dirty_.insert(it->first);
    }
  }
}

namespace {

// The row of a pod that has a node, an address and an identity. It stays as long as the object:
// what the pod has sent may still be on its way.
std::optional<v1::PodIdentity> IdentityOf(const v1::Pod& pod) {
  const v1::PodStatus& status = pod.status();
  if (pod.spec().node_name().empty() || status.pod_ip().empty() || status.identity() == 0) {
    return std::nullopt;
  }
  v1::PodIdentity out;
  out.set_ip(status.pod_ip());
  out.set_identity(status.identity());
  for (const v1::PodIP& ip : status.pod_ips()) {
    if (ip.ip().find(':') != std::string::npos) out.set_ip6(ip.ip());
  }
  return out;
}

bool Equal(const v1::PodIdentity& a, const v1::PodIdentity& b) {
  return a.identity() == b.identity() && a.ip() == b.ip() && a.ip6() == b.ip6();
}

}  // namespace

void ClusterView::WantIdentities(bool wanted, const ClusterState& state) {
  if (std::exchange(identities_wanted_, wanted) == wanted) return;
  for (const auto& [key, pod] : state.pods) pods_dirty_.insert(key);
  for (const auto& [key, row] : pods_) pods_dirty_.insert(key);
}

std::optional<ClusterView::PodRow> ClusterView::RowOf(const ClusterState& state,
                                                      const ObjectKey& key) const {
  if (!identities_wanted_) return std::nullopt;
  auto pod = state.pods.find(key);
  if (pod == state.pods.end()) return std::nullopt;
  std::optional<v1::PodIdentity> identity = IdentityOf(*pod->second);
  if (!identity) return std::nullopt;
  return PodRow{.node = pod->second->spec().node_name(), .identity = *std::move(identity)};
}

void ClusterView::RemovePod(const ClusterState& state, const ObjectKey& key, v1::NodeUpdate* out) {
  auto it = pods_.find(key);
  if (it == pods_.end()) return;
  const std::string ip = it->second.identity.ip();
  const std::optional<PodRow> next = RowOf(state, key);
  if (next && next->identity.ip() == ip) return;
  out->add_removed_pod_ips(ip);
  spoken_of_[it->second.node].insert(ip);
  pods_.erase(it);
}

void ClusterView::AddPod(const ClusterState& state, const ObjectKey& key, v1::NodeUpdate* out) {
  std::optional<PodRow> next = RowOf(state, key);
  if (!next) return;
  auto it = pods_.find(key);
  if (it != pods_.end() && Equal(it->second.identity, next->identity)) return;
  *out->add_pod_identities() = next->identity;
  // Removed and back in one increment.
  auto* removed = out->mutable_removed_pod_ips();
  removed->erase(std::remove(removed->begin(), removed->end(), next->identity.ip()),
                 removed->end());
  spoken_of_[next->node].insert(next->identity.ip());
  pods_.insert_or_assign(key, *std::move(next));
}

void ClusterView::DropOwn(const std::string& node, v1::NodeUpdate* increment) const {
  DropPeer(node, increment);
  auto own = spoken_of_.find(node);
  if (own == spoken_of_.end()) return;
  auto* identities = increment->mutable_pod_identities();
  identities->erase(std::remove_if(identities->begin(), identities->end(),
                                   [&](const auto& row) { return own->second.contains(row.ip()); }),
                    identities->end());
  auto* removed = increment->mutable_removed_pod_ips();
  removed->erase(std::remove_if(removed->begin(), removed->end(),
                                [&](const auto& ip) { return own->second.contains(ip); }),
                 removed->end());
}

void ClusterView::CountActive(const v1::ServiceState& service, int by) {
  for (const v1::ServicePortState& port : service.ports()) {
    for (const v1::BackendState& backend : port.backends()) {
      if (backend.state() != v1::BackendState::ACTIVE) continue;
      if ((active_[backend.ip()] += by) == 0) active_.erase(backend.ip());
    }
  }
}

v1::NodeUpdate ClusterView::Full(const std::string& node) const {
  v1::NodeUpdate out;
  out.set_full(true);
  for (const auto& [key, service] : services_) *out.add_services() = service;
  for (const auto& [name, peer] : nodes_) {
    if (name != node) *out.add_nodes() = peer;
  }
  for (const auto& [identity, ns] : namespaces_) *out.add_namespaces() = ns;
  for (const auto& [key, pod] : pods_) {
    if (pod.node != node) *out.add_pod_identities() = pod.identity;
  }
  return out;
}

}  // namespace mesh::controlplane
