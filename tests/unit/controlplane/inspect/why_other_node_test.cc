// SPDX-License-Identifier: Apache-2.0
// Goal: a request to the address of another node is judged by what its packets meet.
#include <string>
#include <tuple>

#include "tests/unit/controlplane/inspect/why_connection_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// The request leaves as one of the node; only the pod's own node translates for the pod itself.
class AnotherNodesAddress : public WhyConnectionTest {
 protected:
  AnotherNodesAddress() {
    world.AddNode("n3");
    for (const auto& [name, ip, range] : {std::tuple("n1", "192.0.2.11", "10.244.1.0/24"),
                                          {"n2", "192.0.2.12", "10.244.2.0/24"},
                                          {"n3", "192.0.2.13", "10.244.3.0/24"}}) {
      v1::Node node = world.node(name);
      node.mutable_status()->clear_addresses();
      node.mutable_status()->add_addresses()->set_address(ip);
      node.mutable_spec()->set_pod_cidr(range);
      world.Put(Wrap(node));
    }
    v1::Service service = ApiAtNodes();
    PutService(service);
  }
  // A policy of the namespace for all its pods, with one range that it admits.
  void Admit(const std::string& ns, bool egress, const std::string& range, int port) {
    v1::Resource resource;
    v1::NetworkPolicy& policy = *resource.mutable_network_policy();
    policy.mutable_metadata()->set_namespace_(ns);
    policy.mutable_metadata()->set_name(egress ? "out" : "in");
    v1::NetworkPolicySpec& spec = *policy.mutable_spec();
    spec.add_policy_types(egress ? "Egress" : "Ingress");
    auto* peer = egress ? spec.add_egress()->add_to() : spec.add_ingress()->add_from();
    peer->mutable_ip_block()->set_cidr(range);
    auto* of = egress ? spec.mutable_egress(0)->add_ports() : spec.mutable_ingress(0)->add_ports();
    of->mutable_port()->set_int_value(port);
    world.Put(resource);
  }
};

TEST_F(AnotherNodesAddress, IsJudgedAsTheNodesAre) {
  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)), IsEmpty());
  Admit("pay", false, "192.0.2.11/32", 8080);
  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)), IsEmpty()) << "the pod's node";
  EXPECT_THAT(Problems(Ask("192.0.2.13", 30080)),
              ElementsAre(AllOf(HasSubstr("pod pay/api-1: is isolated for ingress"),
                                HasSubstr("ask service pay/api by its name, or at node n1"))))
      << "the gateway of n3";
  EXPECT_THAT(Problems(Ask("192.0.2.11", 30080)),
              ElementsAre(HasSubstr("pod pay/api-1: is isolated for ingress")))
      << "the pod itself";
  Admit("pay", false, "10.244.3.1/32", 8080);
  EXPECT_THAT(Problems(Ask("192.0.2.13", 30080)), IsEmpty());
}

TEST_F(AnotherNodesAddress, IsWhatEgressRulesAreAskedAbout) {
  Admit("default", true, "192.0.2.12/32", 30080);
  EXPECT_THAT(Problems(Ask("192.0.2.12", 30080)), IsEmpty());
  EXPECT_THAT(Problems(Ask("192.0.2.13", 30080)),
              ElementsAre(HasSubstr("pod default/web: is isolated for egress")));
  EXPECT_THAT(Problems(Ask("192.0.2.11", 30080)),
              ElementsAre(HasSubstr("pod default/web: is isolated for egress")))
      << "the backend is asked about";
}

TEST_F(AnotherNodesAddress, IsOutsideOfAClosedNamespaceForItsOwnPodsToo) {
  AddNamespace("pay", "closed");
  v1::Pod own = world.AddPod("own", "own", "n1", true);
  own.mutable_metadata()->set_namespace_("pay");
  world.Put(Wrap(own));
  const auto ask = [&](const std::string& host) {
    v1::WhyRequest request = Request(host, 30080);
    request.mutable_connection()->mutable_from()->set_namespace_("pay");
    request.mutable_connection()->mutable_from()->set_name("own");
    return Answer(request).response;
  };
  EXPECT_THAT(Problems(ask("192.0.2.11")), IsEmpty());
  EXPECT_THAT(Problems(ask("192.0.2.12")),
              ElementsAre(AllOf(HasSubstr("namespace pay: is closed"),
                                HasSubstr("the request comes from 192.0.2.11 (node n1)"),
                                HasSubstr("-> ask service pay/api by its name"))));
}

TEST_F(AnotherNodesAddress, AlsoStandsForHostPortsAndExternalAddresses) {
  v1::Pod pod = *FindObject(world.state.pods, {"pay", "api-1"});
  v1::ContainerPort& port = *pod.mutable_spec()->mutable_containers(0)->add_ports();
  port.set_container_port(8080);
  port.set_host_port(8888);
  world.Put(Wrap(pod));
  v1::Service service = Api();
  service.mutable_spec()->add_external_ips("192.0.2.12");
  PutService(service);
  Admit("pay", false, "192.0.2.11/32", 8080);
  for (const uint32_t number : {8888U, 80U})
    EXPECT_THAT(Problems(Ask("192.0.2.12", number)), IsEmpty()) << number;
  Admit("pay", false, "192.0.2.99/32", 8080);
  for (const uint32_t number : {8888U, 80U})
    EXPECT_THAT(Problems(Ask("192.0.2.12", number)),
                ElementsAre(HasSubstr("pod pay/api-1: is isolated for ingress")))
        << number;
}

TEST_F(AnotherNodesAddress, IsNotTheGateway) {
  EXPECT_EQ(Oks(Ask("10.244.1.1", 30080)).back(), "pod pay/api-1: listens on TCP 8080");
  EXPECT_THAT(Notes(Ask("10.244.1.1", 22)), ElementsAre(HasSubstr("is node n1 itself")));
  EXPECT_THAT(Notes(Ask("10.244.2.1", 30080)),
              ElementsAre(HasSubstr("is the gateway of node n2's pods")));
}

}  // namespace
}  // namespace mesh::controlplane
