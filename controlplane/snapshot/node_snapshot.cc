// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/node_snapshot.h"

#include <netinet/in.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::RepeatedField;
using google::protobuf::RepeatedPtrField;
using google::protobuf::util::MessageDifferencer;

constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
constexpr char kIsolationAnnotation[] = "mesh.io/isolation";

uint32_t ProtocolNumber(const std::string& name) {
  return name == "UDP" ? IPPROTO_UDP : IPPROTO_TCP;
}

std::string ServiceKey(const v1::ServiceState& service) {
  return service.namespace_() + "/" + service.name();
}

// Lists of an update by their keys, so that the three kinds of lists share Diff and Merge.
template <typename T>
using Keyed = std::map<std::string, const T*>;

Keyed<v1::Pod> ByKey(const RepeatedPtrField<v1::Pod>& pods) {
  Keyed<v1::Pod> out;
  for (const auto& pod : pods) out[pod.metadata().uid()] = &pod;
  return out;
}
Keyed<v1::ServiceState> ByKey(const RepeatedPtrField<v1::ServiceState>& services) {
  Keyed<v1::ServiceState> out;
  for (const auto& service : services) out[ServiceKey(service)] = &service;
  return out;
}
Keyed<v1::PeerNode> ByKey(const RepeatedPtrField<v1::PeerNode>& nodes) {
  Keyed<v1::PeerNode> out;
  for (const auto& node : nodes) out[node.name()] = &node;
  return out;
}
std::map<uint32_t, const v1::NamespaceState*> ByKey(
    const RepeatedPtrField<v1::NamespaceState>& namespaces) {
  std::map<uint32_t, const v1::NamespaceState*> out;
  for (const auto& ns : namespaces) out[ns.identity()] = &ns;
  return out;
}

void Append(const std::string& key, RepeatedPtrField<std::string>* list) { *list->Add() = key; }
void Append(uint32_t key, RepeatedField<uint32_t>* list) { list->Add(key); }

template <typename T>
bool SameForNode(const T& a, const T& b) {
  return MessageDifferencer::Equals(a, b);
}

// Of the status only what others than the node write: its own reports do not come back to it.
bool SameForNode(const v1::Pod& a, const v1::Pod& b) {
  const auto assigned = [](const v1::PodStatus& status) {
    return std::tie(status.pod_ip(), status.host_ip());
  };
  return MessageDifferencer::Equals(a.metadata(), b.metadata()) &&
         MessageDifferencer::Equals(a.spec(), b.spec()) &&
         assigned(a.status()) == assigned(b.status()) &&
         a.status().identity() == b.status().identity();
}

template <typename T, typename Removed>
void DiffList(const RepeatedPtrField<T>& previous, const RepeatedPtrField<T>& next,
              RepeatedPtrField<T>* upserts, Removed* removed) {
  const auto before = ByKey(previous);
  const auto after = ByKey(next);
  for (const auto& [key, item] : after) {
    auto it = before.find(key);
    if (it == before.end() || !SameForNode(*it->second, *item)) {
      *upserts->Add() = *item;
    }
  }
  for (const auto& [key, item] : before) {
    if (!after.contains(key)) Append(key, removed);
  }
}

// `full`: the first update lists everything, so what is removed is simply not listed.
template <typename T, typename Removed>
void MergeList(bool full, const RepeatedPtrField<T>& first, const Removed& first_removed,
               const RepeatedPtrField<T>& second, const Removed& second_removed,
               RepeatedPtrField<T>* upserts, Removed* removed) {
  auto items = ByKey(first);
  const auto later = ByKey(second);
  std::set<typename decltype(items)::key_type> gone(first_removed.begin(), first_removed.end());
  for (const auto& key : second_removed) {
    items.erase(key);
    gone.insert(key);
  }
  for (const auto& [key, item] : later) {
    items[key] = item;
    gone.erase(key);
  }
  for (const auto& [key, item] : items) *upserts->Add() = *item;
  if (full) return;
  for (const auto& key : gone) Append(key, removed);
}

v1::BackendState::State StateOf(const v1::EndpointConditions& conditions) {
  if (conditions.ready()) return v1::BackendState::ACTIVE;
  // Not ready is not gone (an agent that is silent, a container that restarts): who is connected
  // stays connected, nobody new comes.
  const bool gone = conditions.terminating() && !conditions.serving();
  return gone ? v1::BackendState::STATE_UNSPECIFIED : v1::BackendState::DRAINING;
}

