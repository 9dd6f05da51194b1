// SPDX-License-Identifier: Apache-2.0
// What a person is told who asks for what cannot be, and that everything else goes on. A real meshd
// and the real command line; no node is needed. (A targetPort that no container names needs a pod
// with an address: edge_test.cc.)
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "cli/local/process.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

extern char** environ;

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override { Start({}); }

  void Start(const std::vector<std::string>& more) {
    char folder[] = "/tmp/mesh-bad-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    std::vector<std::string> words = {
        MESH_BIN_DIR "/meshd",   "--data-dir",  folder_ + "/data",
        "--unix-socket",         Socket(),      "--load-balancer-pool",
        "192.0.2.50-192.0.2.51", "--log-level", "warn"};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ASSERT_EQ(::posix_spawn(&meshd_, argv[0], nullptr, nullptr, argv.data(), environ), 0);
    ASSERT_TRUE(Eventually([&] {
      return Meshctl({"get", "namespaces"}).exit_code == 0;
    })) << Meshctl({"get", "namespaces"}).text;
  }
  void TearDown() override {
    if (meshd_ > 0) {
      ::kill(meshd_, SIGTERM);
      ::waitpid(meshd_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  std::string Socket() const { return folder_ + "/meshd.sock"; }
  cli::local::Output Meshctl(std::vector<std::string> args, std::string_view input = {}) const {
    args.insert(args.begin(), {"env", "MESH_SERVER=unix:" + Socket(), MESH_BIN_DIR "/meshctl"});
    const auto output = cli::local::RunProgram(args, input);
    if (!output.ok()) return {.exit_code = -1, .text = output.status().ToString()};
    return *output;
  }
  cli::local::Output Apply(const std::string& manifest) const {
    return Meshctl({"apply", "-f", "-"}, manifest);
  }
  void ExpectApplied(const std::string& manifest) const {
    const cli::local::Output output = Apply(manifest);
    EXPECT_EQ(output.exit_code, 0) << output.text;
  }
  // A row of `meshctl get events` with all of these words comes.
  void ExpectEvent(const std::vector<std::string>& words) const {
    const auto told = [&] {
      const std::string text = Meshctl({"get", "events"}).text;
      for (size_t start = 0; start < text.size();) {
        const size_t end = std::min(text.find('\n', start), text.size());
        const std::string line = text.substr(start, end - start);
        start = end + 1;
        if (std::all_of(words.begin(), words.end(), [&](const std::string& word) {
              return line.find(word) != std::string::npos;
            })) {
          return true;
        }
      }
      return false;
    };
    EXPECT_TRUE(Eventually(told)) << fmt::format("{}", fmt::join(words, " ")) << " in\n"
                                  << Meshctl({"get", "events"}).text;
  }
  std::string Field(const std::string& service, const std::string& path) const {
    return Meshctl({"get", "service", service, "-o", "jsonpath={" + path + "}"}).text;
  }

  // A Service with port 80. `spec` are lines of its spec, `annotations` of its annotations.
  static std::string Service(const std::string& name, const std::string& spec,
                             const std::string& annotations = "", const std::string& port = "") {
    return fmt::format(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n{}spec:\n{}  ports:\n  - port: "
        "80\n{}---\n",
        name, annotations.empty() ? "" : "  annotations:\n    " + annotations + "\n", spec, port);
  }

  std::string folder_;
  pid_t meshd_ = 0;
};

// A cluster of both families whose pool is of IPv4 alone.
class BadInputInIpv6Test : public BadInputTest {
 protected:
  void SetUp() override {
    Start({"--cluster-cidr", "10.244.0.0/16,fd00:10:244::/48", "--service-cidr",
           "10.96.0.0/16,fd00:10:96::/112"});
  }
  // Refused, at that line and column, with these words.
  void ExpectRefused(const std::string& manifest, const std::string& place,
                     const std::vector<std::string>& words) const {
    const cli::local::Output output = Apply(manifest);
    EXPECT_EQ(output.exit_code, 1) << manifest;
    EXPECT_THAT(output.text, HasSubstr(place));
    for (const std::string& word : words) EXPECT_THAT(output.text, HasSubstr(word));
  }
};

TEST_F(BadInputTest, APolicyForAMissingNamespaceIsToldWithItsPlace) {
  const auto output = Meshctl({"apply", "-f", "-"}, R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: here}
spec: {podSelector: {}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: there
  namespace: nowhere
spec: {podSelector: {}}
)");
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_THAT(output.text,
              AllOf(HasSubstr("standard input:10:"),
                    HasSubstr("metadata.namespace: namespaces \"nowhere\" not found")));
  EXPECT_THAT(Meshctl({"get", "networkpolicies", "-A"}).text, HasSubstr("No resources found"));
}

TEST_F(BadInputTest, ANodePortOfAnotherService) {
  ExpectApplied(Service("first", "  type: NodePort\n", "", "    nodePort: 30080\n"));

  const cli::local::Output output =
      Apply(Service("second", "  type: NodePort\n", "", "    nodePort: 30080\n"));

  EXPECT_EQ(output.exit_code, 1);
  EXPECT_THAT(output.text, AllOf(HasSubstr(":9:15: error:"), HasSubstr("spec.ports[0].nodePort"),
                                 HasSubstr("30080"), HasSubstr("default/first")));
  ExpectApplied(Service("third", "  type: NodePort\n"));
}

TEST_F(BadInputTest, AHostPortThatIsANodePort) {
  ExpectApplied(Service("web", "  type: NodePort\n", "", "    nodePort: 30080\n"));
  ExpectApplied(
      "apiVersion: v1\nkind: Pod\nmetadata:\n  name: db\nspec:\n  containers:\n  - name: main\n"
      "    image: localhost/x:1\n    ports:\n    - containerPort: 80\n      hostPort: 30080\n");

  ExpectEvent({"FailedScheduling", "db", "hostPort 30080", "default/web"});
}

TEST_F(BadInputTest, AnAddressOutsideThePool) {
  ExpectApplied(Service("wishful", "  type: LoadBalancer\n  loadBalancerIP: 10.1.1.1\n") +
                Service("modest", "  type: LoadBalancer\n"));

  ExpectEvent({"AddressOutsidePool", "wishful", "10.1.1.1", "192.0.2.50-192.0.2.51"});
  EXPECT_TRUE(Eventually([&] {
    return Field("modest", ".status.loadBalancer.ingress[0].ip") == "192.0.2.50";
  })) << Field("modest", ".status.loadBalancer");
}

TEST_F(BadInputTest, AnExhaustedPool) {
  ExpectApplied(Service("a", "  type: LoadBalancer\n") + Service("b", "  type: LoadBalancer\n"));
  EXPECT_TRUE(
      Eventually([&] { return !Field("b", ".status.loadBalancer.ingress[0].ip").empty(); }));
  ExpectApplied(Service("c", "  type: LoadBalancer\n"));

  ExpectEvent({"PoolExhausted", "service/c", "192.0.2.50-192.0.2.51"});
  EXPECT_EQ(Meshctl({"delete", "service", "a"}).exit_code, 0);
  EXPECT_TRUE(
      Eventually([&] { return !Field("c", ".status.loadBalancer.ingress[0].ip").empty(); }));
}

TEST_F(BadInputTest, AnEndpointSliceThatPointsOutside) {
  ExpectApplied(Service("db", "") +
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: db\n"
                "  labels:\n    kubernetes.io/service-name: db\naddressType: IPv4\nports:\n"
                "- port: 5432\nendpoints:\n- addresses: [\"203.0.113.9\"]\n");

  ExpectEvent({"EndpointsOutsideCluster", "service/db", "203.0.113.9"});
  // One that leads back into the packet path is none.
  const cli::local::Output output = Apply(
      "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: loop\n"
      "  labels:\n    kubernetes.io/service-name: db\naddressType: IPv4\nports:\n"
      "- port: 5432\nendpoints:\n- addresses: [\"10.96.0.10\"]\n");
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_THAT(output.text, AllOf(HasSubstr(":11:15: error:"),
                                 HasSubstr("endpoints[0].addresses[0]"), HasSubstr("10.96.0.10")));
}

TEST_F(BadInputTest, IPv6InAClusterThatHasNone) {
  const cli::local::Output output = Apply(Service("web", "  ipFamilyPolicy: RequireDualStack\n"));

  EXPECT_EQ(output.exit_code, 1);
  EXPECT_THAT(output.text, AllOf(HasSubstr("spec.ipFamilyPolicy"), HasSubstr("RequireDualStack"),
                                 HasSubstr("--service-cidr")));
  ExpectApplied(Service("web", "  ipFamilyPolicy: PreferDualStack\n"));
}

TEST_F(BadInputInIpv6Test, AnExternalAddressOfTheOtherFamily) {
  ExpectRefused(Service("web", "  externalIPs: [\"2001:db8::7\"]\n"),
                ":6:", {"spec.externalIPs[0]", "2001:db8::7", "no IPv6"});
  ExpectApplied(
      Service("web", "  externalIPs: [\"2001:db8::7\"]\n  ipFamilyPolicy: RequireDualStack\n"));
}

TEST_F(BadInputInIpv6Test, ClusterAddressesOutOfTheirRangeOrOrder) {
  ExpectRefused(Service("web", "  ipFamilies: [IPv6]\n  clusterIP: \"fd00:10:97::5\"\n"), ":",
                {"spec.clusterIP", "fd00:10:97::5", "fd00:10:96::/112"});
  ExpectRefused(Service("web",
                        "  ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv4, IPv6]\n"
                        "  clusterIPs: [\"fd00:10:96::55\", \"10.96.0.55\"]\n"),
                ":", {"spec.clusterIPs", "fd00:10:96::55"});
  ExpectApplied(Service("web",
                        "  ipFamilyPolicy: RequireDualStack\n  ipFamilies: [IPv6, IPv4]\n"
                        "  clusterIPs: [\"fd00:10:96::55\", \"10.96.0.55\"]\n"));
  EXPECT_EQ(Field("web", ".spec.clusterIP"), "fd00:10:96::55");
  // Two Services, one address.
  ExpectRefused(Service("other", "  clusterIP: \"fd00:10:96::55\"\n"), ":",
                {"fd00:10:96::55", "already allocated"});
}

TEST_F(BadInputInIpv6Test, APoolOfOneFamilyOnly) {
  ExpectApplied(Service("both", "  type: LoadBalancer\n  ipFamilyPolicy: RequireDualStack\n") +
                Service("six", "  type: LoadBalancer\n  ipFamilies: [IPv6]\n") +
                Service("wish",
                        "  type: LoadBalancer\n  ipFamilies: [IPv6]\n"
                        "  loadBalancerIP: \"fd00::9\"\n"));

  for (const char* name : {"service/both", "service/six", "service/wish"})
    ExpectEvent({"NoLoadBalancerPool", name, "no IPv6 address"});
  EXPECT_TRUE(Eventually([&] {
    return Field("both", ".status.loadBalancer.ingress[0].ip") == "192.0.2.50";
  })) << Field("both", ".status.loadBalancer");
}

TEST_F(BadInputInIpv6Test, SourceRangesOfTheOtherFamily) {
  ExpectApplied(
      Service("web", "  type: LoadBalancer\n  loadBalancerSourceRanges: [\"2001:db8:5::/48\"]\n"));

  ExpectEvent({"SourceRangeFamily", "service/web", "2001:db8:5::/48", "no client of IPv4"});
  ExpectRefused(
      Service("bad", "  type: LoadBalancer\n  loadBalancerSourceRanges: [\"2001:db8::/129\"]\n"),
      ":7:", {"spec.loadBalancerSourceRanges[0]", "2001:db8::/129"});
}

TEST_F(BadInputInIpv6Test, EndpointSlicesOfTheWrongFamilyOrThatPointOutside) {
  const auto slice = [](const std::string& name, const std::string& type,
                        const std::string& address) {
    return fmt::format(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {}\n"
        "  labels:\n    kubernetes.io/service-name: db\naddressType: {}\nports:\n"
        "- port: 5432\nendpoints:\n- addresses: [\"{}\"]\n---\n",
        name, type, address);
  };
  ExpectRefused(slice("db", "IPv6", "10.0.0.9"),
                ":11:15: error:", {"endpoints[0].addresses[0]", "10.0.0.9", "valid IPv6 address"});
  ExpectRefused(slice("db", "IPv4", "2001:db8::9"), ":11:15: error:", {"valid IPv4 address"});
  // One that leads back into the packet path is none.
  ExpectRefused(slice("db", "IPv6", "fd00:10:96::10"), ":11:15: error:", {"fd00:10:96::10"});

  ExpectApplied(Service("db", "") + slice("unused", "IPv6", "2001:db8::9"));
  ExpectEvent({"AddressFamily", "service/db", "unused", "IPv6"});
  ExpectApplied(Service("db", "  ipFamilyPolicy: RequireDualStack\n"));
  ExpectEvent({"EndpointsOutsideCluster", "service/db", "2001:db8::9"});
}

TEST_F(BadInputTest, AnAnnotationWithAWrongValue) {
  const cli::local::Output output = Apply(Service("web", "", "mesh.io/load-balancing: best"));

  EXPECT_EQ(output.exit_code, 1);
  // Where it stands, and what would be right.
  EXPECT_THAT(output.text, AllOf(HasSubstr(":6:"), HasSubstr("mesh.io/load-balancing"),
                                 HasSubstr("best"), HasSubstr("least-loaded")));
  ExpectApplied(Service("web", "", "mesh.io/load-balancing: maglev"));
}

}  // namespace
}  // namespace mesh::testing
