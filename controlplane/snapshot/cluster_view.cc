// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/cluster_view.h"

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

void ClusterView::CountActive(const v1::ServiceState& service, int by) {
  for (const v1::ServicePortState& port : service.ports()) {
    for (const v1::BackendState& backend : port.backends()) {
      if (backend.state() != v1::BackendState::ACTIVE) continue;
      if ((active_[backend.ip()] += by) == 0) active_.erase(backend.ip());
    }
  }
}

v1::NodeUpdate ClusterView::Full() const {
  v1::NodeUpdate out;
  out.set_full(true);
  for (const auto& [key, service] : services_) *out.add_services() = service;
  for (const auto& [key, node] : nodes_) *out.add_nodes() = node;
  for (const auto& [identity, ns] : namespaces_) *out.add_namespaces() = ns;
  return out;
}

}  // namespace mesh::controlplane