// Adds the backends that `slice` has for the port of the Service.
void AddBackends(const v1::EndpointSlice& slice, const std::string& protocol,
                 v1::ServicePortState* port) {
  for (const v1::EndpointPort& candidate : slice.ports()) {
    const std::string& candidate_protocol =
        candidate.protocol().empty() ? std::string("TCP") : candidate.protocol();
    if (candidate.name() != port->name() || candidate_protocol != protocol) continue;
    for (const v1::Endpoint& endpoint : slice.endpoints()) {
      const v1::BackendState::State state = StateOf(endpoint.conditions());
      if (state == v1::BackendState::STATE_UNSPECIFIED) continue;
      for (const std::string& address : endpoint.addresses()) {
        v1::BackendState* backend = port->add_backends();
        backend->set_ip(address);
        backend->set_port(static_cast<uint32_t>(candidate.port()));
        backend->set_state(state);
        backend->set_node_name(endpoint.node_name());
        backend->set_pod_name(endpoint.target_ref().name());
      }
    }
  }
}

// One address and port once, the better state winning, in an order that does not depend on slices.
void SortBackends(v1::ServicePortState* port) {
  std::map<std::pair<std::string, uint32_t>, v1::BackendState> unique;
  for (v1::BackendState& backend : *port->mutable_backends()) {
    auto [it, added] = unique.try_emplace({backend.ip(), backend.port()}, backend);
    if (!added && backend.state() == v1::BackendState::ACTIVE) it->second = backend;
  }
  port->clear_backends();
  for (auto& [key, backend] : unique) *port->add_backends() = std::move(backend);
}

std::string InternalIp(const v1::Node& node) {
  for (const v1::NodeAddress& address : node.status().addresses()) {
    if (address.type() == "InternalIP") return address.address();
  }
  return {};
}

}  // namespace

const std::string* ServiceOf(const v1::EndpointSlice& slice) {
  const auto& labels = slice.metadata().labels();
  auto label = labels.find(kServiceNameLabel);
  return label == labels.end() ? nullptr : &label->second;
}

std::optional<v1::ServiceState> BuildService(const ClusterState& state, const ObjectKey& key) {
  auto found = state.services.find(key);
  if (found == state.services.end()) return std::nullopt;
  const v1::Service& service = *found->second;
  if (service.spec().cluster_ip().empty() || service.spec().cluster_ip() == "None") {
    return std::nullopt;
  }
  v1::ServiceState out;
  out.set_namespace_(key.ns);
  out.set_name(key.name);
  out.set_cluster_ip(service.spec().cluster_ip());
  if (auto ns = state.namespaces.find({"", key.ns}); ns != state.namespaces.end()) {
    out.set_identity(ns->second->status().identity());
  }
  for (const v1::ServicePort& port : service.spec().ports()) {
    v1::ServicePortState* port_state = out.add_ports();
    const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
    port_state->set_name(port.name());
    port_state->set_protocol(ProtocolNumber(protocol));
    port_state->set_port(static_cast<uint32_t>(port.port()));
    // A Service's slices are named after it (api/mesh/v1/discovery.proto).
    for (auto it = state.endpoint_slices.lower_bound(key);
         it != state.endpoint_slices.end() && it->first.ns == key.ns &&
         it->first.name.starts_with(key.name);
         ++it) {
      const std::string* owner = ServiceOf(*it->second);
      if (owner != nullptr && *owner == key.name) AddBackends(*it->second, protocol, port_state);
    }
    SortBackends(port_state);
  }
  return out;
}

std::optional<v1::PeerNode> PeerOf(const v1::Node& node) {
  v1::PeerNode peer;
  peer.set_name(node.metadata().name());
  peer.set_ip(InternalIp(node));
  peer.set_pod_cidr(node.spec().pod_cidr());
  if (peer.ip().empty() || peer.pod_cidr().empty()) return std::nullopt;
  return peer;
}

