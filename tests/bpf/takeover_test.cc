// SPDX-License-Identifier: Apache-2.0
// Goal: an agent stops, starts, dies at any moment and is replaced by one with other maps, and
// traffic does not notice. Method: the nodes of takeover_world.h under all their traffic, while
// Open() runs on them. Every datagram must be answered and no connection may be reset.
#include <bpf/bpf.h>

#include <algorithm>
#include <map>
#include <optional>
#include <vector>

#include "tests/bpf/takeover_world.h"

namespace mesh::dataplane::testing {
namespace {

constexpr int kFast = 500, kSlow = 200;  // datagrams per second of each stream

class TakeOverTest : public TakeOverWorld, public ::testing::WithParamInterface<Way> {
 protected:
  TakeOverTest() { way_ = GetParam(); }
};

// In every run; what starts many times over takes minutes for each way.
class RestartTest : public TakeOverTest {};

TEST_P(RestartTest, AnAgentStopsAndStarts) {
  UnderTraffic(kFast, [&] {
    for (int i = 0; i < 3; ++i) {
      for (Node* node : {&one_, &two_}) {
        node->dataplane.reset();
        ASSERT_STATUS(OpenNode(*node));
        ASSERT_STATUS(
            InNetns(node->netns->fd(), [&] { return node->dataplane->CollectGarbage().status(); }));
      }
      Apply();
    }
  });
  ExpectSettled(one_);
  ExpectSettled(two_);
}

// The programs of each pod go into tcx, as after its start, and back, again and again.
TEST_P(RestartTest, ProgramsMoveBetweenTheirPlaces) {
  const auto rounds = [&](const Node& node) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<Endpoint> endpoints, node.dataplane->Endpoints());
    for (const Endpoint& endpoint : endpoints) {
      const int ifindex = endpoint.ifindex;
      ASSIGN_OR_RETURN(const uint32_t id4, IngressProgramId(ifindex, kPriority4));
      const uint32_t id6 = IngressProgramId(ifindex, kPriority6).value_or(0);
      const UniqueFd four(bpf_prog_get_fd_by_id(id4)), six(bpf_prog_get_fd_by_id(id6));
      const std::optional<int> second = id6 == 0 ? std::nullopt : std::optional(six.get());
      for (int round = 0; round < 10; ++round) {
        RETURN_IF_ERROR(MoveToTcx(ifindex, four.get(), second));
        RETURN_IF_ERROR(AttachToNewLink(ifindex, four.get(), second));
        if (id6 != 0) RETURN_IF_ERROR(TcxDetach(ifindex, id6));
        RETURN_IF_ERROR(TcxDetach(ifindex, id4));
      }
      RETURN_IF_ERROR(MoveToTcx(ifindex, four.get(), second));
    }
    return absl::OkStatus();
  };
  if (absl::IsUnimplemented(TcxPrograms(1).status())) GTEST_SKIP() << "this kernel has no tcx";
  UnderTraffic(kFast, [&] {
    ASSERT_STATUS(InNetns(one_.netns->fd(), [&] { return one_.dataplane->Settle().status(); }));
    ExpectSettled(one_);
    for (const Node* node : {&one_, &two_}) {
      ASSERT_STATUS(InNetns(node->netns->fd(), [&] { return rounds(*node); }));
      ExpectSettled(*node);
    }
  });
}

TEST_P(RestartTest, ANewerBuildReplacesTheAgent) {
  UnderTraffic(kFast, [&] {
    for (uint32_t version = MESH_ABI_VERSION + 1; version < MESH_ABI_VERSION + 3; ++version) {
      for (Node* node : {&one_, &two_}) {
        ASSERT_STATUS(OpenNode(*node, {.bpf_root = node->bpf_root, .abi_version = version}));
        EXPECT_THAT(Folders(*node), ::testing::ElementsAre(fmt::format("v{}", version)));
      }
      Apply();
    }
  });
  ExpectSettled(one_);
  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 2u);
  EXPECT_GT(Drops(one_, "forwarded"), 0u);
}

TEST_P(TakeOverTest, AnOlderBuildReplacesTheAgentAndTheNewerComesAgain) {
  older_returns_ = true;
  UnderTraffic(kFast, [&] {
    for (const uint32_t version : {MESH_ABI_VERSION + 1, MESH_ABI_VERSION, MESH_ABI_VERSION + 1}) {
      ASSERT_STATUS(OpenNode(one_, {.bpf_root = one_.bpf_root, .abi_version = version}));
    }
  });
}

