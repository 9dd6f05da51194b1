// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/node_snapshot.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "common/ip_address.h"
#include "common/rendezvous.h"
#include "controlplane/snapshot/referred.h"
#include "controlplane/state/target_port.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::RepeatedField;
using google::protobuf::RepeatedPtrField;
using google::protobuf::util::MessageDifferencer;

constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";
constexpr char kManagedByLabel[] = "endpointslice.kubernetes.io/managed-by";
constexpr char kEndpointsManager[] = "endpointslice-controller.mesh.io";
constexpr char kIsolationAnnotation[] = "mesh.io/isolation";
constexpr char kBalancingAnnotation[] = "mesh.io/load-balancing";
constexpr char kReturnPathAnnotation[] = "mesh.io/return-path";
constexpr char kWeightAnnotation[] = "mesh.io/weight";
constexpr uint32_t kDefaultAffinitySeconds = 10800;

std::string ProtocolOr(const std::string& name) { return name.empty() ? "TCP" : name; }

uint32_t TransportOf(const std::string& name) { return name == "UDP" ? IPPROTO_UDP : IPPROTO_TCP; }

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
Keyed<v1::PodIdentity> ByKey(const RepeatedPtrField<v1::PodIdentity>& identities) {
  Keyed<v1::PodIdentity> out;
  for (const auto& row : identities) out[row.ip()] = &row;
  return out;
}
std::map<uint32_t, const v1::NamespaceState*> ByKey(
    const RepeatedPtrField<v1::NamespaceState>& namespaces) {
  std::map<uint32_t, const v1::NamespaceState*> out;
  for (const auto& ns : namespaces) out[ns.identity()] = &ns;
  return out;
}

std::map<uint32_t, const v1::IdentityState*> ByKey(
    const RepeatedPtrField<v1::IdentityState>& identities) {
  std::map<uint32_t, const v1::IdentityState*> out;
  for (const auto& row : identities) out[row.identity()] = &row;
  return out;
}
std::map<uint32_t, const v1::PolicySetState*> ByKey(
    const RepeatedPtrField<v1::PolicySetState>& sets) {
  std::map<uint32_t, const v1::PolicySetState*> out;
  for (const auto& set : sets) out[set.number()] = &set;
  return out;
}

