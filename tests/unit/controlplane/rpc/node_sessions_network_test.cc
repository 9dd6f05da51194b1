// SPDX-License-Identifier: Apache-2.0
// Goal: nodes hear of each other: ranges and peers, identities, and the stop of a pod.
#include <set>
#include <vector>

#include "tests/unit/controlplane/rpc/sessions_world.h"

namespace mesh::controlplane {
namespace {

TEST(DualStackSessions, TellNodesTheirRangesAndPeersOfBothFamilies) {
  Writer::Options options;
  options.admission.cluster_cidr = "10.244.0.0/16,fd00:10:244::/56";
  options.admission.service_cidr = "10.96.0.0/16,fd00:10:96::/108";
  World world(options);
  NodeSessions sessions(world.loop, world.cache, world.writer,
                        {.cluster_cidr = options.admission.cluster_cidr,
                         .service_cidr = options.admission.service_cidr,
                         .routing = v1::Welcome::NATIVE});
  FakeAgent one(world, sessions);
  one.Hello("n1", "192.168.0.1", "fd00:1::1");
  FakeAgent two(world, sessions);
  two.Hello("n2", "192.168.0.2");
  const v1::NodeUpdate update = two.Update();

  const v1::Welcome& welcome = two.received()[0].welcome();
  EXPECT_EQ(welcome.cluster_cidr(), "10.244.0.0/16");
  EXPECT_EQ(welcome.service_cidr(), "10.96.0.0/16");
  EXPECT_EQ(welcome.pod_cidr(), "10.244.1.0/24");
  EXPECT_EQ(welcome.pod_cidr6(), "fd00:10:244:1::/64");
  EXPECT_EQ(welcome.cluster_cidr6(), "fd00:10:244::/56");
  EXPECT_EQ(welcome.service_cidr6(), "fd00:10:96::/108");
  EXPECT_EQ(welcome.routing(), v1::Welcome::NATIVE);
  ASSERT_EQ(update.nodes_size(), 1);
  EXPECT_EQ(update.nodes(0).ip(), "192.168.0.1");
  EXPECT_EQ(update.nodes(0).ip6(), "fd00:1::1");
  EXPECT_EQ(update.nodes(0).pod_cidr6(), "fd00:10:244::/64");
  // A node without an IPv6 address of its own is a peer all the same.
  one.Drain();
  EXPECT_EQ(one.Update().nodes(0).ip6(), "");
}

// ---- The stop of a pod waits until no node sends it new flows.

class StoppingPodTest : public NodeSessionsTest {
 protected:
  StoppingPodTest() {
    one_.Hello("n1", "192.168.0.1");
    two_.Hello("n2", "192.168.0.2");
    v1::Resource pod = APod("web", "n1");
    pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.9");
    EXPECT_TRUE(world_.Create(pod).ok());
    EXPECT_TRUE(world_.Create(AService("web")).ok());
    slice_.mutable_endpoint_slice()->mutable_metadata()->set_namespace_("default");
    slice_.mutable_endpoint_slice()->mutable_metadata()->set_name("web");
    (*slice_.mutable_endpoint_slice()
          ->mutable_metadata()
          ->mutable_labels())["kubernetes.io/service-name"] = "web";
    v1::EndpointPort* port = slice_.mutable_endpoint_slice()->add_ports();
    port->set_protocol("TCP");
    port->set_port(8080);
    v1::Endpoint* endpoint = slice_.mutable_endpoint_slice()->add_endpoints();
    endpoint->add_addresses("10.244.0.9");
    endpoint->mutable_conditions()->set_ready(true);
    endpoint->mutable_conditions()->set_serving(true);
    slice_ = *world_.Create(slice_)->resource;
    AckAll();
  }

  void AckAll() {
    one_.Ack(one_.Update().revision());
    two_.Ack(two_.Update().revision());
    one_.Drain();
    two_.Drain();
  }
  // What the endpoints controller does with a terminating pod.
  void MarkDraining() {
    auto* conditions = slice_.mutable_endpoint_slice()->mutable_endpoints(0)->mutable_conditions();
    conditions->set_ready(false);
    conditions->set_terminating(true);
    slice_ = *world_.Submit({Write::Type::kUpdate, slice_, {}})->resource;
  }
  bool ToldToStop() {
    one_.Drain();
    for (const v1::ControlMessage& message : one_.received()) {
      for (const v1::Pod& pod : message.update().pods()) {
        if (pod.metadata().has_deletion_timestamp()) return true;
      }
    }
    return false;
  }

