// SPDX-License-Identifier: Apache-2.0
// The well-known recipes of NetworkPolicies (tests/cluster/recipes), each applied as it is to one
// cluster of pods that they speak about: what it says of them is what they meet, in both families.
//
// A recipe is a manifest. Its comments "# - FROM TO [PORT]" and "# + FROM TO [PORT]" are what it
// forbids and allows beside what holds without it: pods reach their own namespace, everybody
// reaches the Service, and pods reach names and the outside. The last line that fits counts. FROM
// and TO are lists of ns/pod, ns/*, *; further "outside" (a host beside the nodes), "service/web"
// and "dns".
#include <gtest/gtest.h>
#include <netinet/in.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_split.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"
#include "tests/support/cluster/reach_matrix.h"

namespace mesh::testing {
namespace {

constexpr int kPorts[] = {80, 5000};
constexpr int kOutsidePort = 8080, kNodePort = 30080;

struct RecipePod {
  const char *name, *labels, *node;
};
constexpr RecipePod kPods[] = {
    {"default/web", "app: web", "n1"},
    {"default/api", "app: bookstore, role: api", "n2"},
    {"default/front", "app: bookstore, role: frontend", "n3"},
    {"default/db", "app: bookstore, role: db", "n3"},
    {"default/inventory", "app: inventory, role: web", "n1"},
    {"default/apiserver", "app: apiserver", "n1"},
    {"default/monitor", "role: monitoring", "n2"},
    {"default/foo", "app: foo", "n2"},
    {"default/plain", "run: plain", "n3"},
    {"secondary/web", "app: web", "n2"},
    {"secondary/plain", "run: plain", "n3"},
    {"prod/plain", "run: plain", "n1"},
    {"dev/plain", "run: plain", "n2"},
    {"other/plain", "run: plain", "n3"},
    {"other/monitoring", "type: monitoring", "n1"},
};

constexpr char kAround[] = R"(apiVersion: v1
kind: Namespace
metadata: {name: secondary}
---
apiVersion: v1
kind: Namespace
metadata: {name: prod, labels: {purpose: production}}
---
apiVersion: v1
kind: Namespace
metadata: {name: dev, labels: {purpose: testing}}
---
apiVersion: v1
kind: Namespace
metadata: {name: other, labels: {team: operations}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports:
  - {port: 80, nodePort: 30080}
)";

std::string NamespaceOf(const std::string& name) { return name.substr(0, name.find('/')); }

bool Fits(const std::string& patterns, const std::string& name) {
  for (const std::string& pattern : std::vector<std::string>(absl::StrSplit(patterns, ','))) {
    if (pattern == "*" || pattern == name) return true;
    if (pattern.ends_with("/*") && NamespaceOf(pattern) == NamespaceOf(name)) return true;
  }
  return false;
}

struct Recipe {
  std::string name, manifest;
  std::vector<std::string> expected;  // "- FROM TO [PORT]"

  bool Allows(const ReachMatrix::Flow& flow) const {
    const std::string& from = flow.probe.from;
    if (from == flow.to || (from == "default/web" && flow.to == "service/web")) return true;
    const bool is_pod = flow.to != "outside" && flow.to != "dns" && flow.to != "service/web";
    bool allowed = !is_pod || NamespaceOf(from) == NamespaceOf(flow.to);
    for (const std::string& line : expected) {
      std::istringstream in(line);
      std::string verdict, senders, receivers, port;
      in >> verdict >> senders >> receivers >> port;
      if (Fits(senders, from) && Fits(receivers, flow.to) &&
          (port.empty() || port == std::to_string(flow.probe.port)))
        allowed = verdict == "+";
    }
    return allowed;
  }
};

std::vector<Recipe> Recipes() {
  std::vector<Recipe> out;
  for (const auto& file :
       std::filesystem::directory_iterator(MESH_SOURCE_DIR "/tests/cluster/recipes")) {
    Recipe& recipe = out.emplace_back();
    recipe.name = file.path().stem();
    std::ifstream in(file.path());
    for (std::string line; std::getline(in, line); recipe.manifest += line + "\n") {
      if (line.starts_with("# - ") || line.starts_with("# + "))
        recipe.expected.push_back(line.substr(2));
    }
  }
  std::ranges::sort(out, {}, &Recipe::name);
  return out;
}

// A question for "web.default.svc.cluster.local", A.
std::string NameQuestion() {
  std::string out("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", 12);
  for (const char* label : {"web", "default", "svc", "cluster", "local"})
    out += static_cast<char>(std::string(label).size()) + std::string(label);
  return out + std::string("\x00\x00\x01\x00\x01", 5);
}

class PolicyRecipesTest : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    if (HasFatalFailure()) return;
    std::string manifest = kAround;
    for (const RecipePod& pod : kPods) manifest += PodManifest(pod);
    cluster().Apply(manifest);
    for (const char* ns : {"default", "secondary", "prod", "dev", "other"}) {
      const auto count = std::ranges::count_if(
          kPods, [&](const RecipePod& pod) { return NamespaceOf(pod.name) == ns; });
      ASSERT_TRUE(cluster().WaitForPods("recipe", static_cast<size_t>(count), ns));
    }
    AddPlaces();
    for (const RecipePod& from : kPods) AddFlowsOf(from.name);
    // By the node of the backend: the address of the client is seen there.
    for (const std::string& node :
         {cli::local::Layout::NodeAddress(0), cli::local::Layout::NodeAddress6(0)})
      matrix_.Add({"outside", node, IPPROTO_TCP, kNodePort}, "service/web");
  }