TEST_P(RestartTest, TheConnectionTableGetsAnotherSize) {
  UnderTraffic(kFast, [&] {
    for (Node* node : {&one_, &two_}) {
      ASSERT_STATUS(OpenNode(*node, {.bpf_root = node->bpf_root, .flow_max_entries = 300'000}));
      const Dataplane::Table table =
          way_.family == Family::kV4 ? Dataplane::Table::kConntrack : Dataplane::Table::kConntrack6;
      EXPECT_EQ(node->dataplane->Usage(table)->max_entries, 300'000u);
      EXPECT_THAT(Folders(*node), ::testing::ElementsAre(fmt::format("v{}", MESH_ABI_VERSION)));
    }
  });
}

// A port at the node's address belongs to one flow, also while two tables have some of them each.
TEST_P(RestartTest, NewFlowsDoNotTakeThePortsOfThoseThatAreNotCarriedOverYet) {
  const Echo echo(*outside_, kOutsidePort, any_);
  Crowd crowd(*client_.netns, outside_ip_, kOutsidePort);
  crowd.Grow(2000);
  ASSERT_STATUS(OpenNode(one_, {.bpf_root = one_.bpf_root,
                                .abi_version = MESH_ABI_VERSION + 1,
                                // Two in five of these would draw one of the first ones' ports.
                                .on_step = [&](std::string_view step) {
                                  if (step == "carry flows") crowd.Grow(500);
                                  if (step == "attach programs") crowd.Ask();
                                }}));
  crowd.Ask();
  EXPECT_THAT(crowd.result().problems, ::testing::IsEmpty());
  EXPECT_EQ(crowd.result().flows, 2500u);
}

// One death at each kind of step; at every single one below.
TEST_P(RestartTest, WhoDiesAtAStepIsSucceededByTheNewerAndByTheOlder) {
  older_returns_ = true;
  UnderTraffic(kSlow, [&] {
    uint32_t version = MESH_ABI_VERSION;
    for (const std::string_view step :
         {"fill the turnout", "next hook", "carry flows", "attach programs", "next folder"}) {
      one_.dataplane.reset();
      ASSERT_TRUE(OpenAndDie(one_, {.bpf_root = one_.bpf_root, .abi_version = version + 1},
                             [&](std::string_view now) { return now == step; }))
          << step;
      // The older comes back from half of them.
      if (step != "next hook" && step != "attach programs") ++version;
      ASSERT_STATUS(OpenNode(one_, {.bpf_root = one_.bpf_root, .abi_version = version}));
      EXPECT_THAT(Folders(one_), ::testing::ElementsAre(fmt::format("v{}", version)));
    }
  });
}

TEST_P(TakeOverTest, AnAgentDiesBeforeAnyStepOfItsStart) {
  UnderTraffic(kSlow, [&] {
    one_.dataplane.reset();
    int number = 0;
    while (OpenAndDie(one_, {.bpf_root = one_.bpf_root}, number)) ++number;
    EXPECT_GE(number, 2);
    ASSERT_STATUS(OpenNode(one_));
  });
}

// Every start runs the verifier: the even steps here, the odd ones below.
TEST_P(TakeOverTest, ANewerBuildDiesBeforeAnEvenStepAndItsSuccessorGoesOn) {
  UnderTraffic(kSlow, [&] {
    one_.dataplane.reset();
    uint32_t version = MESH_ABI_VERSION;
    int number = 0;
    bool died = true;
    while (died) {
      ++version;
      died = OpenAndDie(one_, {.bpf_root = one_.bpf_root, .abi_version = version}, number);
      ASSERT_STATUS(OpenNode(one_, {.bpf_root = one_.bpf_root, .abi_version = version}));
      EXPECT_THAT(Folders(one_), ::testing::ElementsAre(fmt::format("v{}", version)));
      one_.dataplane.reset();
      number += 2;
    }
    EXPECT_GE(number, 8);
    ASSERT_STATUS(OpenNode(one_, {.bpf_root = one_.bpf_root, .abi_version = version}));
  });
}

TEST_P(TakeOverTest, ANewerBuildDiesBeforeAnOddStepAndTheOlderOneComesBack) {
  older_returns_ = true;
  UnderTraffic(kSlow, [&] {
    one_.dataplane.reset();
    for (int number = 1;; number += 2) {
      const bool died = OpenAndDie(
          one_, {.bpf_root = one_.bpf_root, .abi_version = MESH_ABI_VERSION + 1}, number);
      ASSERT_STATUS(OpenNode(one_));
      EXPECT_THAT(Folders(one_), ::testing::ElementsAre(fmt::format("v{}", MESH_ABI_VERSION)));
      if (!died) break;
      one_.dataplane.reset();
    }
  });
}

INSTANTIATE_TEST_SUITE_P(, RestartTest, EveryWay(), NameOf);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TakeOverTest);
INSTANTIATE_TEST_SUITE_P(, TakeOverTest,
                         ::testing::ValuesIn(IsEveryWayWanted() ? AllWays() : std::vector<Way>{}),
                         NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
