// SPDX-License-Identifier: Apache-2.0
// Goal: a policy that means nobody is told with what it lacks, and one that means somebody with
// whom.
#include "api/schema/merge.h"
#include "controlplane/controllers/objects.h"
#include "google/protobuf/text_format.h"
#include "tests/unit/controlplane/inspect/why_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class WhyPolicyTest : public WhyTest {
 protected:
  WhyPolicyTest() {
    world.AddNode("n1");
    for (const char* name : {"default", "shop"}) {
      v1::Resource ns;
      ns.mutable_namespace_()->mutable_metadata()->set_name(name);
      if (std::string(name) == "shop")
        (*ns.mutable_namespace_()->mutable_metadata()->mutable_labels())["team"] = "shop";
      world.Put(ns);
    }
    v1::Pod web = world.AddPod("web-1", "web", "n1", true);
    auto* port = web.mutable_spec()->mutable_containers(0)->add_ports();
    port->set_name("http");
    port->set_container_port(8080);
    world.Put(Wrap(web));
    v1::Pod client = world.AddPod("client", "client", "n1", true);
    world.state.Remove(v1::KIND_POD, InDefault("client"));
    client.mutable_metadata()->set_namespace_("shop");
    world.Put(Wrap(client));
  }

  void AddNamespace(const std::string& name) {
    v1::Resource ns;
    ns.mutable_namespace_()->mutable_metadata()->set_name(name);
    world.Put(ns);
  }
  void AddPodOf(const std::string& ns, const std::string& name, const std::string& app) {
    v1::Pod pod = world.AddPod(name, app, "n1", true);
    world.state.Remove(v1::KIND_POD, InDefault(name));
    pod.mutable_metadata()->set_namespace_(ns);
    world.Put(Wrap(pod));
  }
  void Put(const std::string& name, const std::string& spec) {
    v1::Resource resource;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
        fmt::format(R"(network_policy {{ metadata {{ namespace: "default" name: "{}"
            annotations {{ key: "mesh.io/source" value: "p.yaml:1 ingress=7,9 egress=12" }} }}
            spec {{ {} }} }})",
                    name, spec),
        &resource))
        << spec;
    world.Put(resource);
  }
  // `file`: what the manifest says, where that is less.
  v1::WhyResponse OfPolicy(const std::string& spec, const std::string& file = "") {
    Put("p", spec);
    if (!file.empty()) {
      Put("p", file);
      v1::NetworkPolicy policy = *FindObject(world.state.network_policies, InDefault("p"));
      v1::Resource written;
      *written.mutable_network_policy() = policy;
      const std::string applied = schema::EncodeLastApplied(written);
      Put("p", spec);
      v1::Resource all;
      *all.mutable_network_policy() = *FindObject(world.state.network_policies, InDefault("p"));
      all.mutable_network_policy()->mutable_metadata()->set_last_applied(applied);
      world.Put(all);
    }
    v1::WhyRequest request;
    request.mutable_network_policy()->set_namespace_("default");
    request.mutable_network_policy()->set_name("p");
    return Answer(request).response;
  }
};

constexpr char kWeb[] = R"(policy_types: "Ingress"
    pod_selector { match_labels { key: "app" value: "web" } } )";

TEST_F(WhyPolicyTest, OneThatMeansSomebodyIsToldWithWhom) {
  const v1::WhyResponse told = OfPolicy(std::string(kWeb) + R"(ingress {
      from { namespace_selector { match_labels { key: "team" value: "shop" } } }
      ports { protocol: "TCP" port { string_value: "http" } } })");
  EXPECT_THAT(Problems(told), IsEmpty());
  EXPECT_THAT(Oks(told),
              ElementsAre("networkpolicy default/p: selects pods with app=web of namespace default "
                          "for ingress: web-1",
                          "networkpolicy default/p: rule ingress[0] (p.yaml:7) is about 1 pod: "
                          "client"));
}

TEST_F(WhyPolicyTest, OneThatIsNotInForceEverywhereIsToldWithTheNodes) {
  Refuse("n1", {"default/p", "shop/other"}, {"default/web-1", "shop/client"});
  Refuse("n2", {"default/p"});
  Refuse("n3", {"shop/other"});

  const v1::WhyResponse told = OfPolicy(std::string(kWeb) + "ingress {}");

  EXPECT_THAT(
      Problems(told),
      ElementsAre("networkpolicy default/p: is not in force on nodes n1, n2: no room; pods there "
                  "keep what was in force before, and new ones are shut: web-1 -> let the rules "
                  "name fewer ports, ranges of ports and ipBlocks, or fewer peers | run fewer "
                  "different pods that policies select on node n1 | see how full its maps are: "
                  "meshctl bpf policy stats --node n1"));
  EXPECT_THAT(Oks(told), Contains(HasSubstr("selects pods with app=web")));
}

