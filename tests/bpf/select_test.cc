// SPDX-License-Identifier: Apache-2.0
// Goal: a new flow gets the backend that the Service's tables say, by every algorithm, and keeps
// it. Method: packets through the real programs over rows written one by one (select_world.h).
// Bounds on random choices are six standard deviations wide.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "fmt/format.h"
#include "tests/bpf/select_world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Packet;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Ge;
using ::testing::Le;
using ::testing::SizeIs;

constexpr uint32_t kService = 7, kOther = 8;
constexpr char kVip[] = "10.96.0.10:80", kBalanced[] = "203.0.113.10:80";
constexpr char kOne[] = "10.244.2.11", kTwo[] = "10.244.2.12", kThree[] = "10.244.2.13";
constexpr char kOnePort[] = "10.244.2.11:8080", kTwoPort[] = "10.244.2.12:8080",
               kThreePort[] = "10.244.2.13:8080";

MATCHER_P3(IsShareOf, flows, part, whole, "") {
  const double share = static_cast<double>(part) / whole;
  const double bound = 6 * std::sqrt(flows * share * (1 - share));
  return std::abs(arg - flows * share) <= bound;
}

class SelectTest : public SelectWorld {
 protected:
  // How many of `flows` new ones each address gets.
  std::map<std::string, int> Spread(const std::string& to, int flows, uint16_t first_port = 20000) {
    std::map<std::string, int> out;
    for (int i = 0; i < flows; ++i) ++out[Dial(to, static_cast<uint16_t>(first_port + i))];
    return out;
  }
};
using RandomTest = SelectTest;
using MaglevTest = SelectTest;
using LeastLoadedTest = SelectTest;
using AffinityTest = SelectTest;
using SourceRangeTest = SelectTest;
using FrontendTest = SelectTest;
using ServiceIsolationTest = SelectTest;

TEST_F(RandomTest, GivesEveryBackendItsShare) {
  PutService({kVip, kService}, {kOnePort, kTwoPort, kThreePort});

  const std::map<std::string, int> seen = Spread(kVip, 1500);

  ASSERT_THAT(seen, SizeIs(3));
  for (const auto& [ip, flows] : seen) EXPECT_THAT(flows, IsShareOf(1500, 1, 3)) << ip;
}

