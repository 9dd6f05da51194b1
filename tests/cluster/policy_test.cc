// SPDX-License-Identifier: Apache-2.0
// NetworkPolicies in a cluster of three nodes: the server in blue on n1 and n3, clients of blue and
// green on n1 and n2, so that verdicts fall on both ends. Applied with meshctl, judged by who is
// answered.
#include <gmock/gmock.h>
#include <signal.h>

#include <algorithm>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

constexpr char kNamespaces[] = R"(apiVersion: v1
kind: Namespace
metadata:
  name: blue
---
apiVersion: v1
kind: Namespace
metadata:
  name: green
  labels:
    team: green
---
)";

constexpr char kDenyAll[] = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: deny
  namespace: blue
spec:
  podSelector: {}
  policyTypes: [Ingress]
)";

constexpr char kAllowGreen[] = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: allow-green
  namespace: blue
spec:
  podSelector:
    matchLabels:
      app: echo
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: green
      podSelector:
        matchLabels:
          app: green-client
    ports:
    - port: echo
)";

class PolicyTest : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    if (HasFatalFailure()) return;
    cluster().Apply(std::string(kNamespaces) + EchoManifest("echo", 2, "blue") + "---\n" +
                    ClientManifest("blue-client", "n2", "blue") + "---\n" +
                    ClientManifest("green-client", "n2", "green") + "---\n" +
                    ClientManifest("green-near", "n1", "green"));
    ASSERT_TRUE(cluster().WaitForPods("app=echo", 2, "blue"));
    for (const auto& [name, ns] :
         {std::pair("blue-client", "blue"), std::pair("green-client", "green"),
          std::pair("green-near", "green")}) {
      ASSERT_TRUE(cluster().WaitForPods(fmt::format("app={}", name), 1, ns));
    }
    for (const int family : kFamilies) {
      services_.push_back(HostPort(cluster().ClusterIp("echo", "blue", family), 80));
      for (const Json& pod : cluster().ReadyPods("app=echo", "blue"))
        directs_.push_back(HostPort(PodIp(pod, family), 9000));
    }
  }

  // How many of the targets answer.
  size_t Reaches(const std::string& client, const std::string& protocol,
                 const std::vector<std::string>& targets) {
    const auto results = cluster().LoadEach(cluster().PodPid(client), protocol, targets, 1);
    return static_cast<size_t>(std::ranges::count(results, 0, &LoadResult::failures));
  }
  // Everything of a list, in the end; nothing of it, in the end.
  bool ReachesAll(const std::string& client, const std::string& protocol,
                  const std::vector<std::string>& targets) {
    return Eventually([&] { return Reaches(client, protocol, targets) == targets.size(); });
  }
  bool ReachesNone(const std::string& client, const std::string& protocol,
                   const std::vector<std::string>& targets) {
    return Eventually([&] { return Reaches(client, protocol, targets) == 0; });
  }

  std::vector<std::string> services_, directs_;
};

TEST_F(PolicyTest, DeniesByDefaultAndAllowsWhomAPolicyNames) {
  ASSERT_TRUE(ReachesAll("blue-client", "tcp", directs_));
  cluster().Apply(kDenyAll);
  EXPECT_TRUE(ReachesNone("blue-client", "tcp", directs_));
  EXPECT_TRUE(ReachesNone("green-client", "tcp", services_)) << "isolation opens nothing any more";

  cluster().Apply(kAllowGreen);
  EXPECT_TRUE(ReachesAll("green-client", "tcp", directs_));
  EXPECT_TRUE(ReachesAll("green-client", "tcp", services_));
  EXPECT_TRUE(ReachesNone("green-client", "udp", services_)) << "the named port is of TCP";
  EXPECT_TRUE(ReachesNone("green-near", "tcp", services_));
  EXPECT_TRUE(ReachesNone("blue-client", "tcp", services_));

  cluster().MustMeshctl({"delete", "networkpolicy", "--all", "-n", "blue"});
  EXPECT_TRUE(ReachesAll("blue-client", "tcp", directs_));
  EXPECT_TRUE(ReachesNone("green-client", "tcp", directs_));
  EXPECT_TRUE(ReachesAll("green-near", "tcp", services_));
}

