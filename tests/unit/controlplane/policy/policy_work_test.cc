// SPDX-License-Identifier: Apache-2.0
// What a change costs in a large cluster, counted: comparisons of selectors in meshd, rows on a
// node.
#include <gtest/gtest.h>

#include <string>

#include "api/schema/defaults.h"
#include "fmt/format.h"
#include "google/protobuf/text_format.h"
#include "tests/unit/controlplane/policy/policy_node.h"

namespace mesh::controlplane {
namespace {

// `teams` namespaces of 20 apps with 10 pods of different labels each; a policy for each app, about
// another app of its namespace, one of another namespace and a range of addresses.
class Cluster {
 public:
  static constexpr int kApps = 20, kPods = 10;
  static constexpr uint32_t kFirst = 1000;

  explicit Cluster(int teams) : teams_(teams) {
    for (int team = 0; team < teams; ++team) {
      schema::LabelMap labels;
      labels["team"] = Team(team);
      index_.PutNamespace(Team(team), labels);
    }
    for (int app = 0; app < teams * kApps; ++app) {
      for (int pod = 0; pod < kPods; ++pod) {
        index_.AddIdentity(IdentityOf(app, pod), Traits(app, pod, App(app)));
      }
    }
    for (int app = 0; app < teams * kApps; ++app) index_.PutPolicy(Policy(app, 8080));
    Settle();
  }

  static uint32_t IdentityOf(int app, int pod) {
    return kFirst + static_cast<uint32_t>(app * kPods + pod);
  }
  PodTraits Traits(int app, int pod, const std::string& label) const {
    return {.ns = Team(app / kApps),
            .labels = {{"app", label}, {"pod", std::to_string(pod)}, {"kind", "web"}},
            .named_ports = {{{"web", 6}, 8080}},
            .blocks = {}};
  }
  static std::string App(int app) { return fmt::format("app-{}", app); }

  v1::NetworkPolicy Policy(int app, int port) const {
    const int first = app / kApps * kApps;
    v1::Resource out;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
        fmt::format(
            R"(network_policy {{ metadata {{ namespace: "{}" name: "p-{}" }} spec {{
                 pod_selector {{ match_labels {{ key: "app" value: "{}" }} }}
                 ingress {{ ports {{ port {{ int_value: {} }} }}
                   from {{ pod_selector {{ match_labels {{ key: "app" value: "{}" }} }} }} }}
                 ingress {{ ports {{ port {{ string_value: "web" }} }}
                   from {{ namespace_selector {{ match_labels {{ key: "team" value: "{}" }} }}
                           pod_selector {{ match_expressions {{
                             key: "app" operator: "In" values: "{}" values: "none" }} }} }} }}
                 ingress {{ from {{ ip_block {{ cidr: "172.16.{}.0/24" }} }} }} }} }})",
            Team(app / kApps), app, App(app), port, App(first + (app + 1) % kApps),
            Team((app / kApps + 1) % teams_), App((app + kApps) % (teams_ * kApps)), app % 256),
        &out));
    schema::ApplyDefaults(&out);
    return out.network_policy();
  }

  struct Cost {
    uint64_t comparisons = 0;
    size_t told = 0;  // entries of the message to each node
    size_t rows = 0;  // of the maps that are written or removed
  };
  Cost Settle() {
    const PolicyDelta delta = index_.Take();
    Cost out{.comparisons = index_.comparisons() - compared_,
             .told = delta.sets.size() + delta.removed_sets.size() + delta.members.size() +
                     delta.removed_members.size() + delta.identities.size(),
             .rows = node_.Take(delta)};
    compared_ = index_.comparisons();
    return out;
  }

  PolicyIndex& index() { return index_; }
  PolicyNode& node() { return node_; }

 private:
  static std::string Team(int team) { return fmt::format("team-{}", team); }

  const int teams_;
  PolicyIndex index_{{*IpPrefix::Parse("10.244.0.0/16")}};
  PolicyNode node_;
  uint64_t compared_ = 0;
};

constexpr int kTeams = 50;  // 1,000 policies, 10,000 pods

TEST(PolicyWork, ALabelChangeCostsWhatItAffects) {
  Cluster cluster(kTeams);
  ASSERT_GT(cluster.node().maps().peer_rows(), 10'000u);
  const IpAddress somewhere = *IpAddress::Parse("10.244.7.7");
  const auto asks = [&](int judged, uint32_t peer) {
    return cluster.node().Allows(Direction::kIngress, Cluster::IdentityOf(judged, 3), peer,
                                 somewhere, 6, 8080);
  };
  // A pod of app-101 becomes one of app-105: another identity, then the old one goes.
  const uint32_t before = Cluster::IdentityOf(101, 0), after = 50'000;
  ASSERT_EQ(asks(100, before), true);
  ASSERT_EQ(asks(104, before), false);
  cluster.index().AddIdentity(after, cluster.Traits(101, 0, Cluster::App(105)));
  const Cluster::Cost came = cluster.Settle();
  EXPECT_EQ(asks(104, after), true);
  EXPECT_EQ(asks(100, after), false);
  // Who may be concerned: the policy of its app, for each direction, and the two that speak of the
  // app as a peer.
  EXPECT_LE(came.comparisons, 8u);
  EXPECT_LE(came.told, 4u);
  EXPECT_GE(came.rows, 1u);
  EXPECT_LE(came.rows, 4u);

  cluster.index().RemoveIdentity(before);
  const Cluster::Cost went = cluster.Settle();
  EXPECT_LE(went.comparisons, 8u);
  EXPECT_GE(went.rows, 1u);
  EXPECT_LE(went.rows, 4u);
}

TEST(PolicyWork, APolicyCostsThePodsItSelectsAndThoseItSpeaksAbout) {
  Cluster cluster(kTeams);
  cluster.index().PutPolicy(cluster.Policy(101, 9090));
  const Cluster::Cost cost = cluster.Settle();
  EXPECT_LE(cost.comparisons, 20u * Cluster::kPods);
  // The rows of two sets (IPv4, IPv6) under other numbers, and those of the old ones: 10 peers for
  // each of two rules, a range, ports.
  EXPECT_GE(cost.rows, 4u * 20);
  EXPECT_LE(cost.rows, 4u * 25);
}

TEST(PolicyWork, ANamespacesLabelCostsItsOwnPods) {
  Cluster cluster(kTeams);
  schema::LabelMap labels;
  labels["team"] = "nobody";
  cluster.index().PutNamespace("team-7", labels);
  const Cluster::Cost cost = cluster.Settle();
  // The policies of one other namespace spoke of its 200 pods.
  EXPECT_LE(cost.comparisons, 2u * Cluster::kApps * Cluster::kPods);
  EXPECT_EQ(cost.told, 1u * Cluster::kApps * Cluster::kPods);
}

}  // namespace
}  // namespace mesh::controlplane