TEST_F(RandomTest, GivesABackendAsManyFlowsAsItHasSlots) {
  PutService({kVip, kService}, {kOnePort, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {1, 2, 2, 2});

  const std::map<std::string, int> seen = Spread(kVip, 1000);

  EXPECT_THAT(seen.at(kOne), IsShareOf(1000, 1, 4));
  EXPECT_THAT(seen.at(kTwo), IsShareOf(1000, 3, 4));
}

TEST_F(RandomTest, KeepsTheBackendOfAFlowThatHasBegunWhateverBecomesOfTheSet) {
  PutService({kVip, kService}, {kOnePort});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  Put(BackendRow{2, kService, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2}, MESH_ALGORITHM_LEAST_LOADED);
  JudgeAgain();

  const Packet more = Tcp(At("10.244.1.10:40000"), At(kVip), kAck, "more");
  EXPECT_EQ(FromPod(client_, more).packet->destination.ToString(), kOne);
  EXPECT_EQ(Dial(kVip, 40000), kOne) << "its SYN, sent again";
  EXPECT_EQ(Dial(kVip, 40001), kTwo);
}

TEST_F(RandomTest, RefusesWhenThereIsNoBackend) {
  PutService({kVip, kService}, {});
  EXPECT_EQ(Dial(kVip, 40000), "no_backend");
  Put(FrontendRow{"10.96.0.11:80", kOther});
  EXPECT_EQ(Dial("10.96.0.11:80", 40000), "no_backend") << "a frontend whose set is not there yet";
  EXPECT_EQ(Dial("10.96.0.12:80", 40000), "no_service");
  EXPECT_EQ(Flows(), 0u);
}

TEST_F(RandomTest, DoesNotFollowANumberThatAnotherServiceHasTakenOver) {
  PutService({kVip, kService}, {kOnePort});
  Put(BackendRow{1, kOther, kTwoPort});

  EXPECT_EQ(Dial(kVip, 40000), "no_backend");
}

TEST_F(RandomTest, LosesNoConnectionWhileTheSetChanges) {
  PutService({kVip, kService}, {kOnePort, kTwoPort, kThreePort});
  std::atomic<bool> over = false;
  std::atomic<int> changes = 0;
  std::thread changer([&] {
    for (uint32_t i = 0; !over; ++i, ++changes) {
      PutSet(kService, MESH_SCOPE_INTERNAL, {1 + i % 3, 1 + (i + 1) % 3});
    }
  });

  std::map<std::string, int> seen;
  for (int i = 0; i < 1000 || changes < 100; ++i) {
    ++seen[Dial(kVip, static_cast<uint16_t>(1 + i % 60000))];
  }
  over = true;
  changer.join();

  EXPECT_THAT(seen, SizeIs(3));
}

TEST_F(MaglevTest, GivesAFlowTheSameBackendOnNodesWithOtherNumbers) {
  const std::vector<std::string> places = {kOnePort, kTwoPort, kThreePort};
  Put(FrontendRow{kVip, kService});
  for (uint32_t i = 0; i < 3; ++i) Put(BackendRow{i + 1, kService, places[i]});
  PutMaglevSet(kService, MESH_SCOPE_INTERNAL, {1, 2, 3}, 251);
  std::vector<std::string> here, there;
  for (uint16_t port = 20000; port < 20300; ++port) here.push_back(Dial(kVip, port));

  Clear();
  Put(FrontendRow{kVip, kOther});
  for (uint32_t i = 0; i < 3; ++i) Put(BackendRow{777 - i, kOther, places[i]});
  PutMaglevSet(kOther, MESH_SCOPE_INTERNAL, {777, 776, 775}, 251);
  for (uint16_t port = 20000; port < 20300; ++port) there.push_back(Dial(kVip, port));

  EXPECT_EQ(here, there);
}

TEST_F(MaglevTest, GivesEveryBackendItsShare) {
  Put(FrontendRow{kVip, kService});
  Put(BackendRow{1, kService, kOnePort});
  Put(BackendRow{2, kService, kTwoPort});
  Put(BackendRow{3, kService, kThreePort});
  PutMaglevSet(kService, MESH_SCOPE_INTERNAL, {1, 2, 3}, 1021);

  const std::map<std::string, int> seen = Spread(kVip, 1500);

  ASSERT_THAT(seen, SizeIs(3));
  for (const auto& [ip, flows] : seen) EXPECT_THAT(flows, IsShareOf(1500, 1, 3)) << ip;
}

TEST_F(MaglevTest, PutsAllFlowsOfAClientInOnePlaceWithAffinity) {
  Put(FrontendRow{.place = kVip, .service_id = kService, .affinity_s = 60});
  std::vector<uint32_t> ids;
  for (uint32_t id = 1; id <= 100; ++id) {
    Put(BackendRow{id, kService, "10.244.2." + std::to_string(id) + ":8080"});
    ids.push_back(id);
  }
  PutMaglevSet(kService, MESH_SCOPE_INTERNAL, ids, 10007);
  const std::string first = Dial(kVip, 40000);

  AgeAffinity(1000);

  EXPECT_EQ(Dial(kVip, 40001), first) << "nodes that have not seen this client agree";
}

TEST_F(MaglevTest, LosesNoConnectionWhileItsTableBecomesAnother) {
  PutService({kVip, kService}, {kOnePort, kTwoPort, kThreePort});
  PutMaglevSet(kService, MESH_SCOPE_INTERNAL, {1, 2, 3}, 251);
  std::atomic<bool> over = false;
  std::atomic<int> changes = 0;
  std::thread changer([&] {
    for (uint32_t i = 0; !over; ++i, ++changes) {
      PutMaglevSet(kService, MESH_SCOPE_INTERNAL, {1, 2, 3}, i % 2 == 0 ? 7 : 251);
    }
  });

  std::map<std::string, int> seen;
  for (int i = 0; i < 1000 || changes < 50; ++i) {
    ++seen[Dial(kVip, static_cast<uint16_t>(1 + i % 60000))];
  }
  over = true;
  changer.join();

  EXPECT_THAT(seen, SizeIs(3));
}

TEST_F(LeastLoadedTest, PrefersTheIdleOne) {
  PutService({kVip, kService}, {kOnePort, kTwoPort}, MESH_ALGORITHM_LEAST_LOADED);
  PutLoad(1, 1000);
  PutLoad(2, 0);

  EXPECT_EQ(Spread(kVip, 50), (std::map<std::string, int>{{kTwo, 50}}));
  EXPECT_EQ(LoadOf(1), 1000u);
  EXPECT_EQ(LoadOf(2), 50u);
}

TEST_F(LeastLoadedTest, FillsAllAlike) {
  PutService({kVip, kService}, {kOnePort, kTwoPort, kThreePort, "10.244.2.14:8080"},
             MESH_ALGORITHM_LEAST_LOADED);
  for (uint32_t id = 1; id <= 4; ++id) PutLoad(id, 0);

  const std::map<std::string, int> seen = Spread(kVip, 400);

  // Two choices keep the fullest within log log n of the mean; random ones would be 50 apart.
  ASSERT_THAT(seen, SizeIs(4));
  for (const auto& [ip, flows] : seen) EXPECT_THAT(flows, AllOf(Ge(90), Le(110))) << ip;
}

TEST_F(LeastLoadedTest, ComparesFlowsForTheirWeight) {
  PutService({kVip, kService}, {kOnePort, kTwoPort}, MESH_ALGORITHM_LEAST_LOADED);
  Put(BackendRow{.id = 1, .service_id = kService, .place = kOnePort, .weight = 10});
  PutLoad(1, 500);
  PutLoad(2, 100);

  EXPECT_EQ(Dial(kVip, 40000), kOne) << "50 for each weight, against 100";
}

TEST_F(LeastLoadedTest, CountsAFlowOnceUntilItCloses) {
  PutService({kVip, kService}, {"10.244.1.11:8080"}, MESH_ALGORITHM_LEAST_LOADED);
  PutLoad(1, 0);
  const Place client = At("10.244.1.10:40000"), web = At(kVip), pod = At("10.244.1.11:8080");

  FromPod(client_, Tcp(client, web, kSyn));
  FromPod(client_, Tcp(client, web, kSyn));
  FromPod(near_, Tcp(pod, client, kSyn | kAck));
  FromPod(client_, Tcp(client, web, kAck));
  EXPECT_EQ(LoadOf(1), 1u);
  FromPod(client_, Tcp(client, web, kAck | kFin));
  EXPECT_EQ(LoadOf(1), 1u) << "closed by one side";
  FromPod(near_, Tcp(pod, client, kAck | kFin));
  EXPECT_EQ(LoadOf(1), 0u);
  FromPod(near_, Tcp(pod, client, kAck | kFin));
  FromPod(near_, Tcp(pod, client, kRst));
  FromPod(client_, Tcp(client, web, kRst));
  EXPECT_EQ(LoadOf(1), 0u) << "closed is closed";

  FromPod(client_, Tcp(client, web, kSyn));
  EXPECT_EQ(LoadOf(1), 1u);
  FromPod(near_, Tcp(pod, client, kRst));
  EXPECT_EQ(LoadOf(1), 0u);
}

TEST_F(LeastLoadedTest, CountsAFlowOutOnceThoughBothSidesCloseAtOnce) {
  PutService({kVip, kService}, {"10.244.1.11:8080"}, MESH_ALGORITHM_LEAST_LOADED);
  PutLoad(1, 100);
  const Place web = At(kVip), pod = At("10.244.1.11:8080");
  for (int i = 0; i < 2000; ++i) {
    const Place client = At(fmt::format("10.244.1.10:{}", 40000 + i));
    FromPod(client_, Tcp(client, web, kSyn));
    FromPod(near_, Tcp(pod, client, kSyn | kAck));
    ASSERT_EQ(LoadOf(1), 101u) << "after " << i << " connections";
    const bool reset = i % 4 == 3;
    FromPodsAtOnce(client_, Tcp(client, web, reset ? kRst : kAck | kFin), near_,
                   Tcp(pod, client, kAck | kFin));
    if (reset && LoadOf(1) == 101) FromPod(client_, Tcp(client, web, kRst));
    ASSERT_EQ(LoadOf(1), 100u) << "connection " << i;
  }
}

TEST_F(LeastLoadedTest, AFlowThatBothSidesHaveResetIsClosedThoughOneGoesOn) {
  PutService({kVip, kService}, {"10.244.1.11:8080"}, MESH_ALGORITHM_LEAST_LOADED);
  PutLoad(1, 0);
  const Place client = At("10.244.1.10:40000"), web = At(kVip), pod = At("10.244.1.11:8080");
  FromPod(client_, Tcp(client, web, kSyn));
  FromPod(near_, Tcp(pod, client, kSyn | kAck));
  FromPod(client_, Tcp(client, web, kRst));
  FromPod(near_, Tcp(pod, client, kRst));
  FromPod(client_, Tcp(client, web, kAck));
  EXPECT_EQ(FlowTable<F>(*flows_).Rows(0)->at(0).state, "closing");
  EXPECT_EQ(LoadOf(1), 0u);
}

TEST_F(LeastLoadedTest, TakesASingleBackendAndOneWithoutARow) {
  PutService({kVip, kService}, {kOnePort}, MESH_ALGORITHM_LEAST_LOADED);
  EXPECT_EQ(Dial(kVip, 40000), kOne);
}

TEST_F(AffinityTest, KeepsAClientAtItsBackend) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100},
             {kOnePort, kTwoPort, kThreePort});

  EXPECT_THAT(Spread(kVip, 60), SizeIs(1));
}

