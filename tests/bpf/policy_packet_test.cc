// SPDX-License-Identifier: Apache-2.0
// Goal: NetworkPolicies are enforced as Kubernetes means them, from the objects to the packet.
// Method: policies go through everything that meshd and the agent do with them into the maps;
// packets go through the real programs by BPF_PROG_TEST_RUN. The last test compares random ones
// with the objects read word by word (tests/support/policy/policy_model.h).
#include <gtest/gtest.h>

#include <cstdlib>

#include "common/random.h"
#include "fmt/format.h"
#include "tests/bpf/policy_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::kAck;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Tcp;
using mesh::testing::Udp;

constexpr uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;

std::string Cidr(const std::string& of_ipv4) { return Own(Range(of_ipv4)).ToString(); }

using PolicyPackets = PolicyWorld;

TEST_F(PolicyPackets, WithoutPoliciesTheNamespacesAreIsolated) {
  EXPECT_EQ(Try("client", "near", kTcp, 8080), "forwarded");
  EXPECT_EQ(Try("clerk", "near", kTcp, 8080), "isolation");
  EXPECT_EQ(Try("far", "near", kTcp, 8080), "forwarded");
  EXPECT_EQ(Try("teller", "near", kTcp, 8080), "isolation");
  EXPECT_EQ(TryFromOutside("near", kTcp, 8080), "isolation");
  EXPECT_EQ(Try("client", "teller", kTcp, 80), "forwarded") << "the other node judges";
}

TEST_F(PolicyPackets, AnEmptySelectorWithoutRulesIsDefaultDeny) {
  PutPolicy("shop", "deny", R"(pod_selector {} policy_types: "Ingress")");
  Settle();

  EXPECT_EQ(Try("client", "near", kTcp, 8080), "policy_ingress");
  EXPECT_EQ(Try("far", "near", kUdp, 53), "policy_ingress");
  EXPECT_EQ(Try("client", "near", kIcmp, 0), "policy_ingress");
  EXPECT_EQ(Try("clerk", "client", kTcp, 80), "policy_ingress");
  EXPECT_EQ(Try("client", "clerk", kTcp, 80), "isolation") << "bank has no policy";
  EXPECT_EQ(Try("client", "teller", kTcp, 80), "forwarded");
  RemovePolicy("shop", "deny");
  Settle();
  EXPECT_EQ(Try("client", "near", kTcp, 8080), "forwarded");
}

TEST_F(PolicyPackets, AllowsByLabelAndByNamespace) {
  PutPolicy("shop", "p", R"(
    pod_selector { match_labels { key: "app" value: "near" } }
    ingress { from { pod_selector { match_labels { key: "app" value: "far" } } }
              from { namespace_selector { match_labels { key: "team" value: "bank" } }
                     pod_selector { match_expressions { key: "app" operator: "NotIn"
                                                        values: "clerk" } } } })");
  Settle();

  EXPECT_EQ(Try("far", "near", kTcp, 8080), "forwarded");
  EXPECT_EQ(Try("client", "near", kTcp, 8080), "policy_ingress");
  EXPECT_EQ(Try("teller", "near", kTcp, 8080), "forwarded") << "isolation holds no more";
  EXPECT_EQ(Try("clerk", "near", kTcp, 8080), "policy_ingress");
  Label("clerk", {{"app", "auditor"}});
  Settle();
  EXPECT_EQ(Try("clerk", "near", kTcp, 8080), "forwarded");
  LabelNamespace("bank", {});
  Settle();
  EXPECT_EQ(Try("clerk", "near", kTcp, 8080), "policy_ingress");
}

