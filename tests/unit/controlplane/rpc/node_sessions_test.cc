// SPDX-License-Identifier: Apache-2.0
// Goal: a node is registered, told what concerns it, and believed in what is its own.
#include <algorithm>
#include <set>
#include <vector>

#include "fmt/format.h"
#include "tests/unit/controlplane/rpc/sessions_world.h"

namespace mesh::controlplane {
namespace {

v1::Resource BoundPod(const std::string& name, const std::string& node) {
  v1::Resource pod = APod(name, node);
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.2");
  return pod;
}

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

TEST_F(NodeSessionsTest, TellsOfANodeAsItsObjectWhatItsDataplaneLacks) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  v1::AgentMessage message;
  message.mutable_ack()->set_error("no room");

  agent.Say(message);

  const auto& events = world_.cache.state().events;
  ASSERT_EQ(events.size(), 1u);
  const v1::Event& event = *events.begin()->second;
  EXPECT_EQ(event.reason(), "DataplaneFailed");
  // `meshctl describe node` shows what is about the object with this uid.
  EXPECT_EQ(event.involved_object().uid(), Node("n1").metadata().uid());
}

// What every node tells comes once; what only one of them has comes too, whoever told first.
TEST_F(NodeSessionsTest, TellsOfAServiceWhatEachNodeTellsOnce) {
  FakeAgent one(world_, sessions_), two(world_, sessions_);
  one.Hello("n1");
  two.Hello("n2", "192.168.0.2");
  ASSERT_TRUE(world_.Create(AService("web")).ok());
  const std::string uid =
      world_.cache.Find(v1::KIND_SERVICE, {"default", "web"})->service().metadata().uid();
  const auto tell = [](FakeAgent& agent, const std::string& service, const std::string& text) {
    v1::AgentMessage message;
    v1::NodeEvent* event = message.mutable_event();
    event->set_namespace_("default");
    event->set_service(service);
    event->set_type("Warning");
    event->set_reason("NotServed");
    event->set_message(text);
    agent.Say(message);
  };

  tell(one, "gone", "no room");
  tell(one, "web", "no room");
  tell(two, "web", "no room");
  tell(two, "web", "port 22 is taken");
  tell(one, "web", "port 80 is taken");

  std::set<std::string> told;
  for (const auto& [key, event] : world_.cache.state().events) {
    told.insert(event->message());
    EXPECT_EQ(event->involved_object().kind(), "Service");
    EXPECT_EQ(event->involved_object().uid(), uid);
  }
  EXPECT_EQ(told, (std::set<std::string>{"node n1: no room", "node n1: port 80 is taken",
                                         "node n2: port 22 is taken"}));

  world_.loop.RunFor(absl::Minutes(11));
  tell(two, "web", "no room");
  const auto& events = world_.cache.state().events;
  EXPECT_TRUE(std::ranges::any_of(
      events, [](const auto& entry) { return entry.second->message() == "node n2: no room"; }));

  for (int i = 0; i < 100; ++i) tell(one, "web", fmt::format("no room for {} rows", i));
  EXPECT_LE(events.size(), 4u + 16u);
}

TEST_F(NodeSessionsTest, TellsOfAPolicyThatIsNotInForce) {
  FakeAgent one(world_, sessions_), two(world_, sessions_);
  one.Hello("n1");
  two.Hello("n2", "192.168.0.2");
  v1::Resource policy;
  policy.mutable_network_policy()->mutable_metadata()->set_namespace_("default");
  policy.mutable_network_policy()->mutable_metadata()->set_name("web");
  ASSERT_TRUE(world_.Create(policy).ok());
  const auto tell = [](FakeAgent& agent, const std::string& name) {
    v1::AgentMessage message;
    v1::NodeEvent* event = message.mutable_event();
    event->set_namespace_("default");
    event->set_network_policy(name);
    event->set_type("Warning");
    event->set_reason("NotInForce");
    event->set_message("no room");
    agent.Say(message);
  };

  tell(one, "gone");
  tell(one, "web");
  tell(two, "web");

  ASSERT_EQ(world_.cache.state().events.size(), 1u);
  const v1::Event& event = *world_.cache.state().events.begin()->second;
  EXPECT_EQ(event.message(), "node n1: no room");
  EXPECT_EQ(event.reason(), "NotInForce");
  EXPECT_EQ(event.involved_object().kind(), "NetworkPolicy");
  EXPECT_EQ(event.involved_object().uid(),
            world_.cache.Find(v1::KIND_NETWORK_POLICY, {"default", "web"})
                ->network_policy()
                .metadata()
                .uid());
}

TEST_F(NodeSessionsTest, TellsOnceWhatStaysUnprogrammed) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  const auto counts = [&] {
    std::map<std::string, int> out;
    for (const auto& [key, event] : world_.cache.state().events) {
      out[event->message()] += event->count();
    }
    return out;
  };