TEST_F(AffinityTest, IsOfOneClientAndOneServicePort) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100}, {kOnePort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {1});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  Put(BackendRow{2, kService, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2});
  Put(FrontendRow{.place = "10.96.0.11:80", .service_id = kOther, .affinity_s = 100});
  Put(BackendRow{3, kOther, kThreePort});
  PutSet(kOther, MESH_SCOPE_INTERNAL, {3});

  EXPECT_EQ(Dial(near_, kVip, 40000), kTwo);
  EXPECT_EQ(Dial("10.96.0.11:80", 40000), kThree);
  EXPECT_EQ(Dial(kVip, 40001), kOne);
}

TEST_F(AffinityTest, HoldsAcrossTheFrontendsOfAPort) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100}, {kOnePort});
  Put(FrontendRow{.place = kBalanced,
                  .service_id = kService,
                  .scope = MESH_SCOPE_EXTERNAL,
                  .flags = MESH_SERVICE_EXTERNAL,
                  .affinity_s = 100});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  Put(BackendRow{2, kService, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2});

  EXPECT_EQ(Dial(kBalanced, 40001), kOne);
}

TEST_F(AffinityTest, EndsWhenTheClientWasAwayForTooLong) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 10}, {kOnePort});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  Put(BackendRow{2, kService, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2});

  AgeAffinity(8);
  EXPECT_EQ(Dial(kVip, 40001), kOne);
  AgeAffinity(8);
  EXPECT_EQ(Dial(kVip, 40002), kOne) << "each new flow begins the time anew";
  AgeAffinity(11);
  EXPECT_EQ(Dial(kVip, 40003), kTwo);
  EXPECT_EQ(Dial(kVip, 40004), kTwo);
}

