// SPDX-License-Identifier: Apache-2.0
// By what else than their names objects are looked up, kept current one object at a time: nothing
// in the control plane walks through all pods or Services because one of them has changed.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controlplane/policy/pod_traits.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::controlplane {

// Name of an object within its kind; `ns` is empty for cluster-scoped kinds.
struct ObjectKey {
  std::string ns;
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
  std::string ToString() const { return ns.empty() ? name : ns + "/" + name; }
};

// One label with its value, in one namespace.
struct LabelKey {
  std::string ns;
  std::string key;
  std::string value;
  friend auto operator<=>(const LabelKey&, const LabelKey&) = default;
};

// What a client outside dials.
struct ExternalPort {
  std::string ip;  // as IpAddress writes it
  int32_t port = 0;
  std::string protocol;
  friend auto operator<=>(const ExternalPort&, const ExternalPort&) = default;
};

struct StateIndex {
  // Services by what they hold: each address and number has one owner.
  std::map<std::string, ObjectKey> cluster_ips;
  std::map<int32_t, ObjectKey> node_ports;  // health check ports too
  std::map<std::string, ObjectKey> balancer_ips;
  std::map<ExternalPort, ObjectKey> external_ports;  // of their externalIPs
  // Pods by their host ports.
  std::map<int32_t, std::set<ObjectKey>> host_ports;
  // Services of type LoadBalancer without an address of one of their families.
  std::set<ObjectKey> waiting_balancers;
  // Names: Services by the first label of their selector, pods by each of their labels.
  std::map<LabelKey, std::set<std::string>> services;
  std::map<LabelKey, std::set<std::string>> pods;
  // Names of EndpointSlices, by the Service that their label names.
  std::map<ObjectKey, std::set<std::string>> slices;
  // Names of Services, by each pod that a slice of theirs has as an endpoint that is not ready:
  // once for each such slice. A pod that a Service does not select any more is found there; the
  // ready ones are found by their labels.
  std::map<ObjectKey, std::multiset<std::string>> unready_endpoints;

  // How many pods have an identity, by what it stands for (IdentityText), and all together.
  std::map<std::string, std::map<uint32_t, int>> identities;
  std::map<uint32_t, int> identity_numbers;
  // Address ranges that NetworkPolicies name, and how many of them.
  std::map<Block, int> policy_blocks;
  std::set<Block> blocks;  // the same

  void Note(const ObjectKey& key, const v1::NetworkPolicy& policy, bool add);
  void Note(const ObjectKey& key, const v1::Service& service, bool add);
  void Note(const ObjectKey& key, const v1::Pod& pod, bool add);
  void Note(const ObjectKey& key, const v1::EndpointSlice& slice, bool add);
};

// Every port of every address in externalIPs.
std::vector<ExternalPort> ExternalPortsOf(const v1::ServiceSpec& spec);

// The label of the selector that comes first; REQUIRES: it has one.
const std::string& FirstLabel(const google::protobuf::Map<std::string, std::string>& selector);

}  // namespace mesh::controlplane