TEST_F(PolicyTest, ANewDenyEndsAnEstablishedFlowAndALabelOpensTheWayAgain) {
  const auto flow = cluster().StartLoad(cluster().PodPid("blue-client"), "hold", directs_.front());
  ASSERT_TRUE(ReachesAll("blue-client", "tcp", directs_));
  cluster().Apply(kDenyAll);
  ASSERT_TRUE(ReachesNone("blue-client", "tcp", directs_));
  EXPECT_GT(flow->Stop().failures, 0) << "the connection was held on to";

  std::string allow = kAllowGreen;
  allow.replace(allow.find("app: green-client"), std::string("app: green-client").size(),
                "role: shopper");
  cluster().Apply(allow);
  const std::string plain = ClientManifest("green-near", "n1", "green");
  std::string shopper = plain;
  shopper.replace(shopper.find("    app: green-near\n"), 0, "    role: shopper\n");
  cluster().Apply(shopper);
  EXPECT_TRUE(ReachesAll("green-near", "tcp", directs_));
  EXPECT_TRUE(ReachesNone("green-client", "tcp", services_));
  cluster().Apply(plain);
  EXPECT_TRUE(ReachesNone("green-near", "tcp", directs_));
}

TEST_F(PolicyTest, HoldsWhileAgentsAndMeshdAreGoneAndComeBack) {
  cluster().Apply(std::string(kDenyAll) + "---\n" + kAllowGreen);
  ASSERT_TRUE(ReachesAll("green-client", "tcp", directs_));
  ASSERT_TRUE(ReachesNone("green-near", "tcp", directs_));

  const auto allowed =
      cluster().StartLoad(cluster().PodPid("green-client"), "tcp", services_.front());
  const auto denied = cluster().StartLoad(cluster().PodPid("green-near"), "tcp", directs_.front());
  for (const auto& [node, service] :
       {std::pair("n1", "agent"), std::pair("n2", "agent"), std::pair("n1", "meshd")}) {
    const pid_t old_pid = cluster().Pid(node, service);
    ASSERT_EQ(::kill(old_pid, SIGKILL), 0);
    ASSERT_TRUE(Eventually([&] {
      const pid_t now = cluster().Pid(node, service);
      return now != 0 && now != old_pid;
    })) << service
        << " on " << node;
  }
  ASSERT_TRUE(Eventually([&] {
    const Json status = cluster().Status();
    return !status.is_discarded() &&
           std::all_of(status["nodes"].begin(), status["nodes"].end(),
                       [](const Json& node) { return node["ready"] == true; });
  }));
  // Everything works: what is told now reaches the maps.
  cluster().MustMeshctl({"delete", "networkpolicy", "allow-green", "-n", "blue"});
  EXPECT_TRUE(ReachesNone("green-client", "tcp", directs_));
  const LoadResult never = denied->Stop();
  EXPECT_EQ(never.requests, never.failures) << never.text;
  EXPECT_GT(allowed->Stop().requests, 0);
}

// Other policies that select the same pods come and go, and so do labels and namespaces that they
// speak about: the set of the pods is another one each time.
TEST_F(PolicyTest, NoRequestIsLostOrLetThroughWhilePoliciesChange) {
  cluster().Apply(std::string(kDenyAll) + "---\n" + kAllowGreen);
  ASSERT_TRUE(ReachesAll("green-client", "tcp", services_));
  ASSERT_TRUE(ReachesNone("green-near", "tcp", directs_));
  ASSERT_TRUE(ReachesNone("blue-client", "tcp", directs_));

  const auto allowed =
      cluster().StartLoad(cluster().PodPid("green-client"), "tcp", services_.front());
  const auto kept = cluster().StartLoad(cluster().PodPid("green-client"), "hold", directs_.front());
  const auto denied = cluster().StartLoad(cluster().PodPid("green-near"), "tcp", directs_.front());
  const auto denied_here =
      cluster().StartLoad(cluster().PodPid("blue-client"), "tcp", services_.front());
  for (int round = 0; round < 12; ++round) {
    const std::string ns = fmt::format("passing-{}", round);
    cluster().Apply(fmt::format(R"(apiVersion: v1
kind: Namespace
metadata:
  name: {0}
  labels:
    passing: "{1}"
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: passing
  namespace: blue
spec:
  podSelector: {{}}
  ingress:
  - from:
    - namespaceSelector:
        matchLabels:
          passing: "{1}"
    - podSelector:
        matchLabels:
          app: nobody-{1}
    ports:
    - port: {2}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: passing
  namespace: {0}
spec:
  podSelector: {{}}
)",
                                ns, round, 7000 + round));
    if (round % 3 == 0) cluster().MustMeshctl({"delete", "networkpolicy", "passing", "-n", "blue"});
    if (round % 3 == 1) cluster().MustMeshctl({"delete", "namespace", ns});
  }
  const LoadResult lost = allowed->Stop(), held = kept->Stop();
  EXPECT_GT(lost.requests, 100);
  EXPECT_EQ(lost.failures, 0) << lost.text;
  EXPECT_GT(held.requests, 0);
  EXPECT_EQ(held.failures, 0) << held.text;
  for (const auto& load : {denied.get(), denied_here.get()}) {
    const LoadResult never = load->Stop();
    EXPECT_GT(never.requests, 0);
    EXPECT_EQ(never.requests, never.failures) << never.text;
  }
}