template <typename T>
Keyed<T> ByName(const RepeatedPtrField<T>& objects) {
  Keyed<T> out;
  for (const auto& object : objects)
    out[object.metadata().namespace_() + "/" + object.metadata().name()] = &object;
  return out;
}
Keyed<v1::ConfigMap> ByKey(const RepeatedPtrField<v1::ConfigMap>& maps) { return ByName(maps); }
Keyed<v1::Secret> ByKey(const RepeatedPtrField<v1::Secret>& secrets) { return ByName(secrets); }
Keyed<v1::VolumeState> ByKey(const RepeatedPtrField<v1::VolumeState>& volumes) {
  Keyed<v1::VolumeState> out;
  for (const auto& volume : volumes) out[volume.name()] = &volume;
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

// What an endpoint is to its Service, the best first.
enum class Standing : uint8_t {
  kReady,
  kStops,  // it terminates and still serves
  kLeft,   // it goes on running: not ready, or no longer selected
  kGone,
};

// What is absent in a slice written by hand counts as ready; ours always say it (and those of an
// older meshd leave out what is false).
Standing StandingOf(const v1::EndpointConditions& conditions, bool ours) {
  const bool ready = conditions.has_ready() ? conditions.ready() : !ours;
  const bool serving = conditions.has_serving() ? conditions.serving() : ready;
  if (ready) return Standing::kReady;
  if (!conditions.terminating()) return Standing::kLeft;
  return serving ? Standing::kStops : Standing::kGone;
}

// 0 when there is none; admission has checked what it says.
uint32_t AnnotatedWeight(const v1::ObjectMeta& meta) {
  auto it = meta.annotations().find(kWeightAnnotation);
  uint32_t weight = 0;
  if (it != meta.annotations().end()) {
    std::from_chars(it->second.data(), it->second.data() + it->second.size(), weight);
  }
  return weight;
}

bool IsOurs(const v1::EndpointSlice& slice) {
  const auto& labels = slice.metadata().labels();
  auto it = labels.find(kManagedByLabel);
  return it != labels.end() && it->second == kEndpointsManager;
}

bool IsNamed(const v1::EndpointPort& port, const v1::ServicePort& of) {
  return port.name() == of.name() && ProtocolOr(port.protocol()) == ProtocolOr(of.protocol());
}

const v1::Pod* PodOf(const ClusterState& state, const v1::EndpointSlice& slice,
                     const v1::Endpoint& endpoint) {
  const v1::ObjectReference& target = endpoint.target_ref();
  auto it = state.pods.find({slice.metadata().namespace_(), target.name()});
  return it != state.pods.end() && it->second->metadata().uid() == target.uid() ? it->second.get()
                                                                                : nullptr;
}

// The backends of one port, from all slices of its Service.
class PortBackends {
 public:
  // Adds the endpoints of `slice`, none better than `best`.
  //   number  answers an endpoint's port; 0: of a headless Service without ports
  template <typename Number>
  void Add(const v1::EndpointSlice& slice, Standing best, const Number& number) {
    const bool ours = IsOurs(slice);
    const uint32_t weight = AnnotatedWeight(slice.metadata());
    for (const v1::Endpoint& endpoint : slice.endpoints()) {
      const Standing standing = std::max(best, StandingOf(endpoint.conditions(), ours));
      if (standing == Standing::kGone || endpoint.addresses().empty()) continue;
      const std::optional<int32_t> port = number(endpoint);
      if (!port.has_value()) continue;
      v1::BackendState backend;
      backend.set_ip(endpoint.addresses(0));
      backend.set_port(static_cast<uint32_t>(*port));
      backend.set_node_name(endpoint.node_name());
      backend.set_pod_name(endpoint.target_ref().name());
      backend.set_zone(endpoint.zone());
      backend.set_weight(endpoint.weight() != 0 ? endpoint.weight() : weight);
      backend.set_hostname(endpoint.hostname());
      backend.set_may_outlive(!ours);
      const auto [it, added] =
          by_address_.try_emplace({backend.ip(), backend.port()}, standing, backend);
      if (!added && standing < it->second.first) it->second = {standing, std::move(backend)};
    }
  }
  void Add(const v1::EndpointSlice& slice, int32_t number, Standing best = Standing::kReady) {
    Add(slice, best, [&](const v1::Endpoint&) { return std::optional(number); });
  }

  // One address and port once, the best standing winning, in an order that does not depend on
  // slices. A connection stays where it is while that lives. Datagrams need not: where somebody
  // else is ready their flows leave an endpoint that is not, as with kube-proxy.
  void MoveTo(v1::ServicePortState* port) {
    std::set<bool> ready;  // by family
    for (const auto& [address, candidate] : by_address_) {
      if (candidate.first == Standing::kReady) ready.insert(IsIpv6(address.first));
    }
    for (auto& [address, candidate] : by_address_) {
      auto& [standing, backend] = candidate;
      if (standing == Standing::kLeft && port->protocol() == IPPROTO_UDP &&
          ready.contains(IsIpv6(address.first))) {
        continue;
      }
      backend.set_state(standing == Standing::kReady ? v1::BackendState::ACTIVE
                                                     : v1::BackendState::DRAINING);
      backend.set_serves_last(standing == Standing::kStops);
      *port->add_backends() = std::move(backend);
    }
  }

 private:
  static bool IsIpv6(const std::string& ip) { return ip.find(':') != std::string::npos; }

  std::map<std::pair<std::string, uint32_t>, std::pair<Standing, v1::BackendState>> by_address_;
};

// Adds the backends that `slice` has for the port of the Service. A port that has just got another
// name stands in our slices under its old one until the controller has put others in their place.
// What it will write is known: each pod says what it calls so, old and new ones side by side. What
// stands there under names that the Service has no longer keeps who is connected: it may be what
// they are connected to.
void AddBackends(const ClusterState& state, const v1::EndpointSlice& slice,
                 const v1::ServiceSpec& spec, const v1::ServicePort& of, PortBackends* out) {
  std::vector<const v1::EndpointPort*> gone;
  bool found = false;
  for (const v1::EndpointPort& candidate : slice.ports()) {
    if (ProtocolOr(candidate.protocol()) != ProtocolOr(of.protocol())) continue;
    if (IsNamed(candidate, of)) {
      out->Add(slice, candidate.port());
      found = true;
    } else if (std::none_of(spec.ports().begin(), spec.ports().end(),
                            [&](const auto& own) { return IsNamed(candidate, own); })) {
      gone.push_back(&candidate);
    }
  }
  if (found || gone.empty() || !IsOurs(slice)) return;
  out->Add(slice, Standing::kReady, [&](const v1::Endpoint& endpoint) -> std::optional<int32_t> {
    const v1::Pod* pod = PodOf(state, slice, endpoint);
    const int32_t number = pod == nullptr ? 0 : ResolvePort(of, *pod);
    return number == 0 ? std::nullopt : std::optional(number);
  });
  for (const v1::EndpointPort* was : gone) out->Add(slice, was->port(), Standing::kLeft);
}

const std::string& AnnotationOf(const v1::Service& service, const char* name) {
  static const auto* none = new std::string;
  auto it = service.metadata().annotations().find(name);
  return it == service.metadata().annotations().end() ? *none : it->second;
}

v1::ServiceState::Algorithm AlgorithmOf(const v1::Service& service) {
  const std::string& text = AnnotationOf(service, kBalancingAnnotation);
  if (text == "random") return v1::ServiceState::RANDOM;
  if (text == "maglev") return v1::ServiceState::MAGLEV;
  if (text == "least-loaded") return v1::ServiceState::LEAST_LOADED;
  return v1::ServiceState::ALGORITHM_DEFAULT;
}

v1::ServiceState::ReturnPath ReturnPathOf(const v1::Service& service) {
  const std::string& text = AnnotationOf(service, kReturnPathAnnotation);
  if (text == "snat") return v1::ServiceState::SNAT;
  if (text == "direct") return v1::ServiceState::DIRECT;
  return v1::ServiceState::RETURN_PATH_DEFAULT;
}

// Everything of the spec but addresses of its own and ports.
void FillPolicy(const v1::Service& service, v1::ServiceState* out) {
  const v1::ServiceSpec& spec = service.spec();
  if (spec.type() == "LoadBalancer") {
    for (const auto& ingress : service.status().load_balancer().ingress()) {
      if (!ingress.ip().empty()) out->add_load_balancer_ips(ingress.ip());
    }
    *out->mutable_source_ranges() = spec.load_balancer_source_ranges();
  }
  *out->mutable_external_ips() = spec.external_ips();
  out->set_internal_traffic_local(spec.internal_traffic_policy() == "Local");
  out->set_external_traffic_local(spec.external_traffic_policy() == "Local");
  if (spec.session_affinity() == "ClientIP") {
    const v1::ClientIPConfig& client_ip = spec.session_affinity_config().client_ip();
    out->set_affinity_seconds(client_ip.has_timeout_seconds()
                                  ? static_cast<uint32_t>(client_ip.timeout_seconds())
                                  : kDefaultAffinitySeconds);
  }
  out->set_health_check_node_port(static_cast<uint32_t>(spec.health_check_node_port()));
  out->set_traffic_distribution(spec.traffic_distribution());
  out->set_algorithm(AlgorithmOf(service));
  out->set_return_path(ReturnPathOf(service));
}

// The first one of the family; empty: none.
std::string InternalIp(const v1::Node& node, bool is_v4) {
  for (const v1::NodeAddress& address : node.status().addresses()) {
    if (address.type() != "InternalIP") continue;
    const auto ip = IpAddress::Parse(address.address());
    if (ip.ok() && ip->is_v4() == is_v4) return ip->ToString();
  }
  return {};
}

}  // namespace

