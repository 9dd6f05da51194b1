// SPDX-License-Identifier: Apache-2.0
// Goal: on a live cluster, `why` finds each of a set of deliberately broken objects, and
// `connectivity test` keeps quiet on a sound network, names what is broken on another, and leaves
// nothing behind. Topology: three nodes.
#include <gmock/gmock.h>

#include <fstream>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kBroken[] = R"(apiVersion: v1
kind: Namespace
metadata:
  name: pay
---
apiVersion: v1
kind: Pod
metadata:
  name: huge
spec:
  containers:
  - name: main
    image: localhost/mesh-load:v1
    resources:
      requests:
        cpu: 4000
---
apiVersion: v1
kind: Pod
metadata:
  name: crash
spec:
  containers:
  - name: main
    image: localhost/mesh-load:v1
    args: ["no-such-mode"]
---
apiVersion: v1
kind: Pod
metadata:
  name: noimage
spec:
  containers:
  - name: main
    image: localhost/nothing:v9
    imagePullPolicy: IfNotPresent
---
apiVersion: v1
kind: Service
metadata:
  name: lost
spec:
  selector:
    app: ecco
  ports:
  - port: 80
---
apiVersion: v1
kind: Service
metadata:
  name: misnamed
spec:
  selector:
    app: echo
  ports:
  - port: 80
    targetPort: http
---
apiVersion: v1
kind: Service
metadata:
  name: wrongport
spec:
  selector:
    app: echo
  ports:
  - port: 80
    targetPort: 8080
---
)";

// The rule begins in line 11.
constexpr char kPolicy[] = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: from-web
  namespace: pay
spec:
  podSelector:
    matchLabels:
      app: api
  ingress:
  - from:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          app: web
)";

class WhyTest : public ClusterTest {
 protected:
  // Until the answer has it: agents report after a moment.
  void ExpectWhy(std::vector<std::string> subject, const std::string& expected, int exit_code = 1) {
    subject.insert(subject.begin(), "why");
    cli::local::Output last;
    EXPECT_TRUE(Eventually([&] {
      last = cluster().Meshctl(subject);
      return last.exit_code == exit_code && last.text.find(expected) != std::string::npos;
    })) << subject.back()
        << ": expected " << exit_code << " and \"" << expected << "\", got " << last.exit_code
        << "\n"
        << last.text;
  }
  bool HasNamespace(const std::string& name) {
    return cluster().Meshctl({"get", "namespace", name}).exit_code == 0;
  }
};

TEST_F(WhyTest, WhyFindsEachBrokenObject) {
  cluster().Apply(std::string(kBroken) + EchoManifest("echo", 2) + "---\n" +
                  EchoManifest("api", 1, "pay") + "---\n" + ClientManifest("client", "n1"));
  ASSERT_TRUE(cluster().WaitForPods("app=echo", 2));
  ASSERT_TRUE(cluster().WaitForPods("app=api", 1, "pay"));
  ASSERT_TRUE(cluster().WaitForPods("app=client", 1));

  ExpectWhy({"huge"}, "-> lower the cpu request of pod default/huge to ");
  ExpectWhy({"huge"}, "node n3: needs 4000 cpu");
  ExpectWhy({"crash"}, "ends again and again: exit code");
  ExpectWhy({"crash"}, "         | ");  // its last words
  ExpectWhy({"noimage"}, "correct spec.containers[0].image of pod default/noimage");
  ExpectWhy({"client"}, "is ready", 0);
  ExpectWhy({"deploy/echo"}, "is ready", 0);

  ExpectWhy({"svc/echo"}, "2 backends that may get requests", 0);
  ExpectWhy({"svc/lost"}, "set spec.selector of service default/lost to app=echo");
  ExpectWhy({"svc/misnamed"}, "set targetPort of port 80 of service default/misnamed to echo");

  ExpectWhy({"default/client -> default/echo:80"}, "listens on TCP 9000", 0);
  ExpectWhy({"client", "udp://echo.default.svc"}, "listens on UDP 9000", 0);
  ExpectWhy({"client", "wrongport:80"}, "nothing listens on TCP 8080; it listens on 9000");
  ExpectWhy({"client", "echo:9000"}, "ask port 80: 9000 is its targetPort");
  ExpectWhy({"client", "api"}, "ask for api.pay");
  ExpectWhy({"client", "pay/api"}, "admits what comes through its own Services", 0);
  const std::string api = PodIp(cluster().ReadyPods("app=api", "pay").at(0));
  ExpectWhy({"client", api + ":9000"}, "annotate namespace pay with mesh.io/isolation: open");

  const std::string file = ::testing::TempDir() + "/why-policy.yaml";
  std::ofstream(file) << kPolicy;
  cluster().MustMeshctl({"apply", "-f", file});
  ExpectWhy({"client", "pay/api"},
            fmt::format("is isolated for ingress by policy pay/from-web, no rule of which admits "
                        "it; the nearest is policy pay/from-web, rule ingress[0] ({}:11), but pod "
                        "default/client",
                        file));
  ExpectWhy({"client", "pay/api"}, "does not match app=web (it has app=client)");
  cluster().MustMeshctl({"delete", "-f", file});
  ExpectWhy({"client", "pay/api"}, "admits what comes through its own Services", 0);

  const auto missing = cluster().Meshctl({"why", "nobody"});
  EXPECT_EQ(missing.exit_code, 1);
  EXPECT_THAT(missing.text, HasSubstr("pods \"nobody\" not found"));
}