v1::NamespaceState NamespaceOf(const v1::Namespace& ns) {
  v1::NamespaceState out;
  out.set_identity(ns.status().identity());
  out.set_name(ns.metadata().name());
  const auto& annotations = ns.metadata().annotations();
  auto isolation = annotations.find(kIsolationAnnotation);
  if (isolation != annotations.end()) out.set_isolation(isolation->second);
  return out;
}

v1::NodeUpdate BuildClusterPart(const ClusterState& state) {
  v1::NodeUpdate out;
  out.set_revision(state.revision);
  out.set_full(true);
  for (const auto& [key, service] : state.services) {
    if (auto built = BuildService(state, key)) *out.add_services() = *std::move(built);
  }
  for (const auto& [key, node] : state.nodes) {
    if (auto peer = PeerOf(*node)) *out.add_nodes() = *std::move(peer);
  }
  for (const auto& [key, ns] : state.namespaces) {
    if (ns->status().identity() != 0) *out.add_namespaces() = NamespaceOf(*ns);
  }
  return out;
}

v1::Pod PodForNode(const v1::Pod& pod) {
  v1::Pod out = pod;
  out.mutable_metadata()->clear_resource_version();
  out.mutable_metadata()->clear_last_applied();
  out.mutable_metadata()->clear_generation();
  return out;
}

v1::NodeUpdate BuildPodPart(const ClusterState& state, std::string_view node) {
  v1::NodeUpdate out;
  out.set_revision(state.revision);
  out.set_full(true);
  for (const auto& [key, pod] : state.pods) {
    if (pod->spec().node_name() == node) *out.add_pods() = PodForNode(*pod);
  }
  return out;
}

v1::NodeUpdate BuildNodeSnapshot(const ClusterState& state, std::string_view node) {
  v1::NodeUpdate out = BuildClusterPart(state);
  DropPeer(node, &out);
  *out.mutable_pods() = BuildPodPart(state, node).pods();
  return out;
}

v1::NodeUpdate Diff(const v1::NodeUpdate& previous, const v1::NodeUpdate& next) {
  v1::NodeUpdate out;
  out.set_revision(next.revision());
  DiffList(previous.pods(), next.pods(), out.mutable_pods(), out.mutable_removed_pod_uids());
  DiffList(previous.services(), next.services(), out.mutable_services(),
           out.mutable_removed_services());
  DiffList(previous.nodes(), next.nodes(), out.mutable_nodes(), out.mutable_removed_nodes());
  DiffList(previous.namespaces(), next.namespaces(), out.mutable_namespaces(),
           out.mutable_removed_identities());
  return out;
}

v1::NodeUpdate Merge(const v1::NodeUpdate& first, const v1::NodeUpdate& second) {
  if (second.full()) return second;
  v1::NodeUpdate out;
  out.set_revision(second.revision());
  out.set_full(first.full());
  const bool full = first.full();
  MergeList(full, first.pods(), first.removed_pod_uids(), second.pods(), second.removed_pod_uids(),
            out.mutable_pods(), out.mutable_removed_pod_uids());
  MergeList(full, first.services(), first.removed_services(), second.services(),
            second.removed_services(), out.mutable_services(), out.mutable_removed_services());
  MergeList(full, first.nodes(), first.removed_nodes(), second.nodes(), second.removed_nodes(),
            out.mutable_nodes(), out.mutable_removed_nodes());
  MergeList(full, first.namespaces(), first.removed_identities(), second.namespaces(),
            second.removed_identities(), out.mutable_namespaces(),
            out.mutable_removed_identities());
  return out;
}

void DropPeer(std::string_view node, v1::NodeUpdate* update) {
  auto* nodes = update->mutable_nodes();
  nodes->erase(std::remove_if(nodes->begin(), nodes->end(),
                              [&](const v1::PeerNode& peer) { return peer.name() == node; }),
               nodes->end());
  auto* removed = update->mutable_removed_nodes();
  removed->erase(std::remove(removed->begin(), removed->end(), node), removed->end());
}

bool IsEmpty(const v1::NodeUpdate& update) {
  return !update.full() && update.pods().empty() && update.removed_pod_uids().empty() &&
         update.services().empty() && update.removed_services().empty() && update.nodes().empty() &&
         update.removed_nodes().empty() && update.namespaces().empty() &&
         update.removed_identities().empty();
}

}  // namespace mesh::controlplane