std::string PodCidr6(const v1::Node& node) {
  for (const std::string& text : node.spec().pod_cidrs()) {
    if (text.find(':') != std::string::npos) return text;
  }
  return {};
}

const std::string* ServiceOf(const v1::EndpointSlice& slice) {
  const auto& labels = slice.metadata().labels();
  auto label = labels.find(kServiceNameLabel);
  return label == labels.end() ? nullptr : &label->second;
}

std::optional<v1::ServiceState> BuildService(const ClusterState& state, const ObjectKey& key) {
  auto found = state.services.find(key);
  if (found == state.services.end()) return std::nullopt;
  const v1::Service& service = *found->second;
  const v1::ServiceSpec& spec = service.spec();
  const bool external_name = spec.type() == "ExternalName";
  if (spec.cluster_ip().empty() && !external_name) return std::nullopt;
  v1::ServiceState out;
  out.set_namespace_(key.ns);
  out.set_name(key.name);
  if (auto ns = state.namespaces.find({"", key.ns}); ns != state.namespaces.end()) {
    out.set_identity(ns->second->status().identity());
  }
  if (external_name) {
    out.set_external_name(spec.external_name());
    return out;
  }
  out.set_cluster_ip(spec.cluster_ip());
  if (spec.cluster_ip() != "None") *out.mutable_cluster_ips() = spec.cluster_ips();
  *out.mutable_ip_families() = spec.ip_families();
  if (out.ip_families().empty()) out.add_ip_families("IPv4");
  FillPolicy(service, &out);
  auto slices = state.SlicesOf(key);
  std::erase_if(slices, [&](const v1::EndpointSlice* slice) {
    const auto& families = out.ip_families();
    return std::find(families.begin(), families.end(), AddressFamilyOf(*slice)) == families.end();
  });
  for (const v1::ServicePort& port : spec.ports()) {
    v1::ServicePortState* port_state = out.add_ports();
    const std::string protocol = ProtocolOr(port.protocol());
    port_state->set_name(port.name());
    port_state->set_protocol(TransportOf(protocol));
    port_state->set_port(static_cast<uint32_t>(port.port()));
    port_state->set_node_port(static_cast<uint32_t>(port.node_port()));
    PortBackends backends;
    for (const v1::EndpointSlice* slice : slices) AddBackends(state, *slice, spec, port, &backends);
    backends.MoveTo(port_state);
  }
  if (spec.ports().empty()) {
    v1::ServicePortState* port_state = out.add_ports();
    port_state->set_protocol(IPPROTO_TCP);
    PortBackends backends;
    for (const v1::EndpointSlice* slice : slices) backends.Add(*slice, 0);
    backends.MoveTo(port_state);
  }
  if (!out.load_balancer_ips().empty()) {
    out.set_announcing_node(AnnouncingNode(state, out, KeptAnnouncer(service)));
  }
  return out;
}

