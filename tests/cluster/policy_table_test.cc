// SPDX-License-Identifier: Apache-2.0
// The truth table of NetworkPolicies (tests/support/policy/policy_table.h) in a cluster of three
// nodes: after each case every pod tries every other at every port, in both families.
#include <set>
#include <sstream>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"
#include "tests/support/cluster/reach_matrix.h"
#include "tests/support/policy/policy_table.h"

namespace mesh::testing {
namespace {

std::vector<std::string> TablePods() {
  std::vector<std::string> out;
  for (const char ns : kTableNamespaces) {
    for (const char pod : kTablePods) out.push_back(fmt::format("{}/{}", ns, pod));
  }
  return out;
}

std::string NamespacesManifest(const std::string& isolation) {
  std::string out;
  for (const char ns : kTableNamespaces) {
    out += fmt::format(
        "---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: \"{0}\"\n  labels: {{ns: "
        "\"{0}\"}}\n"
        "  annotations: {{{1}}}\n",
        ns, isolation);
  }
  return out;
}

class PolicyTableTest : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    if (HasFatalFailure()) return;
    std::string manifest = NamespacesManifest("mesh.io/isolation: open");
    int number = 0;
    for (const std::string& pod : TablePods()) {
      // Every letter and every namespace on all nodes.
      manifest += "---\n" + PodManifest(pod, fmt::format("n{}", 1 + (number + number / 3) % 3));
      ++number;
    }
    cluster().Apply(manifest);
    for (const char ns : kTableNamespaces) {
      ASSERT_TRUE(cluster().WaitForPods("table", 3, std::string(1, ns)));
      for (const Json& pod : cluster().ReadyPods("table", std::string(1, ns))) {
        const std::string name =
            fmt::format("{}/{}", ns, pod["metadata"]["name"].get<std::string>());
        addresses_[name] = PodIp(pod, 4);
        addresses_["6" + name] = PodIp(pod, 6);
      }
    }
    for (const std::string& pod : TablePods()) {
      const pid_t pid = cluster().PodPid("table-" + pod);
      ASSERT_NE(pid, 0) << pod;
      matrix_.prober().AddPlace(pod, fmt::format("/proc/{}/ns/net", pid));
      for (const uint8_t protocol : kTableProtocols) {
        for (const uint16_t port : kTablePorts) matrix_.prober().Serve(pod, protocol, port);
      }
    }
    for (const std::string& from : TablePods()) {
      for (const std::string& to : TablePods()) {
        for (const char* family : {"", "6"}) {
          for (const uint8_t protocol : kTableProtocols) {
            for (const uint16_t port : kTablePorts) {
              if (addresses_[family + to].empty()) continue;
              matrix_.Add({from, addresses_[family + to], protocol, port}, to);
            }
          }
        }
      }
    }
  }

  static std::string PodManifest(const std::string& pod, const std::string& node) {
    std::string ports;
    for (const ModelPort& port : TablePod(pod).ports) {
      ports += fmt::format("    - {{name: {}, containerPort: {}, protocol: {}}}\n", port.name,
                           port.port, port.protocol == 6 ? "TCP" : "UDP");
    }
    return fmt::format(R"(apiVersion: v1
kind: Pod
metadata:
  name: {1}
  namespace: "{0}"
  labels:
    pod: {1}
    table: ""
spec:
  nodeName: {2}
  terminationGracePeriodSeconds: 0
  containers:
  - name: idle
    image: localhost/mesh-load:v1
    args: ["idle", "table-{0}/{1}"]
    ports:
{3})",
                       pod[0], pod[2], node, ports);
  }

  // Leaves the policies of `one`, and no others.
  void Put(const TableCase& one) {
    std::set<std::string> names;
    for (const std::string& policy : one.policies) {
      std::istringstream in(policy);
      std::string ns, name;
      in >> ns >> name;
      names.insert(ns + "/" + name);
    }
    const std::string manifest = TableManifest(one, addresses_);
    if (!manifest.empty()) cluster().Apply(manifest);
    for (const std::string& old : policies_) {
      if (names.contains(old)) continue;
      cluster().MustMeshctl({"delete", "networkpolicy", old.substr(2), "-n", old.substr(0, 1)});
    }
    policies_ = names;
  }

  // What `one` says of a connection.
  static bool Allows(const TableCase& one, const ReachMatrix::Flow& flow) {
    return TableAllows(one, flow.probe.from, flow.to, flow.v6(),
                       static_cast<uint8_t>(flow.probe.protocol),
                       static_cast<uint16_t>(flow.probe.port));
  }

  ReachMatrix matrix_;
  std::map<std::string, std::string> addresses_;
  std::set<std::string> policies_;
};

TEST_F(PolicyTableTest, EveryCaseIsAsWritten) {
  for (const TableCase& one : PolicyTable()) {
    SCOPED_TRACE(one.name);
    Put(one);
    matrix_.Expect([&](const ReachMatrix::Flow& flow) { return Allows(one, flow); });
    ASSERT_FALSE(HasFailure()) << "the others are not tried";
  }
}

// Without the annotation: where no policy selects a pod for ingress its namespace is its own, and
// what the policies say of the others is the same.
TEST_F(PolicyTableTest, IsolationHoldsWhereNoPolicySelects) {
  cluster().Apply(NamespacesManifest(""));
  for (const TableCase& one : PolicyTable()) {
    const std::string name = one.name;
    // All pods of x, only x/a, or nobody are selected for ingress.
    const bool nobody = name == "NoPolicy" || name == "DenyEgress" || name == "ToANamespace";
    const bool all = name == "AllowIngress" || name == "FromANamespaceByLabel";
    const bool only_a = name == "SelectsByLabel" || name == "PodsOfNamespaces";
    if (!nobody && !all && !only_a) continue;
    SCOPED_TRACE(one.name);
    Put(one);
    matrix_.Expect([&](const ReachMatrix::Flow& flow) {
      const bool selected = !nobody && flow.to[0] == 'x' && (all || flow.to == "x/a");
      return (selected || flow.probe.from[0] == flow.to[0]) && Allows(one, flow);
    });
  }
}

}  // namespace
}  // namespace mesh::testing
