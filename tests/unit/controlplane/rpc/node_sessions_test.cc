// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_sessions.h"

#include <set>
#include <vector>

#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

// An agent's end of a stream. It takes one message at a time, when told to.
class FakeAgent : public NodeLink {
 public:
  FakeAgent(World& world, NodeSessions& sessions) : world_(world), sessions_(sessions) {
    id_ = sessions_.Open(this);
  }
  ~FakeAgent() override { sessions_.OnClosed(id_); }

  void Send(v1::ControlMessage message) override {
    EXPECT_FALSE(in_flight_) << "two messages at once";
    in_flight_ = true;
    received_.push_back(std::move(message));
  }
  void Close(const absl::Status& status) override { closed_ = status; }

  void Say(const v1::AgentMessage& message) {
    sessions_.OnMessage(id_, message);
    world_.Settle();
  }
  void Hello(const std::string& name, const std::string& ip = "192.168.0.1",
             const std::string& ip6 = "") {
    v1::AgentMessage message;
    message.mutable_hello()->set_node_name(name);
    v1::Node* node = message.mutable_hello()->mutable_node();
    v1::NodeAddress* address = node->mutable_status()->add_addresses();
    address->set_type("InternalIP");
    address->set_address(ip);
    if (!ip6.empty()) {
      v1::NodeAddress* second = node->mutable_status()->add_addresses();
      second->set_type("InternalIP");
      second->set_address(ip6);
    }
    node->mutable_status()->set_agent_endpoint(ip + ":6441");
    Say(message);
  }
  void Ack(int64_t revision) {
    v1::AgentMessage message;
    message.mutable_ack()->set_revision(revision);
    Say(message);
  }
  void Heartbeat(const std::string& ready = "True") {
    v1::AgentMessage message;
    v1::Condition* condition = message.mutable_heartbeat()->add_conditions();
    condition->set_type("Ready");
    condition->set_status(ready);
    Say(message);
  }
  // Takes messages until none comes.
  void Drain() {
    while (in_flight_) {
      in_flight_ = false;
      sessions_.OnSent(id_);
      world_.Settle();
    }
  }
  // The last update, after taking all.
  const v1::NodeUpdate& Update() {
    Drain();
    EXPECT_TRUE(!received_.empty() && received_.back().has_update());
    return received_.back().update();
  }

  const std::vector<v1::ControlMessage>& received() const { return received_; }
  const std::optional<absl::Status>& closed() const { return closed_; }

 private:
  World& world_;
  NodeSessions& sessions_;
  NodeSessions::Id id_;
  bool in_flight_ = false;
  std::vector<v1::ControlMessage> received_;
  std::optional<absl::Status> closed_;
};

class NodeSessionsTest : public ::testing::Test {
 protected:
  const v1::Node& Node(const std::string& name) {
    const auto it = world_.cache.state().nodes.find({"", name});
    EXPECT_NE(it, world_.cache.state().nodes.end());
    return *it->second;
  }
  const v1::Pod* Pod(const std::string& name) {
    const auto it = world_.cache.state().pods.find({"default", name});
    return it == world_.cache.state().pods.end() ? nullptr : it->second.get();
  }
  v1::AgentMessage Report(const std::string& name, const std::string& phase) {
    v1::AgentMessage message;
    v1::PodReport* report = message.mutable_pod();
    report->set_namespace_("default");
    report->set_name(name);
    report->set_uid(Pod(name)->metadata().uid());
    report->mutable_status()->set_phase(phase);
    return message;
  }

  World world_;
  NodeSessions sessions_{world_.loop, world_.cache, world_.writer, {}};
};

TEST_F(NodeSessionsTest, RegistersANodeAndWelcomesItWithItsRange) {
  FakeAgent agent(world_, sessions_);

  agent.Hello("n1", "192.168.0.7");
  agent.Drain();

  ASSERT_EQ(agent.received().size(), 2u);
  const v1::Welcome& welcome = agent.received()[0].welcome();
  EXPECT_EQ(welcome.pod_cidr(), "10.244.0.0/24");
  EXPECT_EQ(welcome.cluster_domain(), "cluster.local");
  EXPECT_TRUE(agent.received()[1].update().full());
  EXPECT_EQ(Node("n1").status().agent_endpoint(), "192.168.0.7:6441");
  EXPECT_EQ(Node("n1").metadata().labels().at("kubernetes.io/hostname"), "n1");
  EXPECT_TRUE(Node("n1").status().has_last_heartbeat());
}

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

TEST_F(NodeSessionsTest, WelcomesANodeAnewWhenItsZoneChanges) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();
  const size_t before = agent.received().size();

  v1::Resource node = *world_.cache.Find(v1::KIND_NODE, {"", "n1"});
  (*node.mutable_node()->mutable_metadata()->mutable_labels())["topology.kubernetes.io/zone"] = "b";
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, node, {}}).ok());
  agent.Drain();

  ASSERT_EQ(agent.received().size(), before + 1);
  EXPECT_EQ(agent.received().back().welcome().zone(), "b");
  EXPECT_EQ(agent.received().back().welcome().pod_cidr(), "10.244.0.0/24");
  // Heartbeats say nothing new of it.
  agent.Heartbeat();
  world_.loop.RunFor(absl::Seconds(30));
  agent.Drain();
  EXPECT_EQ(agent.received().size(), before + 1);
}

