// SPDX-License-Identifier: Apache-2.0
// Goal: whoever asks is told the rule that decides, or the nearest and what it misses on.
#include "controlplane/inspect/policy_answer.h"

#include <netinet/in.h>

#include "api/schema/merge.h"
#include "controlplane/controllers/objects.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Pod shop/web asks pod bank/api, which names port 8080 "http".
class PolicyAnswerTest : public ::testing::Test {
 protected:
  PolicyAnswerTest() {
    Put(R"(namespace { metadata { name: "shop" labels { key: "team" value: "a" } } })");
    Put(R"(namespace { metadata { name: "bank" } })");
    Put(R"(pod { metadata { namespace: "shop" name: "web" labels { key: "app" value: "web" } }
                 status { pod_ips { ip: "10.244.1.3" } } })");
    Put(R"(pod { metadata { namespace: "bank" name: "api" labels { key: "app" value: "api" } }
                 spec { containers { ports { name: "http" container_port: 8080 } } }
                 status { pod_ips { ip: "10.244.2.4" } } })");
  }
  void Put(const std::string& text) {
    v1::Resource resource;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &resource)) << text;
    state.Put(resource);
  }
  // Of "bank", about all of its pods.
  void Ingress(const std::string& name, const std::string& rules) {
    Put(R"(network_policy { metadata { namespace: "bank" name: ")" + name +
        R"(" annotations { key: "mesh.io/source" value: "my bank.yaml:3 ingress=9,14 egress=20" } }
           spec { policy_types: "Ingress" )" +
        rules + "} }");
  }
  const v1::Pod& Pod(const char* ns, const char* name) {
    return *FindObject(state.pods, {ns, name});
  }
  PolicyAnswer Ask(uint16_t port, uint8_t protocol = IPPROTO_TCP) {
    return AskPolicies(state, {.egress = false,
                               .pod = Pod("bank", "api"),
                               .peer = PeerOf(Pod("shop", "web")),
                               .protocol = protocol,
                               .port = port});
  }

  ClusterState state;
};

constexpr char kFromShop[] =
    R"(from { namespace_selector { match_labels { key: "team" value: "a" } }
              pod_selector { match_labels { key: "app" value: "web" } } })";

TEST_F(PolicyAnswerTest, WithoutPoliciesEverythingIsAllowed) {
  const PolicyAnswer answer = Ask(80);
  EXPECT_TRUE(answer.facts.allowed());
  EXPECT_TRUE(answer.facts.policies().empty());
}

TEST_F(PolicyAnswerTest, NamesTheRuleThatAdmitsAndItsPlace) {
  Ingress("a-none", "");
  Ingress("b-web", R"(ingress { ports { port { int_value: 1 } } }
                      ingress { ports { port { string_value: "http" } } )" +
                       std::string(kFromShop) + "}");
  const PolicyAnswer answer = Ask(8080);
  EXPECT_TRUE(answer.facts.allowed());
  EXPECT_EQ(RuleTitle(answer.facts), "policy bank/b-web, rule ingress[1] (my bank.yaml:14)");
  EXPECT_THAT(answer.facts.policies(), ElementsAre("bank/a-none", "bank/b-web"));
}

TEST_F(PolicyAnswerTest, OfADropTellsTheNearestRuleAndWhatItMissesOn) {
  Ingress("deny", "");
  EXPECT_EQ(Ask(80).nearest, "it has no ingress rule");
  EXPECT_THAT(Ask(80).remedies,
              ElementsAre("add a rule to spec.ingress of networkpolicy bank/deny that admits pod "
                          "shop/web on TCP 80"));

  Ingress("web", R"(ingress { ports { port { int_value: 5 } }
                              from { pod_selector { } } }
                    ingress { ports { port { string_value: "http" } }
                              ports { port { int_value: 90 } end_port: 99 } )" +
                     std::string(kFromShop) + "}");
  PolicyAnswer answer = Ask(81);
  EXPECT_FALSE(answer.facts.allowed());
  EXPECT_EQ(answer.nearest,
            "the nearest is policy bank/web, rule ingress[1] (my bank.yaml:14), but it is about "
            "TCP http (8080), TCP 90-99, not about TCP 81");
  EXPECT_THAT(answer.facts.missed(), ElementsAre("port"));
  EXPECT_EQ(answer.remedies[0],
            "add TCP 81 to the ports of rule ingress[1] of networkpolicy "
            "bank/web");
  answer = Ask(8080, IPPROTO_UDP);
  EXPECT_THAT(answer.facts.missed(), ElementsAre("protocol"));
  EXPECT_THAT(answer.nearest, HasSubstr("not about UDP 8080"));
  EXPECT_TRUE(Ask(95).facts.allowed());
}

