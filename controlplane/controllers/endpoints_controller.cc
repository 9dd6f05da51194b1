// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/endpoints_controller.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "controlplane/controllers/endpoint_slices.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/state/target_port.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr char kWeightAnnotation[] = "mesh.io/weight";
constexpr char kZoneLabel[] = "topology.kubernetes.io/zone";

std::string ProtocolOf(const std::string& protocol) { return protocol.empty() ? "TCP" : protocol; }

PortSet ResolvePorts(const v1::Service& service, const v1::Pod& pod) {
  PortSet out;
  for (const v1::ServicePort& port : service.spec().ports())
    if (const int32_t number = ResolvePort(port, pod); number != 0)
      out.push_back({port.name(), ProtocolOf(port.protocol()), number});
  return out;
}

uint32_t WeightOf(const v1::Pod& pod) {
  const auto& annotations = pod.metadata().annotations();
  auto it = annotations.find(kWeightAnnotation);
  uint32_t weight = 0;  // none; validation has refused what is no number
  if (it != annotations.end()) {
    std::from_chars(it->second.data(), it->second.data() + it->second.size(), weight);
  }
  return weight;
}

const std::string& ZoneOf(const ClusterState& state, const std::string& node_name) {
  static const auto* none = new std::string;
  const v1::Node* node = FindObject(state.nodes, {"", node_name});
  if (node == nullptr) return *none;
  auto it = node->metadata().labels().find(kZoneLabel);
  return it == node->metadata().labels().end() ? *none : it->second;
}

bool IsFamily(const std::string& family, const std::string& ip) {
  return (ip.find(':') == std::string::npos) == (family == "IPv4");
}

// The pod's address of the family; empty: it has none (yet).
std::string PodIpOf(const v1::Pod& pod, const std::string& family) {
  for (const v1::PodIP& ip : pod.status().pod_ips()) {
    if (IsFamily(family, ip.ip())) return ip.ip();
  }
  const std::string& first = pod.status().pod_ip();
  return !first.empty() && IsFamily(family, first) ? first : "";
}

std::vector<std::string> FamiliesOf(const v1::Service& service) {
  const auto& families = service.spec().ip_families();
  if (families.empty()) return {"IPv4"};
  return {families.begin(), families.end()};
}

v1::Endpoint EndpointOf(const ClusterState& state, const v1::Service& service, const v1::Pod& pod,
                        std::string ip, bool any_ready) {
  const bool serving = any_ready ? IsPodReady(state, pod) : IsPodConditionReady(pod);
  const bool terminating = IsTerminating(pod.metadata());
  v1::Endpoint endpoint;
  endpoint.add_addresses(std::move(ip));
  endpoint.mutable_conditions()->set_ready(service.spec().publish_not_ready_addresses() ||
                                           (serving && !terminating));
  endpoint.mutable_conditions()->set_serving(serving);
  endpoint.mutable_conditions()->set_terminating(terminating);
  endpoint.set_node_name(pod.spec().node_name());
  endpoint.set_zone(ZoneOf(state, pod.spec().node_name()));
  endpoint.set_weight(WeightOf(pod));
  if (!pod.spec().hostname().empty() && pod.spec().subdomain() == service.metadata().name())
    endpoint.set_hostname(pod.spec().hostname());
  v1::ObjectReference* target = endpoint.mutable_target_ref();
  target->set_kind("Pod");
  target->set_namespace_(pod.metadata().namespace_());
  target->set_name(pod.metadata().name());
  target->set_uid(pod.metadata().uid());
  return endpoint;
}

std::vector<const v1::Pod*> SelectedPods(const ClusterState& state, const v1::Service& service) {
  std::vector<const v1::Pod*> out;
  for (const v1::Pod* pod :
       state.PodsWith(service.metadata().namespace_(), service.spec().selector()))
    if (!IsFinished(*pod) && IsBound(*pod)) out.push_back(pod);
  return out;
}

EndpointGroups GroupEndpoints(const ClusterState& state, const v1::Service& service,
                              const std::string& family, const std::vector<const v1::Pod*>& pods) {
  const bool any_ready = std::any_of(pods.begin(), pods.end(), [&](const v1::Pod* pod) {
    return IsPodReady(state, *pod) && !IsTerminating(pod->metadata());
  });
  EndpointGroups groups;
  for (const v1::Pod* pod : pods) {
    std::string ip = PodIpOf(*pod, family);
    if (ip.empty()) continue;
    PortSet ports = ResolvePorts(service, *pod);
    if (ports.empty() && !service.spec().ports().empty()) continue;
    groups[std::move(ports)].push_back(EndpointOf(state, service, *pod, std::move(ip), any_ready));
  }
  return groups;
}

