// SPDX-License-Identifier: Apache-2.0
// Goal: a policy that means nobody is told with what it lacks, and one that means somebody with
// whom.
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
  v1::WhyResponse OfPolicy(const std::string& spec) {
    Put("p", spec);
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

TEST_F(WhyPolicyTest, OneThatSelectsNobodyIsShownTheNearestLabels) {
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Ingress"
      pod_selector { match_labels { key: "app" value: "wep" } })")),
              ElementsAre("networkpolicy default/p: selects no pod: it is about pods with app=wep "
                          "of namespace default; the nearest is pod web-1, which has app=web, not "
                          "app=wep -> set spec.podSelector of networkpolicy default/p to the "
                          "labels of pod web-1 | label the pods of pod default/web-1 app=wep"));
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

TEST_F(WhyPolicyTest, AddressesOfServicesAreNoPeers) {
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to { ip_block { cidr: "10.96.0.10/32" } } })")),
              ElementsAre(HasSubstr("rule egress[0] (p.yaml:12): 10.96.0.10/32 are addresses of "
                                    "Services (10.96.0.0/16)")));
  EXPECT_THAT(Problems(OfPolicy(R"(policy_types: "Egress" pod_selector { }
      egress { to { ip_block { cidr: "10.0.0.0/8" } } })")),
              IsEmpty());
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