TEST_F(WhyPolicyTest, APodIsToldWhichPoliciesAboutItAreNotInForce) {
  Put("p", std::string(kWeb) + "ingress {}");
  Put("q", R"(policy_types: "Egress" pod_selector {})");
  EXPECT_THAT(Problems(OfPod("web-1")), IsEmpty());

  Refuse("n1", {"default/p", "shop/other"});
  EXPECT_THAT(Problems(OfPod("web-1")),
              ElementsAre(HasSubstr("pod default/web-1: policy default/p selects it but is not in "
                                    "force on node n1: no room; what was in force for it before "
                                    "still is -> let the rules")));
  Refuse("n1", {"default/q"}, {"default/web-1"});
  EXPECT_THAT(Problems(OfPod("web-1")),
              ElementsAre(HasSubstr("policies default/p, default/q select it but are not in force "
                                    "on node n1: no room; it is new there and shut until there is "
                                    "room")));
}

TEST_F(WhyPolicyTest, NodesThatTellSoAreAskedWhatIsNotInForce) {
  EXPECT_THAT(NodesThatRefusePolicies(world.state), IsEmpty());
  v1::Condition* condition = world.node("n1").mutable_status()->add_conditions();
  condition->set_type("PoliciesInForce");
  condition->set_status("False");
  EXPECT_THAT(NodesThatRefusePolicies(world.state), ElementsAre("n1"));
}

TEST_F(WhyPolicyTest, OneThatSelectsNobodyIsShownTheNearestLabels) {
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Ingress"
      pod_selector { match_labels { key: "app" value: "wep" } })")),
              ElementsAre("networkpolicy default/p: selects no pod: it is about pods with app=wep "
                          "of namespace default; the nearest is pod web-1, which has app=web, not "
                          "app=wep -> set spec.podSelector of networkpolicy default/p to the "
                          "labels of pod web-1 | label the pods of pod default/web-1 app=wep"));
}

TEST_F(WhyPolicyTest, PodsThatItWouldSelectInAnotherNamespaceAreNamed) {
  AddNamespace("pay");
  AddPodOf("pay", "api-1", "api");
  AddPodOf("pay", "api-2", "api");
  EXPECT_THAT(
      Problems(OfPolicy(R"(policy_types: "Ingress"
      pod_selector { match_labels { key: "app" value: "api" } })")),
      ElementsAre(AllOf(HasSubstr("selects no pod: it is about pods with app=api of namespace "
                                  "default; namespace pay has 2 such pods: a policy selects in its "
                                  "own namespace alone"),
                        HasSubstr("-> apply the policy in namespace pay | "))));
}

TEST_F(WhyPolicyTest, RulesOfADirectionThatPolicyTypesLeavesOutAreTold) {
  EXPECT_THAT(Problems(OfPolicy(std::string(kWeb) + "ingress { } egress { }")),
              ElementsAre("networkpolicy default/p: spec.egress has no effect: spec.policyTypes "
                          "lists Ingress alone -> set spec.policyTypes to [Ingress, Egress] | "
                          "take spec.egress out"));
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Egress" pod_selector { } ingress { })")),
              ElementsAre(HasSubstr("spec.ingress has no effect: spec.policyTypes lists Egress "
                                    "alone")));
}

TEST_F(WhyPolicyTest, PolicyTypesThatWereForgottenAreTold) {
  const std::string both = R"(policy_types: "Ingress" policy_types: "Egress" )";
  EXPECT_THAT(
      Problems(OfPolicy(both + "pod_selector { } egress { }", "pod_selector { } egress { }")),
      ElementsAre("networkpolicy default/p: has egress rules and no policyTypes, and so is for "
                  "ingress too, where it admits nothing -> set spec.policyTypes to [Egress], if it "
                  "is meant for egress alone | set spec.policyTypes to [Ingress, Egress], if "
                  "nobody shall get in"));
  EXPECT_THAT(Problems(OfPolicy(both + "pod_selector { } egress { }",
                                both + "pod_selector { } egress { }")),
              IsEmpty());
  EXPECT_THAT(Problems(OfPolicy(both + "pod_selector { } ingress { } egress { }",
                                "pod_selector { } ingress { } egress { }")),
              IsEmpty());
}