  int64_t revision = 0;
  const auto say = [&](const std::string& error) {
    agent.Ack(++revision, error);
    world_.loop.RunFor(absl::Seconds(20));  // beyond what the writer makes one
  };

  for (int i = 0; i < 5; ++i) say("port 99 is taken");
  EXPECT_EQ(counts(), (std::map<std::string, int>{{"port 99 is taken", 1}}));

  say("port 98 is taken");
  say("");
  say("port 98 is taken");
  EXPECT_EQ(counts(),
            (std::map<std::string, int>{{"port 99 is taken", 1}, {"port 98 is taken", 2}}));

  // Events do not last for ever.
  world_.loop.RunFor(absl::Minutes(10));
  say("port 98 is taken");
  EXPECT_EQ(counts()["port 98 is taken"], 3);
}

TEST_F(NodeSessionsTest, MakesANodeThatWasDeletedRegisterAgainWithItsRange) {
  FakeAgent first(world_, sessions_);
  first.Hello("n0", "192.168.0.9");
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1", "192.168.0.1");
  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());
  ASSERT_TRUE(world_.Delete(v1::KIND_NODE, {"", "n0"}).ok());
  ASSERT_TRUE(world_.Delete(v1::KIND_NODE, {"", "n1"}).ok());
  world_.Settle();

  ASSERT_TRUE(agent.closed());
  EXPECT_EQ(agent.closed()->message(), "node \"n1\" was deleted: it registers anew");

  // Without its wish it would get the first range, which is free again.
  FakeAgent again(world_, sessions_);
  again.Hello("n1", "192.168.0.1", "", "10.244.1.0/24");
  EXPECT_FALSE(again.closed());
  EXPECT_EQ(Node("n1").spec().pod_cidr(), "10.244.1.0/24");
}

TEST_F(NodeSessionsTest, GivesANodeThatComesBackAnotherRangeWhenItsOwnIsTaken) {
  FakeAgent other(world_, sessions_);
  other.Hello("n2", "192.168.0.2");
  FakeAgent late(world_, sessions_);
  late.Hello("n1", "192.168.0.1", "", "10.244.0.0/24");
  EXPECT_EQ(Node("n1").spec().pod_cidr(), "10.244.1.0/24");
  // Of another cluster; no range of a node.
  FakeAgent stray(world_, sessions_);
  stray.Hello("n3", "192.168.0.3", "", "10.99.0.0/24");
  EXPECT_EQ(Node("n3").spec().pod_cidr(), "10.244.2.0/24");
  FakeAgent wide(world_, sessions_);
  wide.Hello("n4", "192.168.0.4", "", "10.244.8.0/23");
  EXPECT_EQ(Node("n4").spec().pod_cidr(), "10.244.3.0/24");
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

  ASSERT_TRUE(world_.Create(BoundPod("web", "n1")).ok());
  // All nodes are told its identity first.
  one.Drain();
  two.Drain();
  EXPECT_EQ(one.Update().pods_size(), 0);
  one.Ack(world_.cache.revision());
  two.Ack(world_.cache.revision());
  two.Drain();

  const v1::NodeUpdate& update = one.Update();
  EXPECT_FALSE(update.full());
  ASSERT_EQ(update.pods_size(), 1);
  EXPECT_EQ(update.revision(), world_.cache.revision());
  for (size_t i = before; i < two.received().size(); ++i) {
    EXPECT_EQ(two.received()[i].update().pods_size(), 0);
  }
}

// Its manifest names a node; the scheduler has not found yet that it fits there.
TEST_F(NodeSessionsTest, SendsAPodThatNamesItsNodeOnceItIsBound) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();
  const size_t before = agent.received().size();

  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());
  EXPECT_EQ(agent.received().size(), before);

  v1::Resource bound = *world_.cache.Find(v1::KIND_POD, {"default", "web"});
  bound.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.2");
  bound.mutable_pod()->mutable_status()->set_identity(256);
  ASSERT_TRUE(world_.Submit({Write::Type::kBind, bound, {}}).ok());
  agent.Drain();  // its identity comes first
  agent.Ack(world_.cache.revision());
  ASSERT_GT(agent.received().size(), before);
  ASSERT_EQ(agent.Update().pods_size(), 1);
  EXPECT_EQ(agent.Update().pods(0).status().pod_ip(), "10.244.0.2");
}