TEST_F(PolicyAnswerTest, TellsWhatOfThePeerDoesNotMatch) {
  Ingress("web", R"(ingress { from { namespace_selector { }
                              pod_selector { match_labels { key: "app" value: "cart" } } } })");
  EXPECT_EQ(Ask(80).nearest,
            "the nearest is policy bank/web, rule ingress[0] (my bank.yaml:9), but pod shop/web "
            "does not match app=cart (it has app=web)");
  EXPECT_EQ(Ask(80).remedies[0], "give pod shop/web the label app=cart");

  // The mistake of everybody: the namespace is that of who asks.
  Ingress("web",
          R"(ingress { from { pod_selector { match_labels { key: "app" value: "web" } } } })");
  EXPECT_THAT(Ask(80).nearest,
              HasSubstr("its podSelector without a namespaceSelector is about namespace bank, and "
                        "pod shop/web is of shop"));
  EXPECT_EQ(Ask(80).remedies[0],
            "add a namespaceSelector with kubernetes.io/metadata.name=shop to the peer of rule "
            "ingress[0] of networkpolicy bank/web");
  // It would not be enough.
  Ingress("web",
          R"(ingress { from { pod_selector { match_labels { key: "app" value: "cart" } } } })");
  EXPECT_THAT(Ask(80).nearest, HasSubstr("and pod shop/web is of shop and does not match app=cart "
                                         "either"));
  EXPECT_THAT(Ask(80).remedies, ElementsAre(HasSubstr("add a rule to spec.ingress")));
  // Of two things that miss both have to be changed.
  Ingress("web", R"(ingress { ports { port { int_value: 5 } }
                              from { pod_selector { match_labels { key: "app" value: "web" } } } })");
  EXPECT_EQ(Ask(80).remedies[0],
            "add TCP 80 to the ports of rule ingress[0] of networkpolicy bank/web, and add a "
            "namespaceSelector with kubernetes.io/metadata.name=shop to the peer of rule "
            "ingress[0] of networkpolicy bank/web");
  // What is one change away is nearer than what is two.
  Ingress("web", R"(
      ingress { from { pod_selector { match_labels { key: "app" value: "cart" } } } }
      ingress { from { pod_selector { match_labels { key: "app" value: "web" } } } })");
  EXPECT_THAT(Ask(80).nearest, HasSubstr("rule ingress[1]"));
  Ingress("web", R"(ingress { from { namespace_selector {
                              match_labels { key: "team" value: "b" } } } })");
  EXPECT_THAT(Ask(80).nearest, HasSubstr("namespace shop does not match team=b"));
  EXPECT_EQ(Ask(80).remedies[0], "give namespace shop the label team=b");
  Ingress("web", R"(ingress { from { ip_block { cidr: "10.0.0.0/8" except: "10.244.0.0/16" } } })");
  EXPECT_THAT(Ask(80).nearest,
              HasSubstr("10.244.1.3 is in 10.0.0.0/8, of which except 10.244.0.0/16 takes it out"));
  EXPECT_EQ(Ask(80).remedies[0],
            "narrow except 10.244.0.0/16 of rule ingress[0] of networkpolicy bank/web so that it "
            "leaves 10.244.1.3 in");
  Ingress("web", R"(ingress { from { ip_block { cidr: "10.0.0.0/8" except: "10.1.0.0/16" } }
                              from { ip_block { cidr: "192.0.2.0/24" } } })");
  EXPECT_TRUE(Ask(80).facts.allowed());
  Ingress("web",
          R"(ingress { from { ip_block { cidr: "192.0.2.0/24" except: "192.0.2.0/25" } } })");
  EXPECT_THAT(Ask(80).nearest, HasSubstr("10.244.1.3 is not in 192.0.2.0/24 except 192.0.2.0/25"));
  EXPECT_THAT(Ask(80).facts.missed(), ElementsAre("peer"));
}

