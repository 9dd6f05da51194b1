// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/scheduler.h"

#include <map>
#include <set>

#include "common/random.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/scheduler/fit.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SchedulerTest : public ::testing::Test {
 protected:
  ReconcileResult Schedule() { return scheduler.Schedule(world.state, world.now); }
  // Pod -> node of the bindings of one pass, which are applied.
  std::map<std::string, std::string> Place() {
    std::map<std::string, std::string> out;
    const ReconcileResult result = Schedule();
    for (const Write& write : result.writes)
      if (write.type == Write::Type::kBind)
        out[KeyOf(write.resource).name] = write.resource.pod().spec().node_name();
    world.Apply(result);
    return out;
  }
  std::map<std::string, int> PerNode() {
    std::map<std::string, int> out;
    for (const auto& [pod, node] : Place()) ++out[node];
    return out;
  }
  void Ask(const std::string& pod, const std::string& cpu, const std::string& memory = "0") {
    auto* resources = world.pod(pod).mutable_spec()->mutable_containers(0)->mutable_resources();
    (*resources->mutable_requests())["cpu"].set_text(cpu);
    (*resources->mutable_requests())["memory"].set_text(memory);
  }
  // The message of the condition PodScheduled=False that the pass writes.
  std::string WhyNot(const std::string& pod) {
    for (const Write& write : Schedule().writes) {
      if (KeyOf(write.resource).name != pod || write.type != Write::Type::kUpdateStatus) continue;
      const v1::Condition* condition =
          FindCondition(write.resource.pod().status().conditions(), "PodScheduled");
      if (condition != nullptr && condition->status() == "False") return condition->message();
    }
    return "";
  }

  ClusterWorld world;
  Scheduler scheduler;
};

TEST_F(SchedulerTest, GivesAPortOfANodeToOnePod) {
  world.AddNode("a");
  world.AddNode("b");
  for (const char* name : {"p", "q", "r"}) {
    v1::ContainerPort* port =
        world.AddPod(name, "web").mutable_spec()->mutable_containers(0)->add_ports();
    port->set_container_port(80);
    port->set_host_port(8080);
  }
  world.AddPod("s", "web").mutable_spec()->mutable_containers(0)->add_ports()->set_host_port(8081);

  const auto placed = Place();

  EXPECT_EQ(placed.size(), 3u);
  EXPECT_NE(placed.at("p"), placed.at("q"));
  EXPECT_EQ(
      FindCondition(world.pod("r").status().conditions(), "PodScheduled")->message(),
      "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports.");
}

TEST_F(SchedulerTest, RefusesAHostPortThatIsANodePortAndNamesTheService) {
  world.AddNode("a");
  world.AddService("shop", "shop").mutable_spec()->mutable_ports(0)->set_node_port(30080);
  world.AddPod("p", "web").mutable_spec()->mutable_containers(0)->add_ports()->set_host_port(30080);

  const ReconcileResult result = Schedule();

  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].reason, "FailedScheduling");
  EXPECT_EQ(result.events[0].message,
            "0/1 nodes are available: hostPort 30080 is a node port of Service default/shop on "
            "every node.");
}

TEST_F(SchedulerTest, LooksAgainWhenANodePortGoes) {
  const auto with = [](int32_t node_port) {
    auto out = std::make_shared<v1::Resource>();
    out->mutable_service()->mutable_spec()->add_ports()->set_node_port(node_port);
    return out;
  };
  EXPECT_TRUE(Scheduler::Concerns({.before = with(30080), .after = nullptr}));
  EXPECT_TRUE(Scheduler::Concerns({.before = with(30080), .after = with(0)}));
  EXPECT_FALSE(Scheduler::Concerns({.before = nullptr, .after = with(30080)}));
  EXPECT_FALSE(Scheduler::Concerns({.before = with(0), .after = nullptr}));
}