TEST_F(AffinityTest, LeavesABackendThatDrainsAndOneThatIsGone) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100}, {kOnePort});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  Put(BackendRow{2, kService, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2});
  Put(BackendRow{1, kService, kOnePort, BackendState::kDraining});

  EXPECT_EQ(Dial(kVip, 40001), kTwo);
  const Packet more = Tcp(At("10.244.1.10:40000"), At(kVip), kAck);
  EXPECT_EQ(FromPod(client_, more).packet->destination.ToString(), kOne);

  Put(BackendRow{3, kService, kThreePort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {3});
  RemoveBackend(2);
  EXPECT_EQ(Dial(kVip, 40002), kThree);
}

TEST_F(AffinityTest, DoesNotLeaveTheSetTheFrontendNames) {
  // Backend 1 is elsewhere: with internalTrafficPolicy Local only the outside may have it.
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100}, {kOnePort});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  Put(BackendRow{.id = 1, .service_id = kService, .place = kOnePort, .scopes = kScopeExternal});
  Put(BackendRow{.id = 2, .service_id = kService, .place = kTwoPort, .scopes = kScopeInternal});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2});

  EXPECT_EQ(Dial(kVip, 40001), kTwo);
}

TEST_F(AffinityTest, RefusesWithoutABackendInSpiteOfTheMemory) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100}, {kOnePort});
  ASSERT_EQ(Dial(kVip, 40000), kOne);
  PutSet(kService, MESH_SCOPE_INTERNAL, {});

  EXPECT_EQ(Dial(kVip, 40001), "no_backend");
}

