// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/endpoints_controller.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// Name, protocol, number of each port of a slice, in the order of the Service.
using PortSet = std::vector<std::tuple<std::string, std::string, int32_t>>;

std::string ProtocolOf(const std::string& protocol) { return protocol.empty() ? "TCP" : protocol; }

// 0 when the pod has no port of that name.
int32_t ResolvePort(const v1::ServicePort& port, const v1::Pod& pod) {
  if (!port.target_port().has_string_value())
    return port.target_port().has_int_value() && port.target_port().int_value() != 0
               ? port.target_port().int_value()
               : port.port();
  for (const v1::Container& container : pod.spec().containers()) {
    for (const v1::ContainerPort& candidate : container.ports())
      if (candidate.name() == port.target_port().string_value() &&
          ProtocolOf(candidate.protocol()) == ProtocolOf(port.protocol()))
        return candidate.container_port();
  }
  return 0;
}

PortSet ResolvePorts(const v1::Service& service, const v1::Pod& pod) {
  PortSet out;
  for (const v1::ServicePort& port : service.spec().ports())
    if (const int32_t number = ResolvePort(port, pod); number != 0)
      out.push_back({port.name(), ProtocolOf(port.protocol()), number});
  return out;
}

PortSet PortsOf(const v1::EndpointSlice& slice) {
  PortSet out;
  for (const v1::EndpointPort& port : slice.ports())
    out.push_back({port.name(), port.protocol(), port.port()});
  return out;
}

// Endpoints by the ports they resolve to, each list by pod name.
std::map<PortSet, std::vector<v1::Endpoint>> GroupEndpoints(const ClusterState& state,
                                                            const v1::Service& service) {
  std::vector<const v1::Pod*> pods;
  bool any_ready = false;
  for (const auto& [key, pod] : InNamespace(state.pods, service.metadata().namespace_())) {
    if (!MatchesLabels(service.spec().selector(), pod->metadata().labels())) continue;
    if (IsFinished(*pod) || !IsBound(*pod)) continue;
    pods.push_back(pod.get());
    any_ready |= IsPodReady(state, *pod) && !IsTerminating(pod->metadata());
  }
  std::map<PortSet, std::vector<v1::Endpoint>> groups;
  for (const v1::Pod* pod : pods) {
    PortSet ports = ResolvePorts(service, *pod);
    if (ports.empty()) continue;
    const bool serving = any_ready ? IsPodReady(state, *pod) : IsPodConditionReady(*pod);
    const bool terminating = IsTerminating(pod->metadata());
    v1::Endpoint endpoint;
    endpoint.add_addresses(pod->status().pod_ip());
    endpoint.mutable_conditions()->set_ready(serving && !terminating);
    endpoint.mutable_conditions()->set_serving(serving);
    endpoint.mutable_conditions()->set_terminating(terminating);
    endpoint.set_node_name(pod->spec().node_name());
    v1::ObjectReference* target = endpoint.mutable_target_ref();
    target->set_kind("Pod");
    target->set_namespace_(pod->metadata().namespace_());
    target->set_name(pod->metadata().name());
    target->set_uid(pod->metadata().uid());
    groups[std::move(ports)].push_back(std::move(endpoint));
  }
  // One slice always, so that an empty Service reads as empty rather than unknown.
  if (groups.empty()) groups[{}] = {};
  return groups;
}

bool IsOurs(const v1::EndpointSlice& slice) {
  auto it = slice.metadata().labels().find(kManagedByLabel);
  return it != slice.metadata().labels().end() && it->second == kEndpointsManager;
}

std::string ServiceOf(const v1::EndpointSlice& slice) {
  auto it = slice.metadata().labels().find(kServiceNameLabel);
  return it == slice.metadata().labels().end() ? "" : it->second;
}