TEST(HostPort, ConflictsByAddressProtocolAndNumber) {
  const HostPort any{"", "TCP", 80};
  EXPECT_TRUE(any.Conflicts({"10.0.0.1", "TCP", 80}));
  EXPECT_FALSE(any.Conflicts({"", "UDP", 80}));
  EXPECT_FALSE(any.Conflicts({"", "TCP", 81}));
  EXPECT_FALSE((HostPort{"10.0.0.1", "TCP", 80}).Conflicts({"10.0.0.2", "TCP", 80}));

  const HostPort any4{"0.0.0.0", "TCP", 80};
  const HostPort any6{"::", "TCP", 80};
  EXPECT_FALSE(any4.Conflicts(any6));
  EXPECT_TRUE(any4.Conflicts({"10.0.0.1", "TCP", 80}));
  EXPECT_FALSE(any4.Conflicts({"fd00::1", "TCP", 80}));
  EXPECT_TRUE((HostPort{"fd00::1", "TCP", 80}).Conflicts(any6));
  EXPECT_TRUE(any6.Conflicts(any));
  EXPECT_TRUE(any.Conflicts(any4));
}

TEST_F(SchedulerTest, BindsWithAddressIdentityAndEvent) {
  world.AddNode("a");
  world.AddPod("p", "web");

  const ReconcileResult result = Schedule();

  ASSERT_EQ(result.writes.size(), 1u);
  EXPECT_EQ(result.writes[0].type, Write::Type::kBind);
  const v1::Pod& pod = result.writes[0].resource.pod();
  EXPECT_EQ(pod.spec().node_name(), "a");
  EXPECT_EQ(pod.status().pod_ip(), "10.244.0.2");
  EXPECT_EQ(pod.status().pod_ips(0).ip(), "10.244.0.2");
  EXPECT_EQ(pod.status().identity(), 256u);
  EXPECT_TRUE(IsConditionTrue(pod.status().conditions(), "PodScheduled"));
  ASSERT_EQ(result.events.size(), 1u);
  EXPECT_EQ(result.events[0].message, "Successfully assigned default/p to a");
}

TEST_F(SchedulerTest, IsDoneWhenEverythingIsPlaced) {
  world.AddNode("a");
  for (int i = 0; i < 10; ++i) world.AddPod("p" + std::to_string(i), "web");

  Place();

  EXPECT_THAT(Describe(Schedule()), IsEmpty());
}

TEST_F(SchedulerTest, NamesWhatEachNodeLacksInKubernetesWording) {
  world.AddNode("small", "1", "8Gi", {{"disk", "ssd"}});
  world.AddNode("slow");
  world.AddNode("cordoned", "8", "8Gi", {{"disk", "ssd"}}).mutable_spec()->set_unschedulable(true);
  world.AddNode("silent", "8", "8Gi", {{"disk", "ssd"}});
  world.Silence("silent");
  world.AddPod("p", "web");
  (*world.pod("p").mutable_spec()->mutable_node_selector())["disk"] = "ssd";
  Ask("p", "2", "16Gi");

  EXPECT_EQ(WhyNot("p"),
            "0/4 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) didn't "
            "match Pod's node affinity/selector, 1 node(s) were not ready, 1 node(s) were "
            "unschedulable.");
}

TEST_F(SchedulerTest, SaysSoWhenThereAreNoNodes) {
  world.AddPod("p", "web");
  EXPECT_EQ(WhyNot("p"), "no nodes available to schedule pods");
}

TEST_F(SchedulerTest, TellsTheSameReasonOnlyOnce) {
  world.AddPod("p", "web");

  const ReconcileResult first = Schedule();
  ASSERT_EQ(first.events.size(), 1u);
  EXPECT_EQ(first.events[0].reason, "FailedScheduling");
  EXPECT_EQ(first.events[0].type, "Warning");
  world.Apply(first);

  EXPECT_THAT(Schedule().events, IsEmpty());
}

TEST_F(SchedulerTest, SpreadsPodsOfOneOwner) {
  for (const char* node : {"a", "b", "c"}) world.AddNode(node);
  world.AddReplicaSet("web", "web", 6);
  for (int i = 0; i < 6; ++i) world.AddPodOf("web", "p" + std::to_string(i));

  EXPECT_THAT(PerNode(), ElementsAre(std::pair{"a", 2}, std::pair{"b", 2}, std::pair{"c", 2}));
}

