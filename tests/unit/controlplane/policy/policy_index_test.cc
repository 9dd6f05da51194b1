// SPDX-License-Identifier: Apache-2.0
// Policies, namespaces and pods that come and go: what reaches the maps of a node, by increments,
// against the objects read word by word.
#include "controlplane/policy/policy_index.h"

#include <algorithm>

#include "api/schema/defaults.h"
#include "common/random.h"
#include "fmt/format.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/support/policy/policy_model.h"
#include "tests/unit/controlplane/policy/policy_node.h"

namespace mesh::controlplane {
namespace {

using mesh::testing::PolicyModel;

constexpr uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;

v1::NetworkPolicy Policy(const std::string& ns, const std::string& name, const std::string& spec) {
  v1::Resource resource;
  const bool parsed = google::protobuf::TextFormat::ParseFromString(
      fmt::format(R"(network_policy {{ metadata {{ namespace: "{}" name: "{}" }} spec {{ {} }} }})",
                  ns, name, spec),
      &resource);
  EXPECT_TRUE(parsed) << spec;
  schema::ApplyDefaults(&resource);
  return resource.network_policy();
}

// Pods get identities as meshd would give them: equal traits, one number.
class World {
 public:
  explicit World(uint32_t seed) : random_(seed) {
    for (const char* name : {"a", "b", "c"}) PutNamespace(name);
  }

  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_.Below(n)); }
  bool Chance(uint32_t percent) { return Below(100) < percent; }
  template <typename T>
  T One(std::initializer_list<T> of) {
    return *(of.begin() + Below(static_cast<uint32_t>(of.size())));
  }

  std::string Selector() {
    std::string out;
    for (uint32_t i = Below(2); i > 0; --i) {
      out += fmt::format("match_labels {{ key: \"{}\" value: \"{}\" }} ", One({"app", "tier"}),
                         One({"x", "y", "z"}));
    }
    if (Chance(30)) {
      const char* op = One({"In", "NotIn", "Exists", "DoesNotExist"});
      out += fmt::format("match_expressions {{ key: \"{}\" operator: \"{}\" ", One({"app", "tier"}),
                         op);
      if (std::string(op).ends_with("In")) out += "values: \"x\" values: \"y\" ";
      out += "} ";
    }
    return out;
  }
  std::string Peer() {
    if (Chance(35)) {
      const char* cidr = One({"10.244.0.0/16", "10.244.1.0/24", "10.0.0.0/8", "0.0.0.0/0",
                              "192.0.2.0/24", "fd00::/16", "fd00:0:0:1::/64", "::/0"});
      std::string out = fmt::format("ip_block {{ cidr: \"{}\" ", cidr);
      if (Chance(50)) {
        for (const char* hole : {"10.244.1.2/32", "10.244.1.0/24", "192.0.2.128/25",
                                 "fd00:0:0:1::2/128", "2001:db8::/32"}) {
          const auto range = *IpPrefix::Parse(cidr), inner = *IpPrefix::Parse(hole);
          if (range.Contains(inner.base()) && inner.length() > range.length() && Chance(50)) {
            out += fmt::format("except: \"{}\" ", hole);
          }
        }
      }
      return out + "} ";
    }
    std::string out;
    const uint32_t kind = Below(3);
    if (kind != 1) out += "pod_selector { " + Selector() + "} ";
    if (kind != 0) out += "namespace_selector { " + Selector() + "} ";
    return out;
  }
  std::string Port() {
    std::string out;
    const char* protocol = One({"", "TCP", "UDP", "SCTP"});
    if (*protocol != '\0') out += fmt::format("protocol: \"{}\" ", protocol);
    switch (Below(4)) {
      case 0:
        break;
      case 1:
        out += fmt::format("port {{ string_value: \"{}\" }} ", One({"web", "dns", "none"}));
        break;
      case 2:
        out += fmt::format("port {{ int_value: {} }} ", One({80, 81, 8080, 53}));
        break;
      default:
        out += fmt::format("port {{ int_value: {} }} end_port: {} ", One({1, 53, 80}),
                           One({80, 8079, 65535}));
    }
    return out;
  }
  std::string Spec() {
    std::string out = "pod_selector { " + Selector() + "} ";
    for (const char* direction : {"ingress", "egress"}) {
      for (uint32_t i = Below(3); i > 0; --i) {
        out += fmt::format("{} {{ ", direction);
        for (uint32_t j = Below(3); j > 0; --j) out += "ports { " + Port() + "} ";
        for (uint32_t j = Below(3); j > 0; --j) {
          out += fmt::format("{} {{ {}}} ", *direction == 'i' ? "from" : "to", Peer());
        }
        out += "} ";
      }
    }
    switch (Below(4)) {
      case 0:
        out += "policy_types: \"Egress\" ";
        break;
      case 1:
        out += "policy_types: \"Ingress\" policy_types: \"Egress\" ";
        break;
      default:
        break;
    }
    return out;
  }