TEST_F(NodeSessionsTest, KeepsRangeAndLabelsOfANodeThatComesBack) {
  {
    FakeAgent agent(world_, sessions_);
    agent.Hello("n1");
    v1::Resource node = *world_.cache.Find(v1::KIND_NODE, {"", "n1"});
    (*node.mutable_node()->mutable_metadata()->mutable_labels())["disk"] = "ssd";
    ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, node, {}}).ok());
  }
  FakeAgent other(world_, sessions_);
  other.Hello("n0", "192.168.0.9");
  FakeAgent again(world_, sessions_);
  again.Hello("n1", "192.168.0.2");

  EXPECT_EQ(Node("n1").spec().pod_cidr(), "10.244.0.0/24");
  EXPECT_EQ(Node("n1").metadata().labels().at("disk"), "ssd");
  EXPECT_EQ(Node("n1").status().addresses(0).address(), "192.168.0.2");
}

TEST_F(NodeSessionsTest, EndsAStreamThatDoesNotBeginWithHello) {
  FakeAgent agent(world_, sessions_);

  agent.Ack(1);

  ASSERT_TRUE(agent.closed());
  EXPECT_EQ(agent.closed()->code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(NodeSessionsTest, LetsTheNewerStreamOfANodeWin) {
  FakeAgent old(world_, sessions_);
  old.Hello("n1");
  FakeAgent fresh(world_, sessions_);

  fresh.Hello("n1");

  ASSERT_TRUE(old.closed());
  EXPECT_FALSE(fresh.closed());
  EXPECT_TRUE(sessions_.IsConnected("n1"));
}

TEST_F(NodeSessionsTest, SendsPodsToTheirNodeOnly) {
  FakeAgent one(world_, sessions_);
  FakeAgent two(world_, sessions_);
  one.Hello("n1", "192.168.0.1");
  two.Hello("n2", "192.168.0.2");
  one.Drain();
  two.Drain();
  const size_t before = two.received().size();

  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());

  const v1::NodeUpdate& update = one.Update();
  EXPECT_FALSE(update.full());
  ASSERT_EQ(update.pods_size(), 1);
  EXPECT_EQ(update.revision(), world_.cache.revision());
  EXPECT_EQ(two.received().size(), before);
}

TEST_F(NodeSessionsTest, MergesWhatASlowNodeHasNotTaken) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();
  const size_t before = agent.received().size();

  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(world_.Create(APod("p" + std::to_string(i), "n1")).ok());
  }
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "p3"}, {.grace_period_seconds = 0}).ok());
  agent.Drain();

  ASSERT_EQ(agent.received().size(), before + 2) << "the first, then all the rest in one";
  const v1::NodeUpdate& rest = agent.received().back().update();
  EXPECT_EQ(rest.pods_size(), 8);
  EXPECT_EQ(rest.removed_pod_uids_size(), 1);
}

TEST_F(NodeSessionsTest, TellsOthersOfANewNodeAndANodeNotOfItself) {
  FakeAgent one(world_, sessions_);
  one.Hello("n1", "192.168.0.1");
  one.Drain();
  FakeAgent two(world_, sessions_);
  two.Hello("n2", "192.168.0.2");

  const v1::NodeUpdate& update = one.Update();
  ASSERT_EQ(update.nodes_size(), 1);
  EXPECT_EQ(update.nodes(0).name(), "n2");
  EXPECT_EQ(update.nodes(0).pod_cidr(), "10.244.1.0/24");
  ASSERT_EQ(two.Update().nodes_size(), 1);
  EXPECT_EQ(two.Update().nodes(0).name(), "n1");
}

TEST_F(NodeSessionsTest, DoesNotAnswerAStatusReportWithAnUpdate) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());
  agent.Drain();
  const size_t before = agent.received().size();

  agent.Say(Report("web", "Running"));
  agent.Heartbeat();
  world_.loop.RunFor(absl::Seconds(3));
  agent.Drain();

  EXPECT_EQ(Pod("web")->status().phase(), "Running");
  EXPECT_EQ(agent.received().size(), before);
}

TEST_F(NodeSessionsTest, KeepsWhatTheSchedulerWroteInAPodsStatus) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  v1::Resource pod = APod("web", "n1");
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.9");
  pod.mutable_pod()->mutable_status()->set_identity(300);
  v1::Condition* scheduled = pod.mutable_pod()->mutable_status()->add_conditions();
  scheduled->set_type("PodScheduled");
  scheduled->set_status("True");
  ASSERT_TRUE(world_.Create(pod).ok());

  v1::AgentMessage report = Report("web", "Running");
  report.mutable_pod()->mutable_status()->set_pod_ip("6.6.6.6");
  agent.Say(report);

  EXPECT_EQ(Pod("web")->status().phase(), "Running");
  EXPECT_EQ(Pod("web")->status().pod_ip(), "10.244.0.9");
  EXPECT_EQ(Pod("web")->status().identity(), 300u);
  EXPECT_EQ(Pod("web")->status().conditions(0).type(), "PodScheduled");
}