TEST_F(PolicyPackets, SpeaksOfPortsByNumberRangeAndName) {
  PutPolicy("shop", "p", R"(
    pod_selector { match_labels { key: "app" value: "near" } }
    ingress { ports { protocol: "TCP" port { string_value: "web" } }
              ports { protocol: "UDP" port { int_value: 100 } end_port: 1000 } })");
  Settle();

  EXPECT_EQ(Try("client", "near", kTcp, 8080), "forwarded");
  EXPECT_EQ(Try("client", "near", kTcp, 8081), "policy_ingress");
  EXPECT_EQ(Try("client", "near", kUdp, 8080), "policy_ingress");
  for (const uint16_t port : {100, 101, 511, 512, 1000}) {
    EXPECT_EQ(Try("client", "near", kUdp, port), "forwarded") << port;
  }
  for (const uint16_t port : {99, 1001, 0xff00}) {
    EXPECT_EQ(Try("client", "near", kUdp, port), "policy_ingress") << port;
  }
  EXPECT_EQ(Try("client", "near", kIcmp, 0), "policy_ingress");
}

TEST_F(PolicyPackets, NamedPortsOfEgressAreTheReceivers) {
  PutPolicy("shop", "p", R"(
    pod_selector { match_labels { key: "app" value: "client" } } policy_types: "Egress"
    egress { to { pod_selector {} } ports { port { string_value: "web" } } })");
  Settle();

  EXPECT_EQ(Try("client", "near", kTcp, 8080), "forwarded");
  EXPECT_EQ(Try("client", "near", kTcp, 9090), "policy_egress");
  EXPECT_EQ(Try("client", "far", kTcp, 9090), "forwarded");
  EXPECT_EQ(Try("client", "far", kTcp, 8080), "policy_egress");
}

TEST_F(PolicyPackets, RangesWithExceptionsJudgeAddressesAndPods) {
  PutPolicy("shop", "p",
            fmt::format(R"(
    pod_selector {{ match_labels {{ key: "app" value: "client" }} }} policy_types: "Egress"
    egress {{ to {{ ip_block {{ cidr: "{}" except: "{}" }} }}
              to {{ ip_block {{ cidr: "{}" }} }} }})",
                        Cidr("198.51.100.0/24"), Cidr("198.51.100.128/25"), Cidr("10.244.2.8/30")));
  Settle();

  EXPECT_EQ(TryAddress("client", "198.51.100.7", kTcp, 80), "forwarded");
  EXPECT_EQ(TryAddress("client", "198.51.100.200", kTcp, 80), "policy_egress");
  EXPECT_EQ(TryAddress("client", "198.51.101.7", kTcp, 80), "policy_egress");
  EXPECT_EQ(TryAddress("client", "203.0.113.1", kTcp, 80), "policy_egress") << "by another way";
  EXPECT_EQ(Try("client", "far", kTcp, 80), "forwarded") << "10.244.2.10";
  EXPECT_EQ(Try("client", "teller", kTcp, 80), "policy_egress") << "10.244.2.12";
}

TEST_F(PolicyPackets, RangesOfIngressJudgeWhoIsNoPodByItsAddress) {
  PutPolicy("shop", "p",
            fmt::format(R"(pod_selector {{}} ingress {{ from {{ ip_block {{ cidr: "{}" }} }} }})",
                        Cidr("10.244.2.1/32")));
  Settle();

  EXPECT_EQ(TryFromOutside("near", kTcp, 80), "forwarded");
  EXPECT_EQ(Try("far", "near", kTcp, 80), "policy_ingress");
}

TEST_F(PolicyPackets, TheNodesOwnResolverIsTheClustersAndTheNodeMayAlways) {
  PutPolicy("shop", "p", R"(pod_selector {} policy_types: "Egress" policy_types: "Ingress")");
  Settle();

  EXPECT_EQ(TryAddress("client", "10.244.1.1", kUdp, 53), "policy_egress");
  EXPECT_EQ(TryAddress("client", "10.244.1.1", kTcp, 53), "policy_egress");
  EXPECT_EQ(TryAddress("client", "10.244.1.1", kTcp, 10250), "forwarded") << "its own node";
  EXPECT_EQ(FromNode(First("10.244.1.1", "10.244.1.11", kTcp, 8080)).reason, "forwarded");
  PutPolicy("shop", "dns", R"(pod_selector {} policy_types: "Egress"
    egress { to { namespace_selector { match_labels { key: "kubernetes.io/metadata.name"
                                                      value: "kube-system" } }
                  pod_selector { match_labels { key: "k8s-app" value: "kube-dns" } } }
             ports { protocol: "UDP" port { int_value: 53 } } })");
  Settle();
  EXPECT_EQ(TryAddress("client", "10.244.1.1", kUdp, 53), "forwarded");
  EXPECT_EQ(TryAddress("client", "10.244.1.1", kTcp, 53), "policy_egress");
  EXPECT_EQ(Try("client", "far", kUdp, 53), "policy_egress");
}