TEST_F(WhyTest, ConnectivityHoldsAndLeavesNothing) {
  const auto result = cluster().Meshctl({"connectivity", "test"});

  EXPECT_EQ(result.exit_code, 0) << result.text;
  EXPECT_THAT(result.text, AllOf(HasSubstr("isolation between namespaces, UDP, IPv6: 9 of 9"),
                                 HasSubstr("full-sized packets, UDP, IPv4: 6 of 6"),
                                 HasSubstr("load balancer address, TCP, IPv4: 3 of 3"),
                                 HasSubstr("external address, UDP, IPv4: 3 of 3"),
                                 HasSubstr("what policies admit, TCP, IPv6: 9 of 9"),
                                 HasSubstr("what no policy admits, TCP, IPv4: 6 of 6"),
                                 HasSubstr("names that a policy keeps away: 3 of 3"),
                                 HasSubstr(" 0 failed"), Not(HasSubstr("FAILED"))));
  EXPECT_FALSE(HasNamespace("mesh-test-a"));
  EXPECT_FALSE(HasNamespace("mesh-test-b"));
}

TEST_F(WhyTest, ConnectivityNamesWhatIsBrokenAndCleansUp) {
  // Packets that fill the pods' interfaces do not fit through n2's uplink any more.
  cluster().MustMeshctl({"local", "exec", "--name", cluster().layout().cluster(), "n2", "--", "ip",
                         "link", "set", "eth0", "mtu", "1300"});

  const auto result = cluster().Meshctl({"connectivity", "test"});

  EXPECT_EQ(result.exit_code, 1) << result.text;
  EXPECT_THAT(result.text, HasSubstr("FAILED   full-sized packets, UDP, IPv4"));
  EXPECT_THAT(result.text, HasSubstr("trace mesh-test-a/probe-"));
  EXPECT_THAT(result.text, HasSubstr("ok       pod to pod, TCP, IPv4: 6 of 6"));
  EXPECT_FALSE(HasNamespace("mesh-test-a"));
}

TEST_F(WhyTest, ConnectivityCleansUpWhenItIsInterrupted) {
  const auto result = cli::local::RunProgram(
      {"env", "MESH_SERVER=unix:" + cluster().layout().Socket(), "timeout", "--signal=INT", "3",
       MESH_BIN_DIR "/meshctl", "connectivity", "test"});

  ASSERT_TRUE(result.ok());
  EXPECT_FALSE(HasNamespace("mesh-test-a")) << result->text;
  EXPECT_FALSE(HasNamespace("mesh-test-b")) << result->text;
  const auto again = cluster().Meshctl({"connectivity", "test", "--node", "n1"});
  EXPECT_EQ(again.exit_code, 0) << again.text;
}

}  // namespace
}  // namespace mesh::testing