TEST_F(WhyPolicyTest, NumbersOfPortsThatThePodsDoNotHaveAreAHint) {
  const std::string rule = std::string(kWeb) + "ingress { ports { port { int_value: 80 } } }";
  EXPECT_THAT(Problems(OfPolicy(rule)), IsEmpty());
  EXPECT_THAT(Notes(OfPolicy(rule)),
              ElementsAre("networkpolicy default/p: rule ingress[0] (p.yaml:7): the pods that the "
                          "policy selects have no port TCP 80; they have TCP 8080 (http) -> let "
                          "the rule name TCP 8080 (http)"));

  // The usual mistake.
  world.AddService("web", "web", "http");
  EXPECT_THAT(Notes(OfPolicy(rule)),
              ElementsAre(AllOf(HasSubstr("; 80 is a port of service default/web, and policies are "
                                          "about the ports of pods"),
                                HasSubstr("-> let the rule name TCP 8080"))));

  // What is written down is not all that there is.
  v1::ListListenersResponse sockets;
  sockets.add_listeners()->set_protocol("TCP");
  sockets.mutable_listeners(0)->set_address("0.0.0.0");
  sockets.mutable_listeners(0)->set_port(80);
  listeners.insert_or_assign(InDefault("web-1"), sockets);
  EXPECT_THAT(Notes(OfPolicy(rule)), IsEmpty());

  // Of whom nothing is known nothing is said.
  listeners.clear();
  EXPECT_THAT(Notes(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to { ip_block { cidr: "192.0.2.0/24" } } ports { port { int_value: 443 } } }
      egress { ports { protocol: "UDP" port { int_value: 53 } } }
      egress { to { namespace_selector { } } ports { port { int_value: 53 } } })")),
              IsEmpty());
  EXPECT_THAT(Notes(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to { pod_selector { match_labels { key: "app" value: "web" } } }
               ports { port { int_value: 90 } end_port: 99 } })")),
              Contains(HasSubstr("the pods it is about have no port TCP 90-99; they have TCP "
                                 "8080 (http)")));
}

TEST_F(WhyPolicyTest, APeerOfNobodyIsToldWithItsRule) {
  EXPECT_THAT(Problems(OfPolicy(std::string(kWeb) + R"(
      ingress { from { pod_selector { } } }
      ingress { from { namespace_selector { match_labels { key: "team" value: "shob" } } } })")),
              ElementsAre(AllOf(HasSubstr("rule ingress[1] (p.yaml:9): no namespace has team=shob; "
                                          "the nearest is namespace shop, which has team=shop"),
                                HasSubstr("-> label namespace shop team=shob"))));
  EXPECT_THAT(Problems(OfPolicy(std::string(kWeb) + R"(ingress {
      from { pod_selector { match_labels { key: "app" value: "client" } } } })")),
              ElementsAre(AllOf(HasSubstr("no pod of namespace default has app=client; namespace "
                                          "shop has such pods"),
                                HasSubstr("add a namespaceSelector with "
                                          "kubernetes.io/metadata.name=shop to the peer"))));
}

TEST_F(WhyPolicyTest, EveryNamespaceWithPodsLikeThePeerIsNamed) {
  AddNamespace("pay");
  AddPodOf("pay", "client-2", "client");
  EXPECT_THAT(Problems(OfPolicy(std::string(kWeb) + R"(ingress {
      from { pod_selector { match_labels { key: "app" value: "client" } } } })")),
              ElementsAre(AllOf(HasSubstr("namespaces pay, shop have such pods"),
                                HasSubstr("kubernetes.io/metadata.name=pay to the peer"),
                                HasSubstr("kubernetes.io/metadata.name=shop to the peer"))));
}

TEST_F(WhyPolicyTest, ANamespaceThatIsNamedByAnotherLabelIsTold) {
  EXPECT_THAT(Problems(OfPolicy(std::string(kWeb) + R"(ingress {
      from { namespace_selector { match_labels { key: "name" value: "shop" } } } })")),
              ElementsAre(HasSubstr("no namespace has name=shop -> write "
                                    "kubernetes.io/metadata.name=shop in the namespaceSelector of "
                                    "rule ingress[0] (p.yaml:7) | correct")));
}

TEST_F(WhyPolicyTest, RulesThatLetRequestsOutAndNoQuestionForNamesAreAHint) {
  const std::string out = R"(policy_types: "Egress"
      pod_selector { match_labels { key: "app" value: "web" } } )";
  const std::string https = "egress { ports { port { int_value: 443 } } } ";
  EXPECT_THAT(Notes(OfPolicy(out + https)),
              ElementsAre(AllOf(HasSubstr("pod web-1 may not ask for names: no egress rule of "
                                          "default/p admits UDP 53 to the resolver"),
                                HasSubstr("-> add UDP 53 to the ports of rule egress[0]"))));
  EXPECT_THAT(Notes(OfPolicy(out + https +
                             R"(egress { ports { protocol: "UDP" port { int_value: 53 } } })")),
              IsEmpty());
  // What lets nothing out is meant so.
  EXPECT_THAT(Notes(OfPolicy(out)), IsEmpty());
}