TEST_F(PolicyPackets, SeveralPoliciesAddUp) {
  PutPolicy("shop", "deny", R"(pod_selector {} policy_types: "Ingress")");
  PutPolicy("shop", "a", R"(pod_selector {} ingress { ports { port { int_value: 80 } } })");
  PutPolicy("shop", "b", R"(pod_selector { match_labels { key: "app" value: "near" } }
                            ingress { from { pod_selector {} } })");
  Settle();

  EXPECT_EQ(Try("far", "client", kTcp, 80), "forwarded");
  EXPECT_EQ(Try("far", "client", kTcp, 81), "policy_ingress");
  EXPECT_EQ(Try("far", "near", kTcp, 81), "forwarded");
  EXPECT_EQ(Try("clerk", "near", kTcp, 80), "forwarded");
  EXPECT_EQ(Try("clerk", "near", kTcp, 81), "policy_ingress");
}

TEST_F(PolicyPackets, AServiceIsJudgedByItsBackend) {
  Serve({"10.244.1.11:8080"});
  PutPolicy("shop", "p", R"(pod_selector { match_labels { key: "app" value: "near" } }
                            ingress { from { pod_selector { match_labels { key: "app"
                                                                           value: "far" } } } })");
  Settle();
  EXPECT_EQ(FromPod(client_, First("10.244.1.10", "10.96.0.10", kTcp, 80)).reason,
            "policy_ingress");
  EXPECT_EQ(FromPod(clerk_, First("10.244.1.12", "10.96.0.10", kTcp, 80)).reason, "policy_ingress")
      << "coming through a Service opens nothing";
  PutPolicy("shop", "q", R"(pod_selector { match_labels { key: "app" value: "client" } }
    policy_types: "Egress"
    egress { to { pod_selector { match_labels { key: "app" value: "near" } } }
             ports { port { int_value: 8080 } } })");
  RemovePolicy("shop", "p");
  Settle();
  EXPECT_EQ(FromPod(client_, First("10.244.1.10", "10.96.0.10", kTcp, 80)).reason, "forwarded");
}