// What a pod must have lost in this Service to be kept there for who is connected to it.
PortSet PortsLeft(const v1::Service& service, const v1::EndpointSlice& slice,
                  const std::set<std::tuple<std::string, std::string, int32_t>>& now) {
  PortSet out;
  for (const v1::EndpointPort& port : slice.ports()) {
    const auto& ports = service.spec().ports();
    const bool served = std::any_of(ports.begin(), ports.end(), [&](const v1::ServicePort& own) {
      return own.name() == port.name() && ProtocolOf(own.protocol()) == port.protocol();
    });
    std::tuple entry(port.name(), port.protocol(), port.port());
    if (served && !now.contains(entry)) out.push_back(std::move(entry));
  }
  return out;
}

// The same of ports by names that the Service has no longer: each may be any port that it has by a
// new name. Apart, because a slice has a name once.
std::vector<PortSet> PortsRenamed(
    const v1::Service& service, const v1::EndpointSlice& slice,
    const std::set<std::tuple<std::string, std::string, int32_t>>& now) {
  std::vector<PortSet> out;
  const auto& ports = service.spec().ports();
  const auto is = [](const v1::EndpointPort& port, const v1::ServicePort& own) {
    return own.name() == port.name() && ProtocolOf(own.protocol()) == port.protocol();
  };
  for (const v1::EndpointPort& port : slice.ports()) {
    if (std::any_of(ports.begin(), ports.end(), [&](const auto& own) { return is(port, own); }))
      continue;
    for (const v1::ServicePort& own : ports) {
      const auto& known = slice.ports();
      if (ProtocolOf(own.protocol()) != port.protocol() ||
          std::any_of(known.begin(), known.end(),
                      [&](const auto& other) { return is(other, own); }))
        continue;
      std::tuple entry(own.name(), port.protocol(), port.port());
      if (!now.contains(entry)) out.push_back({std::move(entry)});
    }
  }
  return out;
}

// Pods that the Service does not select any more (a new selector or none, other labels, another
// targetPort or name of a port) and that go on running stay as endpoints that are not ready: who is
// connected stays connected, nobody new comes. How each of them ends is told by
// StateIndex::unready_endpoints.
void KeepWhoLeft(const ClusterState& state, const v1::Service& service, const std::string& family,
                 const std::vector<const v1::EndpointSlice*>& existing, EndpointGroups* groups) {
  std::map<std::string, std::set<std::tuple<std::string, std::string, int32_t>>> now;  // by uid
  for (const auto& [ports, endpoints] : *groups) {
    for (const v1::Endpoint& endpoint : endpoints)
      now[endpoint.target_ref().uid()].insert(ports.begin(), ports.end());
  }
  for (const v1::EndpointSlice* slice : existing) {
    for (const v1::Endpoint& was : slice->endpoints()) {
      const v1::ObjectReference& target = was.target_ref();
      const v1::Pod* pod = FindObject(state.pods, {service.metadata().namespace_(), target.name()});
      if (pod == nullptr || pod->metadata().uid() != target.uid() || IsFinished(*pod)) continue;
      std::string ip = PodIpOf(*pod, family);
      if (ip.empty()) continue;
      std::vector<PortSet> left = PortsRenamed(service, *slice, now[target.uid()]);
      left.push_back(PortsLeft(service, *slice, now[target.uid()]));
      for (PortSet& ports : left) {
        if (ports.empty()) continue;
        now[target.uid()].insert(ports.begin(), ports.end());
        v1::Endpoint endpoint = EndpointOf(state, service, *pod, ip, false);
        endpoint.mutable_conditions()->set_ready(false);
        (*groups)[std::move(ports)].push_back(std::move(endpoint));
      }
    }
  }
}

std::string PodList(const std::vector<const v1::Pod*>& pods) {
  constexpr size_t kNamed = 3;
  std::string out;
  for (size_t i = 0; i < pods.size() && i < kNamed; ++i)
    out += fmt::format("{}{}", i == 0 ? "" : ", ", pods[i]->metadata().name());
  if (pods.size() > kNamed) out += fmt::format(" and {} more", pods.size() - kNamed);
  return out;
}