void Fill(v1::EndpointSlice* slice, const v1::Service& service, const PortSet& ports,
          const std::vector<v1::Endpoint>& endpoints) {
  slice->mutable_metadata()->set_namespace_(service.metadata().namespace_());
  auto& labels = *slice->mutable_metadata()->mutable_labels();
  labels[kServiceNameLabel] = service.metadata().name();
  labels[kManagedByLabel] = kEndpointsManager;
  slice->mutable_metadata()->clear_owner_references();
  *slice->mutable_metadata()->add_owner_references() =
      ControllerRef("v1", "Service", service.metadata());
  slice->set_address_type("IPv4");
  slice->clear_ports();
  for (const auto& [name, protocol, number] : ports) {
    v1::EndpointPort* port = slice->add_ports();
    port->set_name(name);
    port->set_protocol(protocol);
    port->set_port(number);
  }
  slice->clear_endpoints();
  for (const v1::Endpoint& endpoint : endpoints) *slice->add_endpoints() = endpoint;
}

}  // namespace

std::vector<ObjectKey> EndpointsController::Affected(const ClusterState& state,
                                                     const Change& change) const {
  std::set<ObjectKey> keys;
  auto by_pod = [&](const v1::Pod& pod) {
    for (const auto& [key, service] : InNamespace(state.services, pod.metadata().namespace_())) {
      const Labels& selector = service->spec().selector();
      if (!selector.empty() && MatchesLabels(selector, pod.metadata().labels())) keys.insert(key);
    }
  };
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_service()) keys.insert(KeyOf(side));
    if (side.has_pod()) by_pod(side.pod());
    if (side.has_endpoint_slice() && IsOurs(side.endpoint_slice()))
      keys.insert(
          {side.endpoint_slice().metadata().namespace_(), ServiceOf(side.endpoint_slice())});
  });
  const NodeFlip flip = NodeFlipOf(change.before.get(), change.after.get());
  if (flip.flipped) {
    for (const auto& [key, pod] : state.pods)
      if (pod->spec().node_name() == flip.node_name) by_pod(*pod);
  }
  return {keys.begin(), keys.end()};
}

ReconcileResult EndpointsController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                               absl::Time) const {
  ReconcileResult result;
  std::vector<const v1::EndpointSlice*> existing;
  for (const auto& [slice_key, slice] : InNamespace(state.endpoint_slices, key.ns))
    if (IsOurs(*slice) && ServiceOf(*slice) == key.name && !IsTerminating(slice->metadata()))
      existing.push_back(slice.get());

  const v1::Service* service = FindObject(state.services, key);
  std::map<PortSet, std::vector<v1::Endpoint>> groups;
  if (service != nullptr) {
    // Without a selector somebody else keeps the endpoints.
    if (service->spec().selector().empty()) return result;
    groups = GroupEndpoints(state, *service);
  }

  // A slice keeps its ports for life where it can; what is left over takes new groups or goes.
  std::set<std::string> names;
  std::vector<const v1::EndpointSlice*> spare;
  std::map<PortSet, const v1::EndpointSlice*> slices;
  for (const v1::EndpointSlice* slice : existing) {
    PortSet ports = PortsOf(*slice);
    const bool wanted = groups.contains(ports) && !slices.contains(ports);
    if (wanted)
      slices[std::move(ports)] = slice;
    else
      spare.push_back(slice);
  }
  for (const auto& [slice_key, slice] : InNamespace(state.endpoint_slices, key.ns))
    names.insert(slice_key.name);

  for (const auto& [ports, endpoints] : groups) {
    auto it = slices.find(ports);
    v1::EndpointSlice slice;
    const v1::EndpointSlice* before = nullptr;
    if (it != slices.end()) {
      before = it->second;
    } else if (!spare.empty()) {
      before = spare.front();
      spare.erase(spare.begin());
    }
    if (before != nullptr) {
      slice = *before;
    } else {
      std::string name = key.name;
      for (int n = 1; names.contains(name); ++n) name = fmt::format("{}-{}", key.name, n);
      names.insert(name);
      slice.mutable_metadata()->set_name(name);
    }
    Fill(&slice, *service, ports, endpoints);
    if (before == nullptr)
      result.writes.push_back({Write::Type::kCreate, Wrap(slice), {}});
    else if (CanonicalBytes(slice) != CanonicalBytes(*before))
      result.writes.push_back({Write::Type::kUpdate, Wrap(slice), {}});
  }
  for (const v1::EndpointSlice* slice : spare)
    result.writes.push_back({Write::Type::kRemove, Wrap(*slice), {}});
  return result;
}

}  // namespace mesh::controlplane