  void PutNamespace(const std::string& name) {
    schema::LabelMap labels;
    auto& model = model_.namespaces[name];
    model.clear();
    for (const char* key : {"app", "tier"}) {
      if (Chance(50)) labels[key] = model[key] = One({"x", "y", "z"});
    }
    index_.PutNamespace(name, labels);
  }
  void PutPolicy() {
    const v1::NetworkPolicy policy =
        Policy(One({"a", "b", "c"}), One({"p", "q", "r", "s"}), Spec());
    std::erase_if(model_.policies, [&](const auto& old) {
      return old.metadata().name() == policy.metadata().name() &&
             old.metadata().namespace_() == policy.metadata().namespace_();
    });
    model_.policies.push_back(policy);
    index_.PutPolicy(policy);
  }
  void RemovePolicy() {
    if (model_.policies.empty()) return;
    const auto it = model_.policies.begin() + Below(static_cast<uint32_t>(model_.policies.size()));
    index_.RemovePolicy({it->metadata().namespace_(), it->metadata().name()});
    model_.policies.erase(it);
  }
  void PutPod() {
    Pod pod;
    pod.model.ns = One({"a", "b", "c"});
    for (const char* key : {"app", "tier"}) {
      if (Chance(60)) pod.model.labels[key] = One({"x", "y", "z"});
    }
    if (Chance(60)) pod.model.ports.push_back({"web", kTcp, One<uint16_t>({80, 8080})});
    if (Chance(30)) pod.model.ports.push_back({"dns", kUdp, 53});
    const uint32_t number = 1 + Below(6), node = 1 + Below(2);
    pod.ip = *IpAddress::Parse(fmt::format("10.244.{}.{}", node, number));
    pod.ip6 = *IpAddress::Parse(fmt::format("fd00:0:0:{}::{}", node, number));
    std::erase_if(pods_, [&](const Pod& old) { return old.ip == pod.ip; });
    pods_.push_back(pod);
  }
  void RemovePod() {
    if (!pods_.empty()) pods_.erase(pods_.begin() + Below(static_cast<uint32_t>(pods_.size())));
  }

  // Gives all pods the identities of their traits.
  void Identify() {
    std::map<PodTraits, uint32_t> next;
    const std::set<Block> blocks = index_.PodBlocks();
    for (Pod& pod : pods_) {
      const PodTraits traits = TraitsOf(PodObject(pod), blocks);
      const auto known = identities_.find(traits);
      const auto [it, is_new] =
          next.try_emplace(traits, known == identities_.end() ? next_identity_ : known->second);
      if (it->second == next_identity_) ++next_identity_;
      pod.identity = it->second;
    }
    for (const auto& [traits, number] : identities_) {
      if (!next.contains(traits)) index_.RemoveIdentity(number);
    }
    for (const auto& [traits, number] : next) {
      if (!identities_.contains(traits)) index_.AddIdentity(number, traits);
    }
    identities_ = std::move(next);
  }

  void Step() {
    for (uint32_t i = 1 + Below(4); i > 0; --i) {
      switch (Below(8)) {
        case 0:
          PutNamespace(One({"a", "b", "c"}));
          break;
        case 1:
        case 2:
          PutPolicy();
          break;
        case 3:
          RemovePolicy();
          break;
        case 4:
          RemovePod();
          break;
        default:
          PutPod();
      }
    }
    Identify();
  }

  void Compare(const PolicyNode& node) {
    static const char* const kOutside[] = {"192.0.2.1",   "192.0.2.200", "10.9.9.9",    "8.8.8.8",
                                           "2001:db8::1", "2001:db9::1", "10.244.1.200"};
    for (int i = 0; i < 100 && !pods_.empty(); ++i) {
      const Pod& judged = pods_[Below(static_cast<uint32_t>(pods_.size()))];
      const Pod& other = pods_[Below(static_cast<uint32_t>(pods_.size()))];
      const bool is_pod = Chance(65);
      const bool v4 = Chance(50);
      IpAddress address = is_pod ? v4 ? other.ip : other.ip6
                                 : *IpAddress::Parse(kOutside[Below(std::size(kOutside))]);
      const PolicyModel::End peer{is_pod ? &other.model : nullptr, address};
      const PolicyModel::End self{&judged.model, address.is_v4() ? judged.ip : judged.ip6};
      const uint8_t protocol = One({kTcp, kTcp, kUdp, kIcmp});
      const uint16_t port = protocol == kIcmp ? 0 : One<uint16_t>({80, 81, 53, 8080, 9000});
      const std::string what =
          fmt::format("{} {} and {} {}, {}/{}", judged.model.ns, self.address.ToString(),
                      is_pod ? other.model.ns : "outside", address.ToString(), port, protocol);
      const uint32_t identity = is_pod ? other.identity : 0;
      ASSERT_EQ(
          node.Allows(Direction::kIngress, judged.identity, identity, address, protocol, port),
          model_.AllowsIngress(peer, self, protocol, port))
          << "ingress " << what << Dump();
      ASSERT_EQ(node.Allows(Direction::kEgress, judged.identity, identity, address, protocol, port),
                model_.AllowsEgress(self, peer, protocol, port))
          << "egress " << what << Dump();
    }
  }