// Ports of the Service whose targetPort names a port that no pod behind it has.
void NoteMissingPorts(const v1::Service& service, const std::vector<const v1::Pod*>& pods,
                      ReconcileResult* result) {
  if (pods.empty()) return;
  for (const v1::ServicePort& port : service.spec().ports()) {
    if (!port.target_port().has_string_value()) continue;
    const bool found = std::any_of(
        pods.begin(), pods.end(), [&](const v1::Pod* pod) { return ResolvePort(port, *pod) != 0; });
    if (found) continue;
    result->events.push_back(
        {ReferenceTo("v1", "Service", service.metadata()), "Warning", "PortNotFound",
         fmt::format("port {}: no container port is named \"{}\" ({}) in the selected pods {}",
                     port.name().empty() ? fmt::format("{}", port.port()) : port.name(),
                     port.target_port().string_value(), ProtocolOf(port.protocol()),
                     PodList(pods))});
  }
}

std::string PortText(const std::string& name, const std::string& protocol) {
  return fmt::format("\"{}\" ({})", name, ProtocolOf(protocol));
}

// Ports of slices written by hand that are none of the Service's: nobody is sent there.
void NoteUnknownPorts(const v1::Service& service,
                      const std::vector<const v1::EndpointSlice*>& slices,
                      ReconcileResult* result) {
  if (service.spec().ports().empty()) return;
  std::set<std::string> known;
  for (const v1::ServicePort& port : service.spec().ports()) {
    known.insert(PortText(port.name(), port.protocol()));
  }
  for (const v1::EndpointSlice* slice : slices) {
    std::vector<std::string> unknown;
    for (const v1::EndpointPort& port : slice->ports()) {
      std::string text = PortText(port.name(), port.protocol());
      if (!known.contains(text)) unknown.push_back(std::move(text));
    }
    if (unknown.empty() && (!slice->ports().empty() || slice->endpoints().empty())) continue;
    result->events.push_back(
        {ReferenceTo("v1", "Service", service.metadata()), "Warning", "PortNotFound",
         fmt::format("EndpointSlice {} {}: ports are matched by name and protocol, and the Service "
                     "has {}",
                     slice->metadata().name(),
                     unknown.empty() ? "has no port"
                                     : fmt::format("has a port that the Service has not, {}",
                                                   fmt::join(unknown, ", ")),
                     fmt::join(known, ", "))});
  }
}

bool IsOurs(const v1::EndpointSlice& slice) {
  auto it = slice.metadata().labels().find(kManagedByLabel);
  return it != slice.metadata().labels().end() && it->second == kEndpointsManager;
}

std::string ServiceOf(const v1::EndpointSlice& slice) {
  auto it = slice.metadata().labels().find(kServiceNameLabel);
  return it == slice.metadata().labels().end() ? "" : it->second;
}

const std::string& ZoneLabelOf(const v1::Resource* node) {
  static const auto* none = new std::string;
  if (node == nullptr) return *none;
  const auto& labels = node->node().metadata().labels();
  auto it = labels.find(kZoneLabel);
  return it == labels.end() ? *none : it->second;
}

}  // namespace

std::vector<ObjectKey> EndpointsController::Affected(const ClusterState& state,
                                                     const Change& change) const {
  std::set<ObjectKey> keys;
  auto by_pod = [&](const v1::Pod& pod) {
    for (ObjectKey& key :
         state.ServicesSelecting(pod.metadata().namespace_(), pod.metadata().labels()))
      keys.insert(std::move(key));
    // Those that it has left, and that keep it until it ends.
    const auto& unready = state.index().unready_endpoints;
    if (auto it = unready.find({pod.metadata().namespace_(), pod.metadata().name()});
        it != unready.end()) {
      for (const std::string& name : it->second) keys.insert({pod.metadata().namespace_(), name});
    }
  };
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_service()) keys.insert(KeyOf(side));
    if (side.has_pod()) by_pod(side.pod());
    if (side.has_endpoint_slice() && !ServiceOf(side.endpoint_slice()).empty())
      keys.insert(
          {side.endpoint_slice().metadata().namespace_(), ServiceOf(side.endpoint_slice())});
  });
  std::string node = NodeFlipOf(change.before.get(), change.after.get()).node_name;
  const bool flipped = NodeFlipOf(change.before.get(), change.after.get()).flipped;
  const v1::Resource& some = change.after != nullptr ? *change.after : *change.before;
  const bool moved =
      some.has_node() && ZoneLabelOf(change.before.get()) != ZoneLabelOf(change.after.get());
  if (moved) node = some.node().metadata().name();
  if (flipped || moved) {
    for (const auto& [key, pod] : state.pods)
      if (pod->spec().node_name() == node) by_pod(*pod);
  }
  return {keys.begin(), keys.end()};
}