  FakeAgent one_{world_, sessions_};
  FakeAgent two_{world_, sessions_};
  v1::Resource slice_;
};

TEST_F(StoppingPodTest, WaitsForEveryNodesAcknowledgement) {
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "web"}).ok());
  EXPECT_FALSE(ToldToStop()) << "the Service still sends to it";
  MarkDraining();
  EXPECT_FALSE(ToldToStop()) << "no node has acknowledged";
  one_.Ack(one_.Update().revision());
  EXPECT_FALSE(ToldToStop()) << "one node has not";

  two_.Ack(two_.Update().revision());

  EXPECT_TRUE(ToldToStop());
}

// A host port that no node can serve stays so: the rest of the revision holds.
TEST_F(StoppingPodTest, TakesANodesWordForTheRevisionItHasReached) {
  const int64_t before = two_.Update().revision();
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "web"}).ok());
  MarkDraining();
  one_.Ack(one_.Update().revision());
  const int64_t draining = two_.Update().revision();

  two_.Ack(before, "revision 9: no room");
  EXPECT_FALSE(ToldToStop()) << "its maps are those of before";
  two_.Ack(draining, "pod default/db: hostPort 99: hostIP 127.0.0.1 is not this node's");

  EXPECT_TRUE(ToldToStop());
}

TEST_F(StoppingPodTest, DoesNotWaitForANodeThatIsGone) {
  auto third = std::make_unique<FakeAgent>(world_, sessions_);
  third->Hello("n3", "192.168.0.3");
  third->Drain();
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "web"}).ok());
  MarkDraining();
  AckAll();
  EXPECT_FALSE(ToldToStop());

  third.reset();
  world_.Settle();

  EXPECT_TRUE(ToldToStop());
}

TEST_F(StoppingPodTest, WaitsNoLongerThanItsBound) {
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "web"}).ok());

  world_.loop.RunFor(absl::Milliseconds(1900));
  EXPECT_FALSE(ToldToStop());
  world_.loop.RunFor(absl::Milliseconds(200));

  EXPECT_TRUE(ToldToStop());
}

TEST_F(StoppingPodTest, TellsAtOnceWhenNoServiceKnowsThePod) {
  v1::Resource pod = APod("job", "n1");
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.77");
  ASSERT_TRUE(world_.Create(pod).ok());
  AckAll();

  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "job"}).ok());

  EXPECT_TRUE(ToldToStop());
}

class IdentitiesTest : public ::testing::Test {
 protected:
  IdentitiesTest() {
    one.Hello("n1", "192.168.0.1");
    two.Hello("n2", "192.168.0.2");
    one.Drain();
    two.Drain();
  }
  static Writer::Options DualStack() {
    Writer::Options out;
    out.admission.cluster_cidr = "10.244.0.0/16,fd00:10:244::/56";
    out.admission.service_cidr = "10.96.0.0/16,fd00:10:96::/108";
    return out;
  }
  void Bind(const std::string& name, const std::string& node, const std::string& ip,
            const std::string& ip6) {
    ASSERT_TRUE(world.Create(APod(name)).ok());
    v1::Resource bound = *world.cache.Find(v1::KIND_POD, {"default", name});
    bound.mutable_pod()->mutable_spec()->set_node_name(node);
    v1::PodStatus* status = bound.mutable_pod()->mutable_status();
    status->set_identity(256);
    status->set_pod_ip(ip);
    status->add_pod_ips()->set_ip(ip);
    status->add_pod_ips()->set_ip(ip6);
    ASSERT_TRUE(world.Submit({Write::Type::kBind, bound, {}}).ok());
  }
  void Remove(const std::string& name) {
    ASSERT_TRUE(
        world.Submit({Write::Type::kRemove, *world.cache.Find(v1::KIND_POD, {"default", name}), {}})
            .ok());
  }
  // What the agent was told from its message `from` on: "+ip ip6 identity" and "-ip".
  static std::vector<std::string> Told(const FakeAgent& agent, size_t from) {
    std::vector<std::string> out;
    for (size_t i = from; i < agent.received().size(); ++i) {
      const v1::NodeUpdate& update = agent.received()[i].update();
      for (const auto& ip : update.removed_pod_ips()) out.push_back("-" + ip);
      for (const auto& row : update.pod_identities()) {
        out.push_back("+" + row.ip() + " " + row.ip6() + " " + std::to_string(row.identity()));
      }
    }
    return out;
  }