  static std::string PodManifest(const RecipePod& pod) {
    return fmt::format(R"(---
apiVersion: v1
kind: Pod
metadata:
  name: {1}
  namespace: {0}
  labels: {{{2}, recipe: ""}}
spec:
  nodeName: {3}
  terminationGracePeriodSeconds: 0
  containers:
  - name: idle
    image: localhost/mesh-load:v1
    args: ["idle", "recipe-{0}/{1}"]
)",
                       NamespaceOf(pod.name),
                       std::string(pod.name).substr(NamespaceOf(pod.name).size() + 1), pod.labels,
                       pod.node);
  }

  void AddPlaces() {
    Prober& prober = matrix_.prober();
    prober.AddPlace("outside", "/run/netns/" + cluster().layout().FabricNetns());
    prober.Serve("outside", IPPROTO_TCP, kOutsidePort);
    for (const RecipePod& pod : kPods) {
      const pid_t pid = cluster().PodPid(fmt::format("recipe-{}", pod.name));
      ASSERT_NE(pid, 0) << pod.name;
      prober.AddPlace(pod.name, fmt::format("/proc/{}/ns/net", pid));
      for (const int port : kPorts) prober.Serve(pod.name, IPPROTO_TCP, port);
      std::ifstream resolv(fmt::format("/proc/{}/root/etc/resolv.conf", pid));
      for (std::string word; resolv >> word;) {
        if (word == "nameserver") resolv >> name_servers_[pod.name];
      }
      ASSERT_FALSE(name_servers_[pod.name].empty()) << pod.name;
      for (const Json& row : cluster().ReadyPods("recipe", NamespaceOf(pod.name))) {
        if (NamespaceOf(pod.name) + "/" + row["metadata"]["name"].get<std::string>() != pod.name)
          continue;
        for (const int family : kFamilies) addresses_[pod.name].push_back(PodIp(row, family));
      }
      ASSERT_EQ(addresses_[pod.name].size(), std::size(kFamilies)) << pod.name;
    }
  }

  void AddFlowsOf(const std::string& from) {
    for (const RecipePod& to : kPods) {
      for (const std::string& address : addresses_[to.name]) {
        for (const int port : kPorts) matrix_.Add({from, address, IPPROTO_TCP, port}, to.name);
      }
    }
    for (const int family : kFamilies)
      matrix_.Add({from, cluster().ClusterIp("web", "default", family), IPPROTO_TCP, 80},
                  "service/web");
    for (const std::string& address :
         {cli::local::Layout::OutsideAddress(), cli::local::Layout::OutsideAddress6()})
      matrix_.Add({from, address, IPPROTO_TCP, kOutsidePort}, "outside");
    matrix_.Add({.from = from,
                 .address = name_servers_[from],
                 .protocol = IPPROTO_UDP,
                 .port = 53,
                 .datagram = NameQuestion()},
                "dns");
  }

  ReachMatrix matrix_;
  std::map<std::string, std::vector<std::string>> addresses_;  // both families
  std::map<std::string, std::string> name_servers_;
};

TEST_F(PolicyRecipesTest, EachDoesWhatItSays) {
  const std::vector<Recipe> recipes = Recipes();
  ASSERT_FALSE(recipes.empty());
  {
    SCOPED_TRACE("without any");
    matrix_.Expect([&](const ReachMatrix::Flow& flow) { return Recipe().Allows(flow); });
  }
  for (const Recipe& recipe : recipes) {
    SCOPED_TRACE(recipe.name);
    ASSERT_FALSE(recipe.expected.empty());
    cluster().Apply(recipe.manifest);
    matrix_.Expect([&](const ReachMatrix::Flow& flow) { return recipe.Allows(flow); });
    ASSERT_FALSE(HasFailure()) << "the others are not tried";
    cluster().MustMeshctl({"delete", "-f", "-"}, recipe.manifest);
  }
}

}  // namespace
}  // namespace mesh::testing