TEST_F(PolicyPackets, ANewDenyEndsFlowsInBothDirections) {
  const auto client = At("10.244.1.10:41000"), near = At("10.244.1.11:8080");
  ASSERT_EQ(FromPod(client_, Tcp(client, near, kSyn)).reason, "forwarded");
  ASSERT_EQ(FromPod(near_, Tcp(near, client, kSyn | kAck)).reason, "forwarded");
  const auto asks = At("10.244.1.10:41001");
  ASSERT_EQ(FromPod(client_, Udp(asks, near)).reason, "forwarded");
  ASSERT_EQ(FromPod(near_, Udp(near, asks)).reason, "forwarded");

  PutPolicy("bank", "other", R"(pod_selector {} policy_types: "Ingress")");
  Settle();
  EXPECT_EQ(FromPod(client_, Tcp(client, near, kAck)).reason, "forwarded");
  EXPECT_EQ(FromPod(near_, Udp(near, asks)).reason, "forwarded");

  PutPolicy("shop", "deny", R"(pod_selector {} policy_types: "Ingress")");
  Settle();
  EXPECT_EQ(FromPod(client_, Tcp(client, near, kAck)).reason, "policy_ingress");
  EXPECT_EQ(FromPod(near_, Udp(near, asks)).reason, "policy_ingress") << "the answer too";
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(PolicyPackets, DropsAreCountedForTheSetThatDecides) {
  PutPolicy("shop", "in", R"(pod_selector { match_labels { key: "app" value: "near" } }
    ingress { ports { port { int_value: 80 } } })");
  PutPolicy("bank", "out", R"(pod_selector {} policy_types: "Egress")");
  Settle();
  const std::map<uint32_t, uint64_t> before = Drops();
  ASSERT_EQ(Try("client", "near", kTcp, 80), "forwarded");
  ASSERT_EQ(Try("client", "near", kTcp, 8080), "policy_ingress");
  ASSERT_EQ(Try("far", "near", kTcp, 8080), "policy_ingress");
  ASSERT_EQ(Try("clerk", "near", kTcp, 80), "policy_egress");
  ASSERT_EQ(Try("clerk", "client", kTcp, 80), "policy_egress");
  ASSERT_EQ(Try("teller", "client", kTcp, 80), "isolation");

  std::map<std::string, uint64_t> drops;  // by what the control plane calls their set
  const std::map<uint32_t, uint32_t> numbers = policies_->Numbers();
  for (const auto& [set, packets] : Drops()) {
    const auto was = before.find(set);
    const uint64_t more = packets - (was == before.end() ? 0 : was->second);
    if (more == 0) continue;
    ASSERT_TRUE(numbers.contains(set));
    const IdentityPolicy& near = desired_.identities.at(The("near").identity);
    const IdentityPolicy& clerk = desired_.identities.at(The("clerk").identity);
    const uint32_t known = numbers.at(set);
    drops[known == near.ingress || known == near.ingress6   ? "in"
          : known == clerk.egress || known == clerk.egress6 ? "out"
                                                            : "another"] += more;
  }
  EXPECT_EQ(drops, (std::map<std::string, uint64_t>{{"in", 2}, {"out", 2}}));
}

TEST_F(PolicyPackets, AnswersNeedNoRuleOfTheirOwn) {
  PutPolicy("shop", "p", R"(
    pod_selector { match_labels { key: "app" value: "client" } }
    policy_types: "Ingress" policy_types: "Egress"
    egress { to { pod_selector { match_labels { key: "app" value: "near" } } } })");
  Settle();
  const auto client = At("10.244.1.10:41000"), near = At("10.244.1.11:8080");
  EXPECT_EQ(FromPod(near_, Udp(near, client)).reason, "policy_ingress");
  EXPECT_EQ(FromPod(client_, Udp(client, near)).reason, "forwarded");
  EXPECT_EQ(FromPod(near_, Udp(near, client)).reason, "forwarded");
  PutPolicy("bank", "other", R"(pod_selector {})");
  Settle();
  EXPECT_EQ(FromPod(near_, Udp(near, client)).reason, "forwarded") << "judged again";
}

TEST_F(PolicyPackets, AFlowOfAnotherNodeIsJudgedAgainWhenItsIdentityChanges) {
  PutPolicy("shop", "p", R"(pod_selector { match_labels { key: "app" value: "near" } }
                            ingress { from { pod_selector { match_labels { key: "app"
                                                                           value: "far" } } } })");
  Settle();
  const auto far = At("10.244.2.10:41000"), near = At("10.244.1.11:8080");
  ASSERT_EQ(FromPeer(The("far").identity, Udp(far, near)).reason, "forwarded");
  Label("far", {{"app", "gone"}});
  Settle();
  EXPECT_EQ(FromPeer(The("far").identity, Udp(far, near)).reason, "policy_ingress");
}

TEST_F(PolicyPackets, WhoIsNotKnownIsOnlyAboutEverybody) {
  PutPolicy("shop", "p", R"(pod_selector {} policy_types: "Ingress" policy_types: "Egress"
    ingress { from { namespace_selector {} } } ingress { ports { port { int_value: 80 } } }
    egress { to { namespace_selector {} } } egress { ports { port { int_value: 80 } } })");
  Settle();
  const uint32_t unknown = 4321;
  EXPECT_EQ(FromPeer(unknown, First("10.244.2.77", "10.244.1.11", kTcp, 81)).reason,
            "policy_ingress");
  EXPECT_EQ(FromPeer(unknown, First("10.244.2.77", "10.244.1.11", kTcp, 80)).reason, "forwarded");
  EXPECT_EQ(TryAddress("client", "10.244.2.77", kTcp, 81), "policy_egress");
  EXPECT_EQ(TryAddress("client", "10.244.2.77", kTcp, 80), "forwarded");
}

TEST_F(PolicyPackets, HoldWhileMeshdAndTheAgentAreReplaced) {
  PutPolicy("shop", "p", R"(pod_selector {} ingress { from { pod_selector {
      match_labels { key: "app" value: "far" } } } ports { port { int_value: 80 } } })");
  Settle();
  for (const bool agent : {true, false, true}) {
    agent ? RestartAgent() : RestartMeshd();
    EXPECT_EQ(Try("far", "near", kTcp, 80), "forwarded");
    EXPECT_EQ(Try("far", "near", kTcp, 81), "policy_ingress");
    EXPECT_EQ(Try("client", "near", kTcp, 80), "policy_ingress");
    EXPECT_EQ(maps_->policy_peer.Dump()->size(), 1u) << "rows of before are left";
    EXPECT_EQ(maps_->policy_port.Dump()->size(), 1u);
  }
}