// Who leaves policyTypes out of a policy with egress rules shuts ingress as well.
TEST_F(PolicyAnswerTest, PolicyTypesThatWereForgottenAreTold) {
  v1::Resource file;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(network_policy { metadata { namespace: "bank" name: "out" }
         spec { pod_selector { } egress { } } })",
      &file));
  v1::Resource applied = file;
  v1::NetworkPolicy& policy = *applied.mutable_network_policy();
  policy.mutable_metadata()->set_last_applied(schema::EncodeLastApplied(file));
  policy.mutable_spec()->add_policy_types("Ingress");
  policy.mutable_spec()->add_policy_types("Egress");
  state.Put(applied);

  EXPECT_TRUE(LeftTypesOut(policy));
  EXPECT_EQ(Ask(80).nearest,
            "it has no ingress rule, and a policy without policyTypes is for ingress too");
  EXPECT_THAT(Ask(80).remedies,
              ElementsAre(HasSubstr("set spec.policyTypes of networkpolicy bank/out to [Egress], "
                                    "if it is meant for egress alone"),
                          HasSubstr("add a rule")));

  // Somebody has asked for both.
  policy.mutable_metadata()->set_last_applied(schema::EncodeLastApplied(applied));
  state.Put(applied);
  EXPECT_FALSE(LeftTypesOut(policy));
  EXPECT_EQ(Ask(80).nearest, "it has no ingress rule");
}

TEST_F(PolicyAnswerTest, ExplainsTheStepsOfATracedPacket) {
  Ingress("web", R"(ingress { ports { port { int_value: 80 } } )" + std::string(kFromShop) + "}");
  v1::TraceHopResponse hop;
  v1::TraceStep& dropped = *hop.add_steps();
  dropped.set_text("pod bank/api is isolated");
  dropped.mutable_policy()->set_namespace_("bank");
  dropped.mutable_policy()->set_pod("api");
  dropped.mutable_policy()->set_peer("10.244.1.3");
  dropped.mutable_policy()->set_protocol(IPPROTO_TCP);
  dropped.mutable_policy()->set_port(81);
  *hop.add_steps() = dropped;
  v1::TraceStep& behind = *hop.mutable_steps(1);
  behind.mutable_policy()->set_port(80);
  *hop.add_steps() = behind;
  v1::TraceStep& allowed = *hop.mutable_steps(2);
  allowed.mutable_policy()->set_allowed(true);
  allowed.mutable_policy()->set_policy("bank/web");
  hop.add_steps()->set_text("no policy");

  ExplainPolicies(state, &hop);

  EXPECT_EQ(hop.steps(0).text(),
            "pod bank/api is isolated; the nearest is policy bank/web, rule ingress[0] (my "
            "bank.yaml:9), but it is about TCP 80, not about TCP 81");
  EXPECT_EQ(hop.steps(0).policy().source(), "my bank.yaml:9");
  EXPECT_THAT(hop.steps(0).policy().missed(), ElementsAre("port"));
  // The node does not have yet what stands there.
  EXPECT_THAT(hop.steps(1).text(), HasSubstr("is on its way"));
  EXPECT_EQ(hop.steps(2).text(), "pod bank/api is isolated (my bank.yaml:9)");
  EXPECT_EQ(hop.steps(3).text(), "no policy");
}

TEST_F(PolicyAnswerTest, WhatANodeRefusesIsNotOnItsWay) {
  Ingress("web", R"(ingress { ports { port { int_value: 80 } } )" + std::string(kFromShop) + "}");
  const auto told = [&](uint32_t port) {
    v1::TraceHopResponse hop;
    v1::TraceStep& step = *hop.add_steps();
    step.set_text("pod bank/api is shut");
    step.mutable_policy()->set_namespace_("bank");
    step.mutable_policy()->set_pod("api");
    step.mutable_policy()->set_peer("10.244.1.3");
    step.mutable_policy()->set_protocol(IPPROTO_TCP);
    step.mutable_policy()->set_port(port);
    step.mutable_policy()->set_not_in_force("no room");
    ExplainPolicies(state, &hop);
    return hop.steps(0).text();
  };

  EXPECT_EQ(told(80), "pod bank/api is shut; once in force, they admit it");
  EXPECT_THAT(told(81), HasSubstr("is shut; nor do they admit it: the nearest is policy bank/web"));
}

TEST_F(PolicyAnswerTest, TheResolverIsAPeerOfItsOwn) {
  Put(R"(network_policy { metadata { namespace: "shop" name: "out" }
         spec { policy_types: "Egress" egress { to { namespace_selector { } } } } })");
  const auto ask = [&] {
    return AskPolicies(state, {.egress = true,
                               .pod = Pod("shop", "web"),
                               .peer = ResolverPeer(),
                               .protocol = IPPROTO_UDP,
                               .port = 53});
  };
  EXPECT_TRUE(ask().facts.allowed());
  Put(R"(network_policy { metadata { namespace: "shop" name: "out" }
         spec { policy_types: "Egress" egress { to { namespace_selector {
           match_labels { key: "kubernetes.io/metadata.name" value: "bank" } } } } } })");
  EXPECT_FALSE(ask().facts.allowed());
  EXPECT_THAT(ask().nearest, HasSubstr("namespace kube-system"));
}

}  // namespace
}  // namespace mesh::controlplane