  World world{DualStack()};
  NodeSessions sessions{world.loop,
                        world.cache,
                        world.writer,
                        {.cluster_cidr = DualStack().admission.cluster_cidr,
                         .service_cidr = DualStack().admission.service_cidr,
                         .routing = v1::Welcome::NATIVE}};
  FakeAgent one{world, sessions};
  FakeAgent two{world, sessions};
};

TEST_F(IdentitiesTest, OfOtherNodesPodsComeAndGoWithThePods) {
  const size_t one_had = one.received().size();
  const size_t two_had = two.received().size();

  Bind("a", "n1", "10.244.0.2", "fd00:10:244::2");
  one.Drain();
  two.Drain();
  EXPECT_THAT(Told(one, one_had), testing::IsEmpty()) << "its own";
  EXPECT_THAT(Told(two, two_had), testing::ElementsAre("+10.244.0.2 fd00:10:244::2 258"));

  // What the node reports of the pod is nobody else's news.
  const size_t two_has = two.received().size();
  v1::AgentMessage report;
  report.mutable_pod()->set_namespace_("default");
  report.mutable_pod()->set_name("a");
  report.mutable_pod()->set_uid(world.cache.state().pods.at({"default", "a"})->metadata().uid());
  report.mutable_pod()->mutable_status()->set_phase("Running");
  one.Say(report);
  two.Drain();
  EXPECT_EQ(two.received().size(), two_has);

  Remove("a");
  one.Drain();
  two.Drain();
  EXPECT_THAT(Told(one, one_had), testing::IsEmpty());
  EXPECT_THAT(Told(two, two_has), testing::ElementsAre("-10.244.0.2"));
}

TEST_F(IdentitiesTest, AreWholeForANodeThatComesBack) {
  Bind("a", "n1", "10.244.0.2", "fd00:10:244::2");
  Bind("b", "n2", "10.244.1.2", "fd00:10:244:1::2");
  FakeAgent again(world, sessions);

  again.Hello("n2", "192.168.0.2");
  again.Drain();

  EXPECT_TRUE(again.received().back().update().full());
  EXPECT_THAT(Told(again, 0), testing::ElementsAre("+10.244.0.2 fd00:10:244::2 258"));
}

TEST_F(IdentitiesTest, FollowAnAddressToItsNextPod) {
  Bind("a", "n1", "10.244.0.2", "fd00:10:244::2");
  two.Drain();
  const size_t had = two.received().size();

  // While the node takes nothing: one increment says both.
  Bind("other", "n1", "10.244.0.9", "fd00:10:244::9");
  Remove("a");
  Bind("b", "n1", "10.244.0.2", "fd00:10:244::2");
  two.Drain();

  std::set<std::string> told;
  for (const std::string& line : Told(two, had)) told.insert(line);
  EXPECT_TRUE(told.contains("+10.244.0.2 fd00:10:244::2 258"));
  EXPECT_TRUE(told.contains("+10.244.0.9 fd00:10:244::9 258"));
  const v1::NodeUpdate& last = two.received().back().update();
  EXPECT_THAT(last.removed_pod_ips(), testing::Not(testing::Contains("10.244.0.2")));
}

TEST_F(NodeSessionsTest, TellsNoIdentitiesWherePacketsCarryThem) {
  FakeAgent one(world_, sessions_);
  one.Hello("n1");
  FakeAgent two(world_, sessions_);
  two.Hello("n2", "192.168.0.2");
  v1::Resource pod = APod("a", "n1");
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.2");
  pod.mutable_pod()->mutable_status()->set_identity(256);
  ASSERT_TRUE(world_.Create(pod).ok());
  two.Drain();

  for (const auto& message : two.received()) {
    EXPECT_THAT(message.update().pod_identities(), testing::IsEmpty());
  }
}

}  // namespace
}  // namespace mesh::controlplane