TEST_F(WhyPolicyTest, APortThatNobodyNamesIsTold) {
  EXPECT_THAT(
      Problems(OfPolicy(std::string(kWeb) +
                        R"(ingress { ports { protocol: "TCP" port { string_value: "htpp" } } })")),
      ElementsAre(HasSubstr("rule ingress[0] (p.yaml:7): no container of the pods that the "
                            "policy selects names a port TCP htpp -> name one of TCP http "
                            "(8080) | give the port by its number")));
  EXPECT_THAT(
      Problems(OfPolicy(std::string(kWeb) +
                        R"(ingress { ports { protocol: "SCTP" port { int_value: 80 } } })")),
      ElementsAre(HasSubstr("its ports are of protocols that are not carried")));
}

TEST_F(WhyPolicyTest, APortThatNobodyAtAllNamesIsToldWhereEverybodyIsMeant) {
  EXPECT_THAT(
      Problems(OfPolicy(R"(policy_types: "Egress"
                           pod_selector { match_labels { key: "app" value: "web" } }
                           egress { ports { protocol: "TCP" port { string_value: "htpp" } } })")),
      ElementsAre(HasSubstr("no container of any pod names a port TCP htpp -> name one of TCP")));
}

TEST_F(WhyPolicyTest, EveryPodOfANamespaceWithoutPodsIsNoFaultOfTheSelector) {
  v1::Resource ns;
  ns.mutable_namespace_()->mutable_metadata()->set_name("bare");
  world.Put(ns);
  const v1::WhyResponse answer = OfPolicy(
      std::string(kWeb) + R"(ingress { from { pod_selector {} namespace_selector { match_labels {
          key: "kubernetes.io/metadata.name" value: "bare" } } } })");
  EXPECT_THAT(Problems(answer), IsEmpty());
  EXPECT_THAT(Notes(answer), Contains(HasSubstr("there are no pods in namespace bare")));
}

TEST_F(WhyPolicyTest, AddressesOfServicesAreNoPeers) {
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to { ip_block { cidr: "10.96.0.10/32" } } })")),
              ElementsAre(HasSubstr("rule egress[0] (p.yaml:12): 10.96.0.10/32 are addresses of "
                                    "Services (10.96.0.0/16)")));
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to { ip_block { cidr: "10.0.0.0/8" } } })")),
              IsEmpty());
}

TEST_F(WhyPolicyTest, RangesAreToldAsWhatARuleIsAbout) {
  EXPECT_THAT(Oks(OfPolicy(std::string(kWeb) + R"(ingress {
      from { pod_selector { match_labels { key: "app" value: "web" } } }
      from { ip_block { cidr: "10.0.0.0/8" except: "10.1.0.0/16" } } })")),
              Contains("networkpolicy default/p: rule ingress[0] (p.yaml:7) is about 1 pod: web-1, "
                       "and 10.0.0.0/8 except 10.1.0.0/16"));
}

TEST_F(WhyPolicyTest, TheResolverIsSomebody) {
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to {
        namespace_selector { match_labels { key: "kubernetes.io/metadata.name" value: "kube-system" } }
        pod_selector { match_labels { key: "k8s-app" value: "kube-dns" } } }
        ports { protocol: "UDP" port { string_value: "dns" } } })")),
              IsEmpty());
}

TEST_F(WhyPolicyTest, ARequestThatIsAdmittedNamesPoliciesThatSelectNobody) {
  Put("typo",
      R"(policy_types: "Egress" pod_selector { match_labels { key: "app" value: "wep" } })");
  v1::WhyRequest request;
  v1::WhyConnection& connection = *request.mutable_connection();
  connection.mutable_from()->set_namespace_("default");
  connection.mutable_from()->set_name("web-1");
  connection.set_host("192.0.2.7");
  connection.set_port(443);
  EXPECT_THAT(Notes(Answer(request).response),
              Contains("namespace default: a policy for egress selects no pod of it: default/typo "
                       "-> meshctl why netpol/typo -n default"));

  Put("deny", R"(policy_types: "Egress" pod_selector { })");
  EXPECT_THAT(Problems(Answer(request).response),
              Contains(HasSubstr("pod default/web-1: is isolated for egress by policy "
                                 "default/deny, no rule of which admits it")));
}

}  // namespace
}  // namespace mesh::controlplane