class RandomPolicies : public PolicyWorld {
 protected:
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_.Below(n)); }
  bool Chance(uint32_t percent) { return Below(100) < percent; }
  template <typename T>
  T One(std::initializer_list<T> of) {
    return *(of.begin() + Below(static_cast<uint32_t>(of.size())));
  }
  std::string Selector(const char* key, std::initializer_list<const char*> values) {
    if (Chance(30)) return "";
    if (Chance(60)) {
      return fmt::format(R"(match_labels {{ key: "{}" value: "{}" }} )", key, One(values));
    }
    const char* op = One({"In", "NotIn", "Exists", "DoesNotExist"});
    std::string out = fmt::format(R"(match_expressions {{ key: "{}" operator: "{}" )", key, op);
    if (std::string(op).ends_with("In")) {
      out += fmt::format(R"(values: "{}" values: "{}" )", One(values), One(values));
    }
    return out + "} ";
  }
  std::string Pods() { return Selector("app", {"client", "near", "far", "clerk", "teller"}); }
  std::string Peer() {
    if (Chance(30)) {
      const std::string range = One(
          {"10.244.0.0/16", "10.244.2.0/24", "198.51.100.0/24", "10.244.1.8/30", "10.244.2.1/32"});
      std::string out = fmt::format(R"(ip_block {{ cidr: "{}" )", Cidr(range));
      for (const char* hole :
           {"10.244.2.0/24", "10.244.1.11/32", "198.51.100.128/25", "10.244.2.12/32"}) {
        const IpPrefix outer = Range(range), inner = Range(hole);
        if (outer.Contains(inner.base()) && inner.length() > outer.length() && Chance(40)) {
          out += fmt::format(R"(except: "{}" )", Cidr(hole));
        }
      }
      return out + "} ";
    }
    const uint32_t kind = Below(3);
    std::string out;
    if (kind != 1) out += "pod_selector { " + Pods() + "} ";
    if (kind != 0) out += "namespace_selector { " + Selector("team", {"shop", "bank"}) + "} ";
    return out;
  }
  std::string Port() {
    std::string out;
    if (Chance(70)) out = fmt::format(R"(protocol: "{}" )", One({"TCP", "UDP"}));
    switch (Below(4)) {
      case 0:
        return out;
      case 1:
        return out + fmt::format(R"(port {{ string_value: "{}" }} )", One({"web", "none"}));
      case 2:
        return out + fmt::format("port {{ int_value: {} }} ", One({80, 8080, 9090, 53}));
      default:
        return out + fmt::format("port {{ int_value: {} }} end_port: {} ", One({1, 53, 80}),
                                 One({80, 8079, 65535}));
    }
  }
  std::string Spec() {
    std::string out = "pod_selector { " + Pods() + "} ";
    for (const std::string direction : {"ingress", "egress"}) {
      for (uint32_t i = Below(3); i > 0; --i) {
        out += direction + " { ";
        for (uint32_t j = Below(3); j > 0; --j) out += "ports { " + Port() + "} ";
        for (uint32_t j = Below(3); j > 0; --j) {
          out += (direction == "ingress" ? "from { " : "to { ") + Peer() + "} ";
        }
        out += "} ";
      }
    }
    if (Chance(30)) out += R"(policy_types: "Ingress" policy_types: "Egress" )";
    return out;
  }
  void Change() {
    switch (Below(6)) {
      case 0:
        return Label(One({"client", "near", "clerk", "far", "teller"}),
                     {{"app", One({"client", "near", "far", "clerk"})}});
      case 1:
        return LabelNamespace(One({"shop", "bank"}), {{"team", One({"shop", "bank", "none"})}});
      case 2:
        return RemovePolicy(One({"shop", "bank"}), One({"a", "b", "c"}));
      default:
        return PutPolicy(One({"shop", "bank"}), One({"a", "b", "c"}), Spec());
    }
  }
  std::string Dump() const {
    std::string out;
    for (const auto& policy : model_.policies) out += "\n" + policy.ShortDebugString();
    return out;
  }

  Random random_{0};
};