TEST_F(SchedulerTest, SpreadsEvenWhereAnEmptierNodeCalls) {
  world.AddNode("big", "64", "64Gi");
  world.AddNode("small", "2", "2Gi");
  world.AddReplicaSet("web", "web", 2);
  world.AddPodOf("web", "p0");
  world.AddPodOf("web", "p1");

  EXPECT_THAT(PerNode(), ElementsAre(std::pair{"big", 1}, std::pair{"small", 1}));
}

TEST_F(SchedulerTest, SpreadsPodsOfOneServiceAcrossOwners) {
  world.AddNode("a");
  world.AddNode("b");
  world.AddService("web", "web");
  world.AddReplicaSet("old", "web", 1);
  world.AddReplicaSet("new", "web", 1);
  world.AddPodOf("old", "old-1", "a", true);
  world.AddPodOf("new", "new-1");

  EXPECT_EQ(Place()["new-1"], "b");
}

TEST_F(SchedulerTest, PrefersTheLeastAllocatedNode) {
  world.AddNode("a");
  world.AddNode("b");
  world.AddPod("big", "big", "a", true);
  Ask("big", "3", "1Gi");
  world.AddPod("p", "web");

  EXPECT_EQ(Place()["p"], "b");
}

TEST_F(SchedulerTest, PlacesABurstWithinTheRoomThereIs) {
  world.AddNode("a", "2");
  world.AddNode("b", "3");
  for (int i = 0; i < 8; ++i) {
    world.AddPod("p" + std::to_string(i), "web");
    Ask("p" + std::to_string(i), "1");
  }

  EXPECT_THAT(PerNode(), ElementsAre(std::pair{"a", 2}, std::pair{"b", 3}));
}

TEST_F(SchedulerTest, CountsPodsAgainstTheNodesLimit) {
  (*world.AddNode("a").mutable_status()->mutable_allocatable())["pods"].set_text("2");
  for (int i = 0; i < 3; ++i) world.AddPod("p" + std::to_string(i), "web");

  EXPECT_EQ(Place().size(), 2u);
  world.now += absl::Seconds(1);
  world.AddPod("late", "web");
  EXPECT_EQ(WhyNot("late"), "0/1 nodes are available: 1 Too many pods.");
}

TEST_F(SchedulerTest, ForgetsFinishedPods) {
  world.AddNode("a", "1");
  world.AddPod("done", "web", "a").mutable_status()->set_phase("Succeeded");
  Ask("done", "1");
  world.AddPod("p", "web");
  Ask("p", "1");

  EXPECT_EQ(Place()["p"], "a");
}

TEST_F(SchedulerTest, LeavesPodsThatAreOnTheirWayOut) {
  world.AddNode("a");
  world.AddPod("p", "web");
  world.Terminate("p");

  EXPECT_THAT(Place(), IsEmpty());
}

TEST_F(SchedulerTest, GivesAddressesOfBothFamiliesWithOneNumber) {
  v1::Node node = world.AddNode("a");
  node.mutable_spec()->add_pod_cidrs(node.spec().pod_cidr());
  node.mutable_spec()->add_pod_cidrs("fd00:10:244:7::/64");
  world.Put(Wrap(node));
  world.AddPod("one", "web");
  world.AddPod("two", "web");

  Place();

  const auto ips = [&](const std::string& name) {
    std::vector<std::string> out;
    for (const v1::PodIP& ip : world.pod(name).status().pod_ips()) out.push_back(ip.ip());
    return out;
  };
  EXPECT_THAT(ips("one"), ElementsAre("10.244.0.2", "fd00:10:244:7::2"));
  EXPECT_THAT(ips("two"), ElementsAre("10.244.0.3", "fd00:10:244:7::3"));
  EXPECT_EQ(world.pod("two").status().pod_ip(), "10.244.0.3");
}

TEST_F(SchedulerTest, GivesAPodThatTheUserPlacedItsAddress) {
  world.AddNode("a");
  world.AddNode("b").mutable_spec()->set_unschedulable(true);
  world.AddPod("p", "web").mutable_spec()->set_node_name("b");
  world.AddPod("lost", "web").mutable_spec()->set_node_name("nowhere");

  const ReconcileResult result = Schedule();
  EXPECT_THAT(Describe(result), ElementsAre("bind p", "status lost"));
  EXPECT_EQ(result.events[1].message,
            "0/2 nodes are available: 2 node(s) didn't match the requested node name.");
  world.Apply(result);
  EXPECT_EQ(world.pod("p").spec().node_name(), "b");
  EXPECT_EQ(world.pod("p").status().pod_ip(), "10.244.1.2");
}

