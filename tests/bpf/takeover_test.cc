// SPDX-License-Identifier: Apache-2.0
// Goal: an agent stops, starts, dies at any moment and is replaced by one with other maps, and
// traffic does not notice. Method: the two nodes of live.h; datagrams with numbers at a fixed rate,
// a TCP connection that stays and many new ones go through the Service to a pod of each node, while
// Open() runs on both nodes. Every datagram must be answered and no connection may be reset.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>

#include "mesh/shared/base.h"
#include "tests/bpf/live.h"
#include "tests/bpf/stream.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::Connections;
using mesh::testing::DatagramStream;
using mesh::testing::Echo;

constexpr int kFast = 20'000, kSlow = 2'000;  // datagrams per second

class TakeOverTest : public LiveWays {
 protected:
  // Of millions of packets the streams tell themselves what was lost; nothing is captured.
  void SetUp() override {
    LiveWays::SetUp();
    wire_.reset();
  }

  // Runs `change` in the middle of traffic of a pod, and of the node, to a Service with a backend
  // on each node.
  void UnderTraffic(int datagrams_per_second, const std::function<void()>& change) {
    Serve({near_.ip, far_.ip});
    const IpAddress any = AnyAddress(way_.family);
    const Echo near(*near_.netns, 8080, any), far(*far_.netns, 8080, any);
    DatagramStream datagrams(*client_.netns, vip_, 80, datagrams_per_second);
    // Straight to the other node's pod.
    DatagramStream direct(*client_.netns, far_.ip, 8080, 1000);
    Connections pod(*client_.netns, vip_, 80);
    Connections node(*one_.netns, vip_, 80);
    AwaitTraffic(datagrams);

    change();

    if (one_.dataplane != nullptr) AwaitTraffic(datagrams);
    const DatagramStream::Result through_service = datagrams.Stop(), straight = direct.Stop();
    const Connections::Result of_pod = pod.Stop(), of_node = node.Stop();
    EXPECT_EQ(through_service.lost, 0u) << "of " << through_service.sent << ", the first "
                                        << ::testing::PrintToString(through_service.first_lost);
    EXPECT_EQ(straight.lost, 0u) << "of " << straight.sent << ", the first "
                                 << ::testing::PrintToString(straight.first_lost);
    EXPECT_THAT(of_pod.problems, ::testing::IsEmpty());
    EXPECT_THAT(of_node.problems, ::testing::IsEmpty());
    EXPECT_GT(of_pod.exchanges, 0u);
    EXPECT_GT(of_pod.connections, 0u);
    for (Node* opened : {&one_, &two_}) {
      // Not no_flow: the last segments of a connection that is over and collected.
      for (const char* reason : {"no_service", "no_backend", "backend_gone", "kernel",
                                 "no_endpoint", "no_tunnel", "unknown_peer", "source_address"}) {
        EXPECT_EQ(Drops(*opened, reason), 0u) << opened->name << " " << reason;
      }
    }
    std::cerr << through_service.sent << " datagrams, " << of_pod.exchanges + of_node.exchanges
              << " exchanges, " << of_pod.connections + of_node.connections << " connections, "
              << of_pod.sent_again + of_node.sent_again << " segments sent again\n";
  }

  static void AwaitTraffic(const DatagramStream& stream) {
    constexpr uint64_t kDatagrams = 1000;
    const uint64_t before = stream.sent();
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (stream.sent() < before + kDatagrams) {
      ASSERT_LT(absl::Now(), deadline);
      sched_yield();
    }
  }

  // Opens the node in a process of its own that is killed before step `number` of Open(). False
  // when Open() ended before.
  bool OpenAndDie(Node& node, KernelDataplane::Options options, int number) {
    const pid_t child = fork();
    if (child == 0) {
      int steps = 0;
      options.on_step = [&](std::string_view) {
        if (steps++ == number) kill(getpid(), SIGKILL);
      };
      _exit(OpenNode(node, options).ok() ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
  }

  // Of maps.
  static std::vector<std::string> Folders(const Node& node) {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(node.bpf_root + "/mesh")) {
      // Beside the maps: what the node's sockets have.
      if (entry.path().filename() != "sockets") out.push_back(entry.path().filename());
    }
    return out;
  }
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
  EXPECT_EQ(one_.dataplane->Endpoints()->size(), 3u);
  EXPECT_EQ(one_.dataplane->Services()->size(), 2u);
  EXPECT_GT(Drops(one_, "forwarded"), 0u);
}

TEST_P(TakeOverTest, AnOlderBuildReplacesTheAgentAndTheNewerComesAgain) {
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
