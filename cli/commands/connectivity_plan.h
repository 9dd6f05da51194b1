// SPDX-License-Identifier: Apache-2.0
// What `connectivity test` puts on the cluster and what it then asks: pure functions of the nodes
// and of what the cluster has made of the objects.
//
// Namespace A has a pod on every node, a Service for each of them ("to-0", ...), one for all
// ("every", with node ports), a load balancer, a headless one and one without backends. Namespace B
// has a pod on every node, which asks.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "mesh/v1/control.pb.h"

namespace mesh::cli {

inline constexpr uint16_t kProbePort = 8080;  // of the pods
inline constexpr uint16_t kServicePort = 80;  // of the Services
// Of a range that is for documentation: nobody has it.
inline constexpr char kProbeExternalIp[] = "198.51.100.80";
inline constexpr char kProbeLabel[] = "mesh-probe";

struct ProbeNode {
  std::string name;
  std::string image;                   // of the probes there
  std::vector<std::string> addresses;  // InternalIP, of both families
};

struct ProbePlan {
  std::string ns_a, ns_b;
  std::vector<ProbeNode> nodes;  // in the order of the pods' numbers
  std::string cluster_domain;
};

std::vector<v1::Resource> ProbeNamespaces(const ProbePlan& plan);
// All but the namespaces and the policies.
std::vector<v1::Resource> ProbeObjects(const ProbePlan& plan);

std::vector<v1::Resource> ProbePolicies(const ProbePlan& plan);

// One question, with the answer that keeps the promise.
struct Check {
  std::string promise;  // "pod to pod, TCP, IPv4"
  std::string from_ns, from_pod, from_node;
  // What is asked for and where it is, for people: "pod probe-1 on n2, 10.244.1.2:8080".
  std::string to;
  v1::ProbeRequest request;
  v1::ProbeResponse::Outcome expected = v1::ProbeResponse::ANSWERED;
  std::set<std::string> answerers;  // one of them; empty: whoever
  std::set<std::string> addresses;  // of a name: exactly these
};

// What the cluster has made of the objects.
struct ProbeFound {
  std::vector<v1::Pod> pods;          // of both namespaces
  std::vector<v1::Service> services;  // of namespace A
};

// With namespace A as it is by default; in the order in which they are told.
std::vector<Check> PlanChecks(const ProbePlan& plan, const ProbeFound& found);
// What changes once namespace A is open: pods of B reach those of A directly.
std::vector<Check> PlanOpenChecks(const ProbePlan& plan, const ProbeFound& found);
// With ProbePolicies() beside that.
std::vector<Check> PlanPolicyChecks(const ProbePlan& plan, const ProbeFound& found);

// Empty: the promise was kept. Otherwise what came instead.
std::string Broken(const Check& check, const v1::ProbeResponse& response);

}  // namespace mesh::cli
