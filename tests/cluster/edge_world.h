// SPDX-License-Identifier: Apache-2.0
// What the tests of the cluster's edge speak about: Services of every kind in front of pods that
// answer with their name, or with the address they see their client with.
#pragma once

#include <string>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {

// A Service NAME, port 80 of TCP and UDP, in front of the pods of app APP. `spec` are lines of its
// spec, `annotations` of its annotations, indented by two and four.
inline std::string EdgeService(const std::string& name, const std::string& app,
                               const std::string& spec, const std::string& annotations = "") {
  return fmt::format(R"(apiVersion: v1
kind: Service
metadata:
  name: {0}
{3}spec:
  ipFamilyPolicy: PreferDualStack
{2}  selector:
    app: {1}
  ports:
  - name: tcp
    port: 80
    targetPort: 9000
  - name: udp
    port: 80
    protocol: UDP
    targetPort: 9000
---
)",
                     name, app, spec,
                     annotations.empty() ? "" : fmt::format("  annotations:\n{}", annotations));
}

// A pod of app APP on NODE that answers with NAME ("-": its own, "@": the client's address).
inline std::string ServerPod(const std::string& pod, const std::string& app,
                             const std::string& node, const std::string& name,
                             const std::string& spec = "", const std::string& port = "") {
  return fmt::format(R"(apiVersion: v1
kind: Pod
metadata:
  name: {0}
  labels:
    app: {1}
spec:
  nodeName: {2}
  terminationGracePeriodSeconds: 0
{4}  containers:
  - name: echo
    image: localhost/mesh-load:v1
    args: ["serve", "9000", "{3}"]
    ports:
    - containerPort: 9000
{5}---
)",
                     pod, app, node, name, spec, port);
}

inline std::string NodeAddress(int index, int family = 4) {
  using cli::local::Layout;
  return family == 4 ? Layout::NodeAddress(index) : Layout::NodeAddress6(index);
}
inline std::string OutsideAddress(int family = 4) {
  using cli::local::Layout;
  return family == 4 ? Layout::OutsideAddress() : Layout::OutsideAddress6();
}
// What the addresses of all pods begin with.
inline std::string PodPrefix(int family) { return family == 4 ? "10.244." : "fd00:10:244:"; }

// The number of a node port of a Service; 0 while it has none.
inline int NodePort(const LocalCluster& cluster, const std::string& service) {
  const Json json = cluster.Get({"service", service});
  if (json.is_discarded() || !json["spec"]["ports"].is_array()) return 0;
  return json["spec"]["ports"][0].value("nodePort", 0);
}

// The load balancer address of a Service; empty while it has none.
inline std::string BalancerAddress(const LocalCluster& cluster, const std::string& service,
                                   int family = 4) {
  const Json json = cluster.Get({"service", service});
  if (json.is_discarded() || !json.contains("status")) return "";
  const Json balancer = json["status"].value("loadBalancer", Json::object());
  std::vector<std::string> ips;
  for (const Json& ingress : balancer.value("ingress", Json::array()))
    ips.push_back(ingress.value("ip", ""));
  return OfFamily(ips, family);
}

}  // namespace mesh::testing