TEST_F(SchedulerTest, WaitsForTheIdentityOfTheNamespace) {
  v1::Namespace ns = *world.state.namespaces.at({"", "default"});
  ns.mutable_status()->set_identity(0);
  world.Put(Wrap(ns));
  world.AddNode("a");
  world.AddPod("p", "web");

  EXPECT_THAT(Describe(Schedule()), IsEmpty());
}

TEST_F(SchedulerTest, HandsOutEveryAddressOfItsPartOfTheRangeOnce) {
  (*world.AddNode("a", "400", "400Gi").mutable_status()->mutable_allocatable())["pods"].set_text(
      "1000");
  for (int i = 0; i < 250; ++i) world.AddPod(fmt::format("p{:03}", i), "web");

  Place();

  std::set<std::string> addresses;
  for (const auto& [key, pod] : world.state.pods)
    if (!pod->status().pod_ip().empty()) addresses.insert(pod->status().pod_ip());
  EXPECT_EQ(addresses.size(), 238u);  // .2 to .239
  EXPECT_TRUE(addresses.contains("10.244.0.2"));
  EXPECT_TRUE(addresses.contains("10.244.0.239"));
  EXPECT_FALSE(addresses.contains("10.244.0.240"));
  world.now += absl::Seconds(1);
  world.AddPod("late", "web");
  EXPECT_EQ(WhyNot("late"), "0/1 nodes are available: 1 node(s) had no free pod address.");
}

TEST_F(SchedulerTest, UsesAnAddressThatWasGivenBackLast) {
  world.AddNode("a");
  world.AddPod("p0", "web");
  Place();
  world.state.Remove(v1::KIND_POD, InDefault("p0"));

  world.AddPod("p1", "web");
  Place();

  EXPECT_EQ(world.pod("p1").status().pod_ip(), "10.244.0.3");
}

TEST_F(SchedulerTest, GoesOnAfterTheYoungestPodWhenItsMemoryIsGone) {
  world.AddNode("a");
  world.AddPod("p0", "web", "a", true);
  world.AddPod("p1", "web", "a", true);
  world.state.Remove(v1::KIND_POD, InDefault("p0"));
  world.AddPod("p2", "web");

  Place();

  EXPECT_EQ(world.pod("p2").status().pod_ip(), "10.244.0.4");
}

TEST_F(SchedulerTest, BindsInParts) {
  world.AddNode("a");
  for (int i = 0; i < 5; ++i) world.AddPod("p" + std::to_string(i), "web");

  const ReconcileResult result = scheduler.Schedule(world.state, world.now, 2);

  EXPECT_EQ(result.writes.size(), 2u);
  EXPECT_EQ(result.requeue_at, world.now);
}

TEST_F(SchedulerTest, NeverOvercommitsAndNeverRepeatsAnAddress) {
  Random random(3);
  for (int round = 0; round < 50; ++round) {
    world = ClusterWorld();
    scheduler = Scheduler();
    for (int n = 0; n < 4; ++n) world.AddNode("n" + std::to_string(n), "2", "2Gi");
    for (int i = 0; i < 30; ++i) {
      const std::string name = "p" + std::to_string(i);
      world.AddPod(name, "app" + std::to_string(random.Below(3)));
      Ask(name, fmt::format("{}m", random.Below(900)), fmt::format("{}Mi", random.Below(700)));
      if (random.Below(3) == 0) Place();
      if (random.Below(8) == 0) world.state.Remove(v1::KIND_POD, InDefault(name));
    }
    Place();
    const NodeTable table = NodeTable::Build(world.state);
    std::set<std::string> addresses;
    int bound = 0;
    for (const auto& [key, pod] : world.state.pods)
      if (IsBound(*pod)) {
        ++bound;
        addresses.insert(pod->status().pod_ip());
      }
    EXPECT_EQ(addresses.size(), static_cast<size_t>(bound));
    for (size_t i = 0; i < table.size(); ++i) {
      EXPECT_LE(table.cpu_used[i], table.cpu_allocatable[i]);
      EXPECT_LE(table.memory_used[i], table.memory_allocatable[i]);
    }
    EXPECT_THAT(Describe(Schedule()), IsEmpty());
  }
}

