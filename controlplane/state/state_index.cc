// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/state_index.h"

#include <algorithm>

#include "common/ip_address.h"

namespace mesh::controlplane {
namespace {

constexpr char kServiceNameLabel[] = "kubernetes.io/service-name";

template <typename What>
void Own(std::map<What, ObjectKey>* owners, const What& what, const ObjectKey& key, bool add) {
  if (add) {
    owners->insert_or_assign(what, key);
  } else if (auto it = owners->find(what); it != owners->end() && it->second == key) {
    owners->erase(it);
  }
}

template <typename Where>
void File(std::map<Where, std::set<std::string>>* files, const Where& where,
          const std::string& name, bool add) {
  if (add) {
    (*files)[where].insert(name);
    return;
  }
  auto it = files->find(where);
  if (it == files->end()) return;
  it->second.erase(name);
  if (it->second.empty()) files->erase(it);
}

// Whether there is one of it left.
template <typename Key>
bool Count(std::map<Key, int>* counts, const Key& key, bool add) {
  int& count = (*counts)[key];
  count += add ? 1 : -1;
  if (count > 0) return true;
  counts->erase(key);
  return false;
}

}  // namespace

std::vector<ExternalPort> ExternalPortsOf(const v1::ServiceSpec& spec) {
  std::vector<ExternalPort> out;
  if (spec.type() == "ExternalName") return out;
  for (const std::string& text : spec.external_ips()) {
    const absl::StatusOr<IpAddress> ip = IpAddress::Parse(text);
    if (!ip.ok()) continue;
    for (const v1::ServicePort& port : spec.ports()) {
      out.push_back({ip->ToString(), port.port(), port.protocol()});
    }
  }
  return out;
}

const std::string& FirstLabel(const google::protobuf::Map<std::string, std::string>& selector) {
  return std::min_element(selector.begin(), selector.end(),
                          [](const auto& a, const auto& b) { return a.first < b.first; })
      ->first;
}

void StateIndex::Note(const ObjectKey& key, const v1::Service& service, bool add) {
  const v1::ServiceSpec& spec = service.spec();
  if (!spec.cluster_ip().empty() && spec.cluster_ip() != "None") {
    Own(&cluster_ips, spec.cluster_ip(), key, add);
  }
  for (const std::string& ip : spec.cluster_ips()) {
    if (ip != "None") Own(&cluster_ips, ip, key, add);
  }
  for (const v1::ServicePort& port : spec.ports()) {
    if (port.node_port() != 0) Own(&node_ports, port.node_port(), key, add);
  }
  if (spec.health_check_node_port() != 0) {
    Own(&node_ports, spec.health_check_node_port(), key, add);
  }
  const auto& ingress = service.status().load_balancer().ingress();
  for (const v1::LoadBalancerIngress& entry : ingress) Own(&balancer_ips, entry.ip(), key, add);
  for (const ExternalPort& port : ExternalPortsOf(spec)) Own(&external_ports, port, key, add);
  const int families = std::max(spec.ip_families_size(), 1);
  if (add && spec.type() == "LoadBalancer" && ingress.size() < families) {
    waiting_balancers.insert(key);
  } else {
    waiting_balancers.erase(key);
  }
  if (spec.selector().empty()) return;
  const std::string& label = FirstLabel(spec.selector());
  File(&services, {key.ns, label, spec.selector().at(label)}, key.name, add);
}

void StateIndex::Note(const ObjectKey& key, const v1::Pod& pod, bool add) {
  if (const uint32_t identity = pod.status().identity(); identity != 0) {
    const std::string text = IdentityText(pod);
    std::map<uint32_t, int>& numbers = identities[text];
    Count(&numbers, identity, add);
    if (numbers.empty()) identities.erase(text);
    Count(&identity_numbers, identity, add);
  }
  for (const auto& [name, value] : pod.metadata().labels()) {
    File(&pods, {key.ns, name, value}, key.name, add);
  }
  for (const v1::Container& container : pod.spec().containers()) {
    for (const v1::ContainerPort& port : container.ports()) {
      if (port.host_port() == 0) continue;
      std::set<ObjectKey>& holders = host_ports[port.host_port()];
      add ? static_cast<void>(holders.insert(key)) : static_cast<void>(holders.erase(key));
      if (holders.empty()) host_ports.erase(port.host_port());
    }
  }
}

void StateIndex::Note(const ObjectKey&, const v1::NetworkPolicy& policy, bool add) {
  for (const Block& block : BlocksOf(policy)) {
    if (Count(&policy_blocks, block, add)) {
      blocks.insert(block);
    } else {
      blocks.erase(block);
    }
  }
}

void StateIndex::Note(const ObjectKey& key, const v1::EndpointSlice& slice, bool add) {
  const auto& labels = slice.metadata().labels();
  auto label = labels.find(kServiceNameLabel);
  if (label == labels.end()) return;
  File(&slices, {key.ns, label->second}, key.name, add);
  for (const v1::Endpoint& endpoint : slice.endpoints()) {
    if (endpoint.conditions().ready() || endpoint.target_ref().name().empty()) continue;
    const ObjectKey pod{key.ns, endpoint.target_ref().name()};
    if (add) {
      unready_endpoints[pod].insert(label->second);
      continue;
    }
    auto it = unready_endpoints.find(pod);
    if (it == unready_endpoints.end()) continue;
    if (auto one = it->second.find(label->second); one != it->second.end()) it->second.erase(one);
    if (it->second.empty()) unready_endpoints.erase(it);
  }
}

}  // namespace mesh::controlplane