bool MayAnnounce(const v1::Node& node) {
  if (node.metadata().has_deletion_timestamp()) return false;
  std::string_view ready, network;
  for (const v1::Condition& condition : node.status().conditions()) {
    if (condition.type() == "Ready") ready = condition.status();
    if (condition.type() == "NetworkReady") network = condition.status();
  }
  // NetworkReady alone is not asked: the agent's word outlives the agent, Ready turns Unknown.
  return ready == "True" || (ready == "False" && network == "True");
}

std::string KeptAnnouncer(const v1::Service& service) {
  for (const v1::Condition& condition : service.status().conditions()) {
    if (condition.type() == kAnnouncedCondition && condition.status() == "True")
      return condition.message();
  }
  return "";
}

std::string AnnouncingNode(const ClusterState& state, const v1::ServiceState& service,
                           std::string_view kept) {
  // Nodes with an endpoint that takes new flows, and with one that stops and still serves.
  std::set<std::string> local, last;
  if (service.external_traffic_local()) {
    for (const v1::ServicePortState& port : service.ports()) {
      for (const v1::BackendState& backend : port.backends()) {
        if (backend.state() == v1::BackendState::ACTIVE) local.insert(backend.node_name());
        if (backend.serves_last()) last.insert(backend.node_name());
      }
    }
    // It gives new flows to the next one meanwhile.
    if (last.contains(std::string(kept))) local.insert(std::string(kept));
    if (local.empty()) local = std::move(last);
  }
  const std::string key = ServiceKey(service);
  std::string best;
  uint64_t best_weight = 0;
  for (const auto& [node_key, node] : state.nodes) {
    if (!MayAnnounce(*node)) continue;
    if (service.external_traffic_local() && !local.contains(node_key.name)) continue;
    if (node_key.name == kept) return node_key.name;
    const uint64_t weight = RendezvousWeight(key, node_key.name);
    if (!best.empty() && weight <= best_weight) continue;
    best = node_key.name;
    best_weight = weight;
  }
  return best;
}