TEST_F(AffinityTest, OfDatagramsMovesWithThem) {
  PutService({.place = kVip, .service_id = kService, .affinity_s = 100, .protocol = Protocol::kUdp},
             {kOnePort});
  const Packet question = Udp(At("10.244.1.10:5000"), At(kVip));
  ASSERT_EQ(FromPod(client_, question).packet->destination.ToString(), kOne);
  Put(BackendRow{2, kService, kTwoPort});
  PutSet(kService, MESH_SCOPE_INTERNAL, {2});
  RemoveBackend(1);
  JudgeAgain();

  EXPECT_EQ(FromPod(client_, question).packet->destination.ToString(), kTwo);
}

TEST_F(SourceRangeTest, AdmitsWhoIsInOneOfTheRanges) {
  const FrontendRow balanced = {kBalanced, kService, MESH_SCOPE_EXTERNAL,
                                MESH_SERVICE_EXTERNAL | MESH_SERVICE_SOURCE_RANGES};
  PutService(balanced, {kOnePort});
  PutRange(kService, "198.51.100.0/24");
  PutRange(kOther, "0.0.0.0/0");
  EXPECT_EQ(Dial(kBalanced, 40000), "source_range");

  PutRange(kService, "10.244.1.10/32");
  EXPECT_EQ(Dial(kBalanced, 40000), kOne);
  EXPECT_EQ(Dial(near_, kBalanced, 40000), "source_range");

  PutRange(kService, "10.244.0.0/16");
  EXPECT_EQ(Dial(near_, kBalanced, 40000), kOne);
}

TEST_F(SourceRangeTest, ConcernsOnlyTheFrontendsThatHaveThem) {
  PutService({kVip, kService}, {kOnePort});
  Put(FrontendRow{kBalanced, kService, MESH_SCOPE_EXTERNAL,
                  MESH_SERVICE_EXTERNAL | MESH_SERVICE_SOURCE_RANGES});

  EXPECT_EQ(Dial(kVip, 40000), kOne);
  EXPECT_EQ(Dial(kBalanced, 40000), "source_range") << "no range at all";
}

TEST_F(FrontendTest, IsServedToPodsAndTheNodeInTheKernelAtAnyAddress) {
  PutService({kBalanced, kService, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL}, {kOnePort});

  EXPECT_EQ(Dial(kBalanced, 40000), kOne);
  const Outcome out = FromNode(Tcp(At("10.244.1.1:50000"), At(kBalanced), kSyn));
  ASSERT_TRUE(out.packet.has_value()) << out;
  EXPECT_EQ(out.packet->destination.ToString(), kOne);
}

TEST_F(FrontendTest, OfAnExternalAddressHasAllBackendsForWhoIsInside) {
  // externalTrafficPolicy Local: no backend on this node.
  PutService({kVip, kService}, {kOnePort});
  Put(FrontendRow{kBalanced, kService, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL});
  PutSet(kService, MESH_SCOPE_EXTERNAL, {});

  EXPECT_EQ(Dial(kBalanced, 40000), kOne);
}

TEST_F(FrontendTest, OfAServiceWithoutAClusterIpHasASetForWhoIsInside) {
  // Both policies Local: one set for the outside, here empty, one for pods, none at a ClusterIP.
  PutService({kBalanced, kService, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL}, {});
  Put(BackendRow{.id = 1, .service_id = kService, .place = kOnePort, .scopes = kScopeInternal});
  PutSet(kService, MESH_SCOPE_INTERNAL, {1});

  EXPECT_EQ(Dial(kBalanced, 40000), kOne);
  PutSet(kService, MESH_SCOPE_INTERNAL, {});
  EXPECT_EQ(Dial(kBalanced, 40001), "no_backend");
}