TEST_F(RandomPolicies, MeanWhatTheirObjectsSay) {
  uint64_t seed = Random::FromEntropy().Next();
  if (const char* given = std::getenv("MESH_POLICY_SEED")) seed = std::strtoull(given, nullptr, 10);
  SCOPED_TRACE(fmt::format("MESH_POLICY_SEED={}", seed));
  random_ = Random(seed);
  std::map<std::string, int> seen;
  const auto counted = [&] {
    uint64_t out = 0;
    for (const auto& [set, packets] : Drops()) out += packets;
    return out;
  };
  const uint64_t counted_before = counted();
  uint64_t dropped = 0;
  for (int round = 0; round < 120; ++round) {
    for (uint32_t i = 1 + Below(3); i > 0; --i) Change();
    Settle();
    if (Chance(5)) RestartAgent();
    if (Chance(5)) RestartMeshd();
    for (const Somebody& from : everybody_) {
      for (const Somebody& to : everybody_) {
        if (from.name == to.name || (!IsHere(from) && !IsHere(to))) continue;
        const uint8_t protocol = One({kTcp, kTcp, kUdp, kIcmp});
        const uint16_t port = One<uint16_t>({80, 81, 53, 8080, 9090, 9000});
        const std::string expected = Expected(from, to, protocol, port);
        Ask(true);
        ASSERT_EQ(Try(from.name, to.name, protocol, port), expected)
            << "traced, round " << round << ": " << from.name << " to " << to.name << Dump();
        Ask(false);
        ++seen[expected];
        if (expected.starts_with("policy_")) ++dropped;
        ASSERT_EQ(Try(from.name, to.name, protocol, port), expected)
            << "round " << round << ": " << from.name << " to " << to.name << " " << port << "/"
            << int{protocol} << Dump();
      }
    }
    for (const char* name : {"client", "near", "clerk"}) {
      const Somebody& from = The(name);
      const std::string ip = One({"198.51.100.7", "198.51.100.200", "192.0.2.77"});
      const bool allowed =
          model_.AllowsEgress(EndOf(from), {nullptr, Own(Ip(ip))}, kUdp, 53).value_or(true);
      if (!allowed) ++dropped;
      ASSERT_EQ(TryAddress(name, ip, kUdp, 53), allowed ? "forwarded" : "policy_egress")
          << name << " to " << ip << Dump();
    }
  }
  EXPECT_EQ(counted() - counted_before, dropped);
  for (const char* verdict : {"forwarded", "policy_ingress", "policy_egress", "isolation"}) {
    EXPECT_GT(seen[verdict], 20) << verdict;
  }
}

}  // namespace
}  // namespace mesh::dataplane::testing