std::optional<v1::PeerNode> PeerOf(const v1::Node& node) {
  v1::PeerNode peer;
  peer.set_name(node.metadata().name());
  peer.set_ip(InternalIp(node, true));
  peer.set_pod_cidr(node.spec().pod_cidr());
  peer.set_ip6(InternalIp(node, false));
  peer.set_pod_cidr6(PodCidr6(node));
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
  out.mutable_status()->clear_identity_blocks();
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
  ReferenceIndex references;
  for (const auto& [key, pod] : state.pods) {
    if (pod->spec().node_name() == node) references.Put(std::string(node), key, *pod);
  }
  references.PutVolumes(state);
  DiffReferred({}, references.Of(std::string(node), state), &out);
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
  DiffList(previous.pod_identities(), next.pod_identities(), out.mutable_pod_identities(),
           out.mutable_removed_pod_ips());
  DiffList(previous.identities(), next.identities(), out.mutable_identities(),
           out.mutable_removed_pod_identities());
  DiffList(previous.policy_sets(), next.policy_sets(), out.mutable_policy_sets(),
           out.mutable_removed_policy_sets());
  DiffList(previous.config_maps(), next.config_maps(), out.mutable_config_maps(),
           out.mutable_removed_config_maps());
  DiffList(previous.secrets(), next.secrets(), out.mutable_secrets(),
           out.mutable_removed_secrets());
  DiffList(previous.volumes(), next.volumes(), out.mutable_volumes(),
           out.mutable_removed_volumes());
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
  MergeList(full, first.pod_identities(), first.removed_pod_ips(), second.pod_identities(),
            second.removed_pod_ips(), out.mutable_pod_identities(), out.mutable_removed_pod_ips());
  MergeList(full, first.identities(), first.removed_pod_identities(), second.identities(),
            second.removed_pod_identities(), out.mutable_identities(),
            out.mutable_removed_pod_identities());
  MergeList(full, first.policy_sets(), first.removed_policy_sets(), second.policy_sets(),
            second.removed_policy_sets(), out.mutable_policy_sets(),
            out.mutable_removed_policy_sets());
  MergeList(full, first.config_maps(), first.removed_config_maps(), second.config_maps(),
            second.removed_config_maps(), out.mutable_config_maps(),
            out.mutable_removed_config_maps());
  MergeList(full, first.secrets(), first.removed_secrets(), second.secrets(),
            second.removed_secrets(), out.mutable_secrets(), out.mutable_removed_secrets());
  MergeList(full, first.volumes(), first.removed_volumes(), second.volumes(),
            second.removed_volumes(), out.mutable_volumes(), out.mutable_removed_volumes());
  out.set_policy_epoch(first.policy_epoch());
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
         update.removed_identities().empty() && update.pod_identities().empty() &&
         update.removed_pod_ips().empty() && update.identities().empty() &&
         update.removed_pod_identities().empty() && update.policy_sets().empty() &&
         update.removed_policy_sets().empty() && update.config_maps().empty() &&
         update.removed_config_maps().empty() && update.secrets().empty() &&
         update.removed_secrets().empty() && update.volumes().empty() &&
         update.removed_volumes().empty();
}

}  // namespace mesh::controlplane