TEST_F(PolicyTest, EgressIsJudgedWhereThePodIs) {
  cluster().Apply(R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: only-echo
  namespace: blue
spec:
  podSelector:
    matchLabels:
      app: blue-client
  policyTypes: [Egress]
  egress:
  - to:
    - podSelector:
        matchLabels:
          app: echo
    ports:
    - port: 8999
      endPort: 9001
)");
  const auto outside = cluster().ServeOutside(8080, "outside");
  const std::string world = HostPort(cluster().layout().OutsideAddress(), 8080);
  EXPECT_TRUE(ReachesAll("green-client", "tcp", {world}));
  EXPECT_TRUE(ReachesNone("blue-client", "tcp", {world}));
  EXPECT_TRUE(ReachesNone("blue-client", "udp", services_));
  EXPECT_TRUE(ReachesAll("blue-client", "tcp", services_));
  EXPECT_TRUE(ReachesAll("blue-client", "tcp", directs_));

  cluster().Apply(fmt::format(R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: outside
  namespace: blue
spec:
  podSelector: {{}}
  policyTypes: [Egress]
  egress:
  - to:
    - ipBlock:
        cidr: {}/32
)",
                              cluster().layout().OutsideAddress()));
  EXPECT_TRUE(ReachesAll("blue-client", "tcp", {world}));
  EXPECT_TRUE(ReachesAll("blue-client", "tcp", services_));
}

// Every one of many pods is judged by its own labels with its first packet.
TEST_F(PolicyTest, NewPodsAreJudgedRightFromTheirFirstPacket) {
  cluster().Apply(std::string(kDenyAll) + "---\n" + kAllowGreen);
  ASSERT_TRUE(ReachesAll("green-client", "tcp", directs_));
  // They dial as soon as they run, once, and say how it went by their exit.
  std::string jobs;
  for (int i = 0; i < 12; ++i) {
    jobs += fmt::format(R"(---
apiVersion: v1
kind: Pod
metadata:
  name: first-{0}
  namespace: green
  labels:
    app: {1}
    number: "{0}"
spec:
  nodeName: n{2}
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - name: dial
    image: localhost/mesh-load:v1
    args: ["tcp", "{3}", "1"]
)",
                        i, i % 2 == 0 ? "green-client" : "stranger", 1 + i % 3,
                        directs_[static_cast<size_t>(i) % directs_.size()]);
  }
  cluster().Apply(jobs);
  for (int i = 0; i < 12; ++i) {
    std::string log;
    ASSERT_TRUE(Eventually([&] {
      const auto output = cluster().Meshctl({"logs", fmt::format("first-{}", i), "-n", "green"});
      log = output.text;
      return log.find("failures") != std::string::npos;
    })) << log;
    const Json result = Json::parse(log.substr(log.find('{')), nullptr, false);
    ASSERT_FALSE(result.is_discarded()) << log;
    EXPECT_EQ(result["failures"], i % 2 == 0 ? 0 : 1) << "first-" << i << ": " << log;
  }
}

}  // namespace
}  // namespace mesh::testing