  std::string Dump() const {
    std::string out;
    for (const auto& policy : model_.policies) out += "\n" + policy.ShortDebugString();
    return out;
  }

  PolicyIndex& index() { return index_; }
  void Clear() {
    pods_.clear();
    Identify();
  }

 private:
  Random random_;
  PolicyIndex index_{{*IpPrefix::Parse("10.244.0.0/16"), *IpPrefix::Parse("fd00::/16")}};
  PolicyModel model_;
  std::vector<Pod> pods_;
  std::map<PodTraits, uint32_t> identities_;
  uint32_t next_identity_ = 300;
};

class PolicyIndexTest : public ::testing::TestWithParam<uint32_t> {};

TEST_P(PolicyIndexTest, MapsDecideAsTheObjectsSay) {
  World world(GetParam());
  PolicyNode node;
  for (int step = 0; step < 30; ++step) {
    world.Step();
    if (world.Chance(30)) continue;  // two steps in one increment
    node.Take(world.index().Take());
    if (HasFatalFailure()) return;
    world.Compare(node);
    if (HasFatalFailure()) return;
  }
  // A node that hears everything at once stands where the increments lead.
  world.Clear();
  node.Take(world.index().Take());
  EXPECT_TRUE(node.maps().empty());
}

INSTANTIATE_TEST_SUITE_P(, PolicyIndexTest, ::testing::Range(1u, 41u));

PodTraits Traits(const std::string& ns, const std::string& app) {
  return {.ns = ns, .labels = {{"app", app}}};
}

TEST(PolicyIndex, NothingIsSaidOfPodsThatNoPolicySelects) {
  PolicyIndex index({});
  index.AddIdentity(300, Traits("shop", "web"));
  index.PutPolicy(Policy("pay", "deny", ""));
  EXPECT_TRUE(index.Take().empty());
  EXPECT_EQ(index.PolicyOf(300).ingress(), 0u);
}

TEST(PolicyIndex, PodsThatTheSamePoliciesSelectShareASet) {
  PolicyIndex index({});
  index.AddIdentity(300, Traits("shop", "web"));
  index.AddIdentity(301, Traits("shop", "db"));
  index.PutPolicy(Policy("shop", "deny", ""));
  const PolicyDelta delta = index.Take();
  ASSERT_EQ(delta.sets.size(), 1u);
  EXPECT_EQ(delta.sets[0].policies(0), "shop/deny");
  EXPECT_EQ(delta.sets[0].rules_size(), 0);
  EXPECT_EQ(delta.identities.size(), 2u);
  EXPECT_EQ(index.PolicyOf(300).ingress(), index.PolicyOf(301).ingress());
  EXPECT_EQ(index.PolicyOf(300).egress(), 0u);
}

TEST(PolicyIndex, APolicyThatIsAppliedAgainUnchangedInEffectTakesANewSet) {
  PolicyIndex index({});
  index.AddIdentity(300, Traits("shop", "web"));
  index.PutPolicy(Policy("shop", "p", "ingress { }"));
  const uint32_t first = index.Take().sets.at(0).number();
  index.PutPolicy(Policy("shop", "p", "ingress { ports { port { int_value: 80 } } }"));
  const PolicyDelta delta = index.Take();
  ASSERT_EQ(delta.sets.size(), 1u);
  EXPECT_EQ(delta.removed_sets, std::vector<uint32_t>{first});
  EXPECT_EQ(delta.identities.at(0).ingress(), delta.sets[0].number());
}

// One pod of a kind that is new, among many policies: one member for each selector that selects it.
TEST(PolicyIndex, AnIdentityCostsWhatSelectsIt) {
  PolicyIndex index({});
  for (int i = 0; i < 1000; ++i) {
    const std::string ns = fmt::format("ns{}", i);
    index.PutNamespace(ns, {});
    index.AddIdentity(300 + static_cast<uint32_t>(i), Traits(ns, "web"));
    index.PutPolicy(
        Policy(ns, "p",
               R"(ingress { from { pod_selector { match_labels { key: "app" value: "db" } } } })"));
  }
  index.Take();
  index.AddIdentity(5000, Traits("ns7", "db"));
  const PolicyDelta delta = index.Take();
  EXPECT_EQ(delta.members.size(), 1u);
  EXPECT_TRUE(delta.sets.empty() && delta.removed_sets.empty());
  EXPECT_EQ(delta.identities.size(), 1u);  // its own
}

}  // namespace
}  // namespace mesh::controlplane