TEST_F(NodeSessionsTest, RemovesATerminatingPodWhenItsNodeHasStoppedIt) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());
  v1::AgentMessage report = Report("web", "Succeeded");
  report.mutable_pod()->set_terminated(true);

  agent.Say(report);
  ASSERT_NE(Pod("web"), nullptr) << "nobody has deleted it";
  ASSERT_TRUE(world_.Create(APod("api", "n1")).ok());
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "api"}).ok());
  ASSERT_NE(Pod("api"), nullptr);
  report = Report("api", "Succeeded");
  report.mutable_pod()->set_terminated(true);
  agent.Say(report);

  EXPECT_EQ(Pod("api"), nullptr);
}

TEST_F(NodeSessionsTest, IgnoresReportsOfPodsThatAreNotTheNodes) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  ASSERT_TRUE(world_.Create(APod("web", "n2")).ok());
  agent.Say(Report("web", "Failed"));
  EXPECT_EQ(Pod("web")->status().phase(), "");

  ASSERT_TRUE(world_.Create(APod("mine", "n1")).ok());
  v1::AgentMessage stale = Report("mine", "Failed");
  stale.mutable_pod()->set_uid("of-the-one-before");
  agent.Say(stale);
  EXPECT_EQ(Pod("mine")->status().phase(), "");
}

TEST_F(NodeSessionsTest, WritesHeartbeatsAndAcksAtMostOncePerInterval) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();
  agent.Heartbeat();
  const Revision before = world_.cache.revision();

  for (int i = 0; i < 100; ++i) {
    agent.Heartbeat();
    agent.Ack(before + i);
    world_.loop.RunFor(absl::Milliseconds(100));
  }

  EXPECT_LE(world_.cache.revision() - before, 12);
  EXPECT_GE(world_.cache.revision() - before, 8);
  EXPECT_EQ(world_.cache.state().heard.at("n1"), world_.loop.Now() - absl::Milliseconds(100));
  EXPECT_GE(Node("n1").status().dataplane_revision(), before + 80);
  EXPECT_EQ(sessions_.AckedRevision("n1"), before + 99);
}

TEST_F(NodeSessionsTest, WritesFewOfTheHeartbeatsThatTellNothingNew) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();
  agent.Heartbeat();
  const Revision before = world_.cache.revision();

  for (int i = 0; i < 60; ++i) {
    agent.Heartbeat();
    world_.loop.RunFor(absl::Seconds(1));
  }

  EXPECT_GE(world_.cache.revision() - before, 5);
  EXPECT_LE(world_.cache.revision() - before, 7);
}

TEST_F(NodeSessionsTest, WritesTheHeartbeatOfANodeThatWasGivenUpAtOnce) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Heartbeat();
  world_.loop.RunFor(absl::Milliseconds(100));
  v1::Resource doubted;
  *doubted.mutable_node() = Node("n1");
  doubted.mutable_node()->mutable_status()->mutable_conditions(0)->set_status("Unknown");
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdateStatus, doubted, {}}).ok());
  ASSERT_EQ(Node("n1").status().conditions(0).status(), "Unknown");

  agent.Heartbeat();

  EXPECT_EQ(Node("n1").status().conditions(0).status(), "True");
}

TEST_F(NodeSessionsTest, WritesAChangedConditionAtOnce) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Heartbeat("True");
  ASSERT_EQ(Node("n1").status().conditions(0).status(), "True");

  agent.Heartbeat("False");

  EXPECT_EQ(Node("n1").status().conditions(0).status(), "False");
}

TEST_F(NodeSessionsTest, TurnsAnEventOfTheNodeIntoAnEventOfThePod) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  v1::AgentMessage message;
  message.mutable_event()->set_namespace_("default");
  message.mutable_event()->set_pod("web");
  message.mutable_event()->set_type("Normal");
  message.mutable_event()->set_reason("Pulled");

  agent.Say(message);

  ASSERT_EQ(world_.cache.state().events.size(), 1u);
  EXPECT_EQ(world_.cache.state().events.begin()->second->involved_object().name(), "web");
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
  EXPECT_THAT(Told(two, two_had), testing::ElementsAre("+10.244.0.2 fd00:10:244::2 256"));

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
  EXPECT_THAT(Told(again, 0), testing::ElementsAre("+10.244.0.2 fd00:10:244::2 256"));
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
  EXPECT_TRUE(told.contains("+10.244.0.2 fd00:10:244::2 256"));
  EXPECT_TRUE(told.contains("+10.244.0.9 fd00:10:244::9 256"));
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