TEST_F(NodeSessionsTest, MergesWhatASlowNodeHasNotTaken) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  ASSERT_TRUE(world_.Create(BoundPod("first", "n1")).ok());  // the identity of all of them
  agent.Drain();
  agent.Ack(world_.cache.revision());
  agent.Drain();
  const size_t before = agent.received().size();

  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(world_.Create(BoundPod("p" + std::to_string(i), "n1")).ok());
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

// Each report is compared with what is stored, which the one before is about to change.
TEST_F(NodeSessionsTest, WritesReportsOfAPodInTheirOrder) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());
  agent.Say(Report("web", "Running"));
  v1::AgentMessage failed = Report("web", "Failed"), running = Report("web", "Running");
  sessions_.OnMessage(agent.id(), failed);
  sessions_.OnMessage(agent.id(), running);
  world_.Settle();
  EXPECT_EQ(Pod("web")->status().phase(), "Running");
}

TEST_F(NodeSessionsTest, KeepsWhatTheSchedulerWroteInAPodsStatus) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  v1::Resource pod = APod("web", "n1");
  pod.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.9");
  v1::Condition* scheduled = pod.mutable_pod()->mutable_status()->add_conditions();
  scheduled->set_type("PodScheduled");
  scheduled->set_status("True");
  ASSERT_TRUE(world_.Create(pod).ok());

  const uint32_t identity = Pod("web")->status().identity();
  ASSERT_NE(identity, 0u);

  v1::AgentMessage report = Report("web", "Running");
  report.mutable_pod()->mutable_status()->set_pod_ip("6.6.6.6");
  report.mutable_pod()->mutable_status()->set_identity(6666);
  agent.Say(report);

  EXPECT_EQ(Pod("web")->status().phase(), "Running");
  EXPECT_EQ(Pod("web")->status().pod_ip(), "10.244.0.9");
  EXPECT_EQ(Pod("web")->status().identity(), identity);
  EXPECT_EQ(Pod("web")->status().conditions(0).type(), "PodScheduled");
}

TEST_F(NodeSessionsTest, KeepsSinceWhenAConditionHoldsWhenANewAgentReports) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  ASSERT_TRUE(world_.Create(APod("web", "n1")).ok());
  const auto report = [&](const std::string& status, int64_t since) {
    v1::AgentMessage message = Report("web", "Running");
    v1::Condition* ready = message.mutable_pod()->mutable_status()->add_conditions();
    ready->set_type("Ready");
    ready->set_status(status);
    ready->mutable_last_transition_time()->set_seconds(since);
    agent.Say(message);
  };
  const auto since = [&] {
    for (const v1::Condition& condition : Pod("web")->status().conditions()) {
      if (condition.type() == "Ready") return condition.last_transition_time().seconds();
    }
    return int64_t{0};
  };

  report("True", 100);
  report("True", 200);
  EXPECT_EQ(since(), 100);
  report("False", 300);
  EXPECT_EQ(since(), 300);
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

// A machine that loses its power says no good-bye: its stream stands for a while yet.
TEST_F(NodeSessionsTest, ASilentNodeIsNotHeardByAWriteThatHasRested) {
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Heartbeat();
  world_.loop.RunFor(absl::Milliseconds(100));
  agent.Heartbeat();
  const absl::Time heard = world_.loop.Now();
  world_.loop.RunFor(absl::Seconds(3));
  v1::Resource silent;
  *silent.mutable_node() = Node("n1");
  v1::Condition& ready = *silent.mutable_node()->mutable_status()->mutable_conditions(0);
  ready.set_status("Unknown");
  ready.mutable_last_transition_time()->set_seconds(absl::ToUnixSeconds(world_.loop.Now()));
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdateStatus, silent, {}}).ok());

  world_.loop.RunFor(absl::Seconds(30));

  EXPECT_EQ(Node("n1").status().conditions(0).status(), "Unknown");
  EXPECT_LE(Node("n1").status().last_heartbeat().seconds(), absl::ToUnixSeconds(heard));
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

}  // namespace
}  // namespace mesh::controlplane
