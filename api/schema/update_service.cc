// SPDX-License-Identifier: Apache-2.0
// What becomes of a Service's values when it changes: those that its new type has no use for go,
// those that the cluster assigned stay. As Kubernetes' service strategy has it.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "api/schema/rules.h"
#include "api/schema/schema.h"
#include "api/schema/validate.h"

namespace mesh::schema {
namespace {

constexpr std::string_view kAnew = "; to change it delete the Service and apply it again";

bool NeedsClusterIp(const v1::ServiceSpec& spec) { return spec.type() != "ExternalName"; }

bool NeedsNodePorts(const v1::ServiceSpec& spec) {
  if (spec.type() == "NodePort") return true;
  return spec.type() == "LoadBalancer" && (!spec.has_allocate_load_balancer_node_ports() ||
                                           spec.allocate_load_balancer_node_ports());
}

bool NeedsHealthPort(const v1::ServiceSpec& spec) {
  return spec.type() == "LoadBalancer" && spec.external_traffic_policy() == "Local";
}

bool NeedsExternalPolicy(const v1::ServiceSpec& spec) {
  return spec.type() == "NodePort" || spec.type() == "LoadBalancer" ||
         (spec.type() == "ClusterIP" && spec.external_ips_size() > 0);
}

using Strings = google::protobuf::RepeatedPtrField<std::string>;
bool SameList(const Strings& a, const Strings& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

using PortKey = std::pair<int32_t, std::string>;

PortKey KeyOf(const v1::ServicePort& port) {
  return {port.port(), port.protocol().empty() ? "TCP" : port.protocol()};
}

std::map<PortKey, int32_t> NodePortsOf(const v1::ServiceSpec& spec) {
  std::map<PortKey, int32_t> out;
  for (const v1::ServicePort& port : spec.ports()) {
    if (port.node_port() != 0) out[KeyOf(port)] = port.node_port();
  }
  return out;
}

// True when `next` asks for no node port that `live` has not.
bool KeepsNodePorts(const v1::ServiceSpec& live, const v1::ServiceSpec& next) {
  std::set<int32_t> had;
  for (const v1::ServicePort& port : live.ports()) had.insert(port.node_port());
  return std::all_of(next.ports().begin(), next.ports().end(), [&](const v1::ServicePort& port) {
    return port.node_port() == 0 || had.contains(port.node_port());
  });
}

void DropWhatTheTypeHasNoUseFor(const v1::ServiceSpec& live, v1::ServiceSpec* next) {
  if (NeedsClusterIp(live) && !NeedsClusterIp(*next)) {
    if (next->cluster_ip() == live.cluster_ip()) {
      next->clear_cluster_ip();
      next->clear_cluster_ips();
    }
    next->clear_ip_families();
    next->clear_ip_family_policy();
    if (next->internal_traffic_policy() == live.internal_traffic_policy()) {
      next->clear_internal_traffic_policy();
    }
  }
  if (NeedsNodePorts(live) && !NeedsNodePorts(*next) && KeepsNodePorts(live, *next)) {
    for (v1::ServicePort& port : *next->mutable_ports()) port.clear_node_port();
  }
  if (NeedsHealthPort(live) && !NeedsHealthPort(*next) &&
      next->health_check_node_port() == live.health_check_node_port()) {
    next->clear_health_check_node_port();
  }
  if (live.type() == "LoadBalancer" && next->type() != "LoadBalancer") {
    if (next->allocate_load_balancer_node_ports() == live.allocate_load_balancer_node_ports()) {
      next->clear_allocate_load_balancer_node_ports();
    }
    if (next->load_balancer_class() == live.load_balancer_class()) {
      next->clear_load_balancer_class();
    }
  }
  if (NeedsExternalPolicy(live) && !NeedsExternalPolicy(*next) &&
      next->external_traffic_policy() == live.external_traffic_policy()) {
    next->clear_external_traffic_policy();
  }
}

// SingleStack takes the second entry away; any other policy keeps the one that meshd has added to
// what the manifest names.
void FollowPolicy(bool single, const Strings& live, Strings* next) {
  if (live.size() != 2) return;
  if (single && next->size() == 2 && std::equal(live.begin(), live.end(), next->begin())) {
    next->RemoveLast();
  } else if (!single && next->size() == 1 && next->Get(0) == live.Get(0)) {
    *next->Add() = live.Get(1);
  }
}

// A manifest that changes or leaves out `clusterIP` says nothing of the list that meshd wrote
// beside it.
void FollowClusterIp(const v1::ServiceSpec& live, v1::ServiceSpec* next) {
  if (next->cluster_ip() == live.cluster_ip() ||
      !SameList(next->cluster_ips(), live.cluster_ips())) {
    return;
  }
  next->clear_cluster_ips();
  if (!next->cluster_ip().empty()) next->add_cluster_ips(next->cluster_ip());
}

void KeepWhatIsAssigned(const v1::ServiceSpec& live, v1::ServiceSpec* next) {
  if (NeedsClusterIp(live) && NeedsClusterIp(*next)) {
    if (next->cluster_ip().empty() && next->cluster_ips().empty()) {
      next->set_cluster_ip(live.cluster_ip());
    }
    if (next->cluster_ips().empty() && next->cluster_ip() == live.cluster_ip()) {
      *next->mutable_cluster_ips() = live.cluster_ips();
    }
    if (next->ip_family_policy().empty()) next->set_ip_family_policy(live.ip_family_policy());
    if (next->ip_families().empty()) *next->mutable_ip_families() = live.ip_families();
    const bool single = next->ip_family_policy() == "SingleStack";
    FollowPolicy(single, live.ip_families(), next->mutable_ip_families());
    FollowPolicy(single, live.cluster_ips(), next->mutable_cluster_ips());
  }
  if (NeedsNodePorts(live) && NeedsNodePorts(*next)) {
    const std::map<PortKey, int32_t> had = NodePortsOf(live);
    std::set<std::pair<int32_t, std::string>> used;
    for (const v1::ServicePort& port : next->ports()) {
      if (port.node_port() != 0) used.insert({port.node_port(), KeyOf(port).second});
    }
    for (v1::ServicePort& port : *next->mutable_ports()) {
      auto it = had.find(KeyOf(port));
      if (port.node_port() != 0 || it == had.end()) continue;
      if (used.insert({it->second, KeyOf(port).second}).second) port.set_node_port(it->second);
    }
  }
  if (NeedsHealthPort(live) && NeedsHealthPort(*next) && next->health_check_node_port() == 0) {
    next->set_health_check_node_port(live.health_check_node_port());
  }
}

}  // namespace

void PrepareUpdate(const v1::Resource& live, v1::Resource* next) {
  if (!live.has_service() || !next->has_service()) return;
  v1::ServiceSpec* spec = next->mutable_service()->mutable_spec();
  if (spec->type().empty()) spec->set_type("ClusterIP");
  internal::CanonicalizeClusterIps(spec);
  FollowClusterIp(live.service().spec(), spec);
  DropWhatTheTypeHasNoUseFor(live.service().spec(), spec);
  KeepWhatIsAssigned(live.service().spec(), spec);
}

namespace internal {

void CanonicalizeClusterIps(v1::ServiceSpec* spec) {
  const auto canonical = [](std::string* text) {
    const auto address = IpAddress::Parse(*text);
    if (address.ok()) *text = address->ToString();
  };
  canonical(spec->mutable_cluster_ip());
  for (std::string& text : *spec->mutable_cluster_ips()) canonical(&text);
}

namespace {

bool IsForeignHeadless(const v1::ServiceSpec& spec) {
  return spec.cluster_ip() == "None" && spec.selector().empty();
}

// A list of one entry for each family: the first one stays, the second one comes and goes with the
// policy.
void CheckFamilyList(const v1::ServiceSpec& next_spec, const char* path, const char* what,
                     const Strings& live, const Strings& next, Problems* problems) {
  if (live.empty()) return;
  if (next.empty()) {
    return Add(problems, fmt::format("{}[0]", path),
               "Invalid value: []: primary {} can not be unset", what);
  }
  for (int i = 0; i < std::min(live.size(), next.size()); ++i) {
    if (live.Get(i) == next.Get(i)) continue;
    Add(problems, fmt::format("{}[{}]", path, i), "Invalid value: {}: may not change once set{}",
        ListText(next), i == 0 ? kAnew : "");
  }
  if (live.size() > next.size() && next_spec.ip_family_policy() != "SingleStack") {
    Add(problems, "spec.ipFamilyPolicy",
        "Invalid value: \"{}\": must be set to 'SingleStack' when releasing the secondary {}",
        next_spec.ip_family_policy(), what);
  }
}

}  // namespace

void CheckServiceUpdate(const v1::ServiceSpec& live, const v1::ServiceSpec& next,
                        Problems* problems) {
  if (NeedsClusterIp(live) && NeedsClusterIp(next) && !live.cluster_ip().empty() &&
      live.cluster_ip() != next.cluster_ip()) {
    Add(problems, "spec.clusterIP", "{}",
        InvalidText(next.cluster_ip(), fmt::format("may not change once set{}", kAnew)));
  }
  if (NeedsClusterIp(live) && NeedsClusterIp(next) && live.cluster_ip() == next.cluster_ip() &&
      !IsForeignHeadless(live) && !IsForeignHeadless(next)) {
    CheckFamilyList(next, "spec.ipFamilies", "ipFamily", live.ip_families(), next.ip_families(),
                    problems);
    CheckFamilyList(next, "spec.clusterIPs", "clusterIP", live.cluster_ips(), next.cluster_ips(),
                    problems);
  }
  if (live.type() == "LoadBalancer" && next.type() == "LoadBalancer" &&
      live.load_balancer_class() != next.load_balancer_class()) {
    Add(problems, "spec.loadBalancerClass", "{}",
        InvalidText(next.load_balancer_class(), fmt::format("may not change once set{}", kAnew)));
  }
}

}  // namespace internal
}  // namespace mesh::schema