TEST_F(FrontendTest, OfTheNodeIsAtEachOfItsAddresses) {
  PutService({"0.0.0.0:30080", kService, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL}, {kOnePort});

  EXPECT_EQ(Dial("192.0.2.1:30080", 40000), kOne);
  EXPECT_EQ(Dial("10.244.1.1:30080", 40000), kOne);
  EXPECT_EQ(Dial("10.96.0.10:30080", 40000), "no_service");
  EXPECT_EQ(Dial("10.244.1.1:30081", 40000), "10.244.1.1") << "the node's own";
}

TEST_F(FrontendTest, OfOneAddressOfTheNodeComesBeforeThatOfAll) {
  PutService({"0.0.0.0:30080", kService, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL}, {kOnePort});
  Put(FrontendRow{"192.0.2.1:30080", kOther, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL});
  Put(BackendRow{5, kOther, kTwoPort});
  PutSet(kOther, MESH_SCOPE_EXTERNAL, {5});

  EXPECT_EQ(Dial("192.0.2.1:30080", 40000), kTwo);
  EXPECT_EQ(Dial("10.244.1.1:30080", 40000), kOne);
}

TEST_F(FrontendTest, SharesAClientPortWithTheOthersOfItsService) {
  PutService({kVip, kService}, {"10.244.1.11:8080"});
  Put(FrontendRow{kBalanced, kService, MESH_SCOPE_EXTERNAL, MESH_SERVICE_EXTERNAL});
  const Place client = At("10.244.1.10:40000"), pod = At("10.244.1.11:8080");

  const Outcome first = FromPod(client_, Tcp(client, At(kVip), kSyn));
  const Outcome second = FromPod(client_, Tcp(client, At(kBalanced), kSyn));

  ASSERT_TRUE(first.packet.has_value() && second.packet.has_value());
  ASSERT_NE(first.packet->source_port, second.packet->source_port);
  const Outcome to_first = FromPod(near_, Tcp(pod, client, kSyn | kAck));
  const Outcome to_second =
      FromPod(near_, Tcp(pod, {client.ip, second.packet->source_port}, kSyn | kAck));
  EXPECT_EQ(to_first.packet, Tcp(At(kVip), client, kSyn | kAck));
  EXPECT_EQ(to_second.packet, Tcp(At(kBalanced), client, kSyn | kAck));
}

TEST_F(ServiceIsolationTest, TakesNobodyIntoAnotherNamespace) {
  // bank/spy has hand-written endpoints: a pod of shop, and one of its own.
  PutService({.place = kVip, .service_id = kService, .identity = kBank}, {"10.244.1.11:8080"});
  EXPECT_EQ(Dial(clerk_, kVip, 40000), "isolation");
  EXPECT_EQ(Dial(client_, kVip, 40000), "10.244.1.11") << "it might dial its neighbour directly";

  Put(BackendRow{.id = 1, .service_id = kService, .place = "10.244.1.12:8080"});
  EXPECT_EQ(Dial(client_, kVip, 40001), "10.244.1.12");
}

TEST_F(ServiceIsolationTest, TellsTheBackendsNodeWhoseServiceItIs) {
  PutService({.place = kVip, .service_id = kService, .identity = 0x123456}, {kOnePort});

  const Outcome out = FromPod(client_, Tcp(At("10.244.1.10:40000"), At(kVip), kSyn));

  EXPECT_EQ(out.frame.substr(6, 6), std::string("\x02\x00\x00\x12\x34\x56", 6));
}

TEST_F(ServiceIsolationTest, IsJudgedByTheNodeOfTheBackend) {
  const Packet syn = Tcp(At("10.244.2.10:40000"), At("10.244.1.11:8080"), kSyn);

  EXPECT_EQ(FromPeer(kBank | MESH_VNI_SERVICE, syn, "192.0.2.2", kBank).reason, "isolation");
  EXPECT_EQ(FromPeer(kBank | MESH_VNI_SERVICE, syn, "192.0.2.2", 0).reason, "isolation");
  EXPECT_EQ(FromPeer(kBank | MESH_VNI_SERVICE, syn, "192.0.2.2", kShop).reason, "forwarded");
  EXPECT_EQ(FromPeer(kBank | MESH_VNI_SERVICE, syn, "192.0.2.2", kBank).reason, "isolation")
      << "the same ports again, through the other Service";
}

}  // namespace
}  // namespace mesh::dataplane::testing