ReconcileResult EndpointsController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                               absl::Time) const {
  ReconcileResult result;
  std::vector<const v1::EndpointSlice*> ours;
  std::vector<const v1::EndpointSlice*> others;
  for (const v1::EndpointSlice* slice : state.SlicesOf(key)) {
    if (IsTerminating(slice->metadata())) continue;
    (IsOurs(*slice) ? ours : others).push_back(slice);
  }
  const v1::Service* service = FindObject(state.services, key);
  const bool selects = service != nullptr && !service->spec().selector().empty() &&
                       service->spec().type() != "ExternalName";
  std::vector<const v1::Pod*> pods;
  if (selects) {
    pods = SelectedPods(state, *service);
    NoteMissingPorts(*service, pods, &result);
  }
  // Endpoints that somebody else keeps count beside ours.
  if (service != nullptr) {
    NoteForeign(state, *service, others, &result);
    NoteUnknownPorts(*service, others, &result);
  }
  // One whose selector was taken away keeps who is connected to the pods it had.
  const std::vector<std::string> wanted =
      service != nullptr && service->spec().type() != "ExternalName" ? FamiliesOf(*service)
                                                                     : std::vector<std::string>();
  for (const std::string family : {"IPv4", "IPv6"}) {
    const bool has = std::find(wanted.begin(), wanted.end(), family) != wanted.end();
    std::vector<const v1::EndpointSlice*> existing;
    std::copy_if(ours.begin(), ours.end(), std::back_inserter(existing),
                 [&](const auto* slice) { return AddressFamilyOf(*slice) == family; });
    EndpointGroups groups;
    if (has && selects) groups = GroupEndpoints(state, *service, family, pods);
    if (has) KeepWhoLeft(state, *service, family, existing, &groups);
    const bool keeps = has && (selects || !groups.empty());
    for (Write& write :
         PlanSlices(state, key, keeps ? service : nullptr, family, groups, existing)) {
      result.writes.push_back(std::move(write));
    }
  }
  return result;
}

void EndpointsController::NoteForeign(const ClusterState& state, const v1::Service& service,
                                      const std::vector<const v1::EndpointSlice*>& slices,
                                      ReconcileResult* result) const {
  if (!cluster_range_) return;
  std::set<IpAddress> nodes;
  for (const auto& [key, node] : state.nodes)
    for (const v1::NodeAddress& address : node->status().addresses())
      if (const auto ip = IpAddress::Parse(address.address()); ip.ok()) nodes.insert(*ip);
  const std::vector<std::string> families = FamiliesOf(service);
  for (const v1::EndpointSlice* slice : slices) {
    const std::string family = AddressFamilyOf(*slice);
    if (std::find(families.begin(), families.end(), family) == families.end()) {
      result->events.push_back(
          {ReferenceTo("v1", "Service", service.metadata()), "Warning", "AddressFamily",
           fmt::format("EndpointSlice {} is not used: its addressType is {}, ipFamilies of the "
                       "Service is {}",
                       slice->metadata().name(), family, fmt::join(families, ", "))});
      continue;
    }
    constexpr int kNamed = 5;
    std::string list;
    int count = 0;
    for (const v1::Endpoint& endpoint : slice->endpoints()) {
      for (const std::string& text : endpoint.addresses()) {
        const auto address = IpAddress::Parse(text);
        if (!address.ok() || cluster_range_->Contains(*address) || nodes.contains(*address) ||
            state.index().balancer_ips.contains(address->ToString()))
          continue;
        if (count++ < kNamed) list += fmt::format("{}{}", list.empty() ? "" : ", ", text);
      }
    }
    if (count == 0) continue;
    if (count > kNamed) list += fmt::format(" and {} more", count - kNamed);
    result->events.push_back(
        {ReferenceTo("v1", "Service", service.metadata()), "Warning", "EndpointsOutsideCluster",
         fmt::format("EndpointSlice {} sends to addresses outside of the cluster: {}",
                     slice->metadata().name(), list)});
  }
}

}  // namespace mesh::controlplane