TEST_F(SchedulerTest, IsWokenByWhatMayMakeRoom) {
  auto pod = std::make_shared<v1::Resource>(Wrap(world.AddPod("p", "web")));
  auto beat_before = std::make_shared<v1::Resource>(Wrap(world.AddNode("a")));
  *world.node("a").mutable_status()->mutable_last_heartbeat() =
      ToTimestamp(world.now + absl::Seconds(1));
  auto beat_after = std::make_shared<v1::Resource>(Wrap(world.node("a")));
  world.Silence("a");
  auto silent = std::make_shared<v1::Resource>(Wrap(world.node("a")));
  auto bound = std::make_shared<v1::Resource>(Wrap(world.AddPod("q", "web")));
  bound->mutable_pod()->mutable_spec()->set_node_name("a");
  bound->mutable_pod()->mutable_status()->set_pod_ip("10.244.0.9");

  EXPECT_TRUE(Scheduler::Concerns({nullptr, pod}));
  EXPECT_TRUE(Scheduler::Concerns({bound, nullptr}));
  EXPECT_TRUE(Scheduler::Concerns({silent, beat_after}));
  EXPECT_TRUE(Scheduler::Concerns({nullptr, beat_before}));
  EXPECT_FALSE(Scheduler::Concerns({beat_before, beat_after}));
  EXPECT_FALSE(Scheduler::Concerns({bound, bound}));
}

// --- fit.h ---

class WhyNeverFitsTest : public SchedulerTest {
 protected:
  std::vector<std::string> Why() { return WhyNeverFits(world.state, world.pod("p").spec()); }
};

TEST_F(WhyNeverFitsTest, KnowsNothingWithoutNodes) {
  world.AddPod("p", "web");
  Ask("p", "1000");
  EXPECT_THAT(Why(), IsEmpty());
}

TEST_F(WhyNeverFitsTest, IgnoresWhatMayPass) {
  world.AddNode("a", "2").mutable_spec()->set_unschedulable(true);
  world.Silence("a");
  world.AddPod("big", "web", "a", true);
  Ask("big", "2");
  world.AddPod("p", "web");
  Ask("p", "2");
  EXPECT_THAT(Why(), IsEmpty());
}

TEST_F(WhyNeverFitsTest, NamesTheRequestAndTheLargestNode) {
  world.AddNode("a", "2", "4Gi");
  world.AddNode("b", "1500m", "8Gi");
  world.AddPod("p", "web");
  Ask("p", "64", "16Gi");
  EXPECT_THAT(Why(), ElementsAre("requests cpu 64, the largest node has 2",
                                 "requests memory 16Gi, the largest node has 8Gi"));
}

TEST_F(WhyNeverFitsTest, SaysWhenNoNodeHasBothTogether) {
  world.AddNode("a", "2", "4Gi");
  world.AddNode("b", "1", "8Gi");
  world.AddPod("p", "web");
  Ask("p", "2", "8Gi");
  EXPECT_THAT(Why(), ElementsAre("no node has cpu 2 and memory 8Gi together"));
}

TEST_F(WhyNeverFitsTest, NamesTheLabelsThatNoNodeHas) {
  world.AddNode("a");
  world.AddPod("p", "web");
  (*world.pod("p").mutable_spec()->mutable_node_selector())["disk"] = "ssd";
  EXPECT_THAT(Why(), ElementsAre("no node has the labels disk=ssd"));
}

TEST_F(WhyNeverFitsTest, NamesTheNodeThatDoesNotExist) {
  world.AddNode("a");
  world.AddPod("p", "web").mutable_spec()->set_node_name("b");
  EXPECT_THAT(Why(), ElementsAre("node \"b\" of spec.nodeName does not exist"));
}

}  // namespace
}  // namespace mesh::controlplane
