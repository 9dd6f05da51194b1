// SPDX-License-Identifier: Apache-2.0
// Goal: XDP carries the established flows from outside to other nodes, in both families and with
// both routings, goes on while agents come and go, and tells clients what does not fit. Method: the
// world of live_edge.h; the driver of the uplink counts what XDP has sent. Needs root.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"
#include "mesh/shared/base.h"
#include "tests/bpf/live_edge.h"
#include "tests/bpf/stream.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::Connections;
using mesh::testing::DatagramStream;
using mesh::testing::Echo;

// Lets the driver of a veth poll, as a card's does, in the calling thread's network namespace.
absl::Status MakePoll(const std::string& interface) {
  const bpf_insn pass[] = {
      {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
      {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
  const UniqueFd program(
      bpf_prog_load(BPF_PROG_TYPE_XDP, "pass", "GPL", pass, std::size(pass), nullptr));
  if (!program) return ErrnoStatus(errno, "load a program");
  const int result = bpf_xdp_attach(static_cast<int>(if_nametoindex(interface.c_str())),
                                    program.get(), XDP_FLAGS_DRV_MODE, nullptr);
  return result == 0 ? absl::OkStatus() : ErrnoStatus(-result, "attach to " + interface);
}

// In the calling thread's network namespace (linux/ethtool.h).
absl::Status Ethtool(const std::string& interface, void* command) {
  const UniqueFd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return ErrnoStatus(errno, "open a socket");
  ifreq argument{};
  std::strncpy(argument.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  argument.ifr_data = static_cast<char*>(command);
  if (ioctl(control.get(), SIOCETHTOOL, &argument) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("ethtool of {}", interface));
}

// What the programs at an interface have sent out there again, by its driver's own counters.
absl::StatusOr<uint64_t> SentByXdp(const std::string& interface) {
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  RETURN_IF_ERROR(Ethtool(interface, &driver));
  const size_t count = driver.n_stats;
  std::vector<uint64_t> names((sizeof(ethtool_gstrings) + count * ETH_GSTRING_LEN) / 8 + 1);
  auto* strings = reinterpret_cast<ethtool_gstrings*>(names.data());
  strings->cmd = ETHTOOL_GSTRINGS;
  strings->string_set = ETH_SS_STATS;
  strings->len = driver.n_stats;
  RETURN_IF_ERROR(Ethtool(interface, strings));
  std::vector<uint64_t> values(sizeof(ethtool_stats) / 8 + count + 1);
  auto* stats = reinterpret_cast<ethtool_stats*>(values.data());
  stats->cmd = ETHTOOL_GSTATS;
  stats->n_stats = driver.n_stats;
  RETURN_IF_ERROR(Ethtool(interface, stats));
  uint64_t sent = 0;
  bool found = false;
  for (size_t i = 0; i < count; ++i) {
    const auto* text = reinterpret_cast<const char*>(strings->data + i * ETH_GSTRING_LEN);
    const std::string_view name(text, strnlen(text, ETH_GSTRING_LEN));
    if (!name.ends_with("_xdp_tx")) continue;
    found = true;
    sent += stats->data[i];
  }
  if (!found) return absl::NotFoundError("no counter of XDP at " + interface);
  return sent;
}

class XdpWays : public EdgeWays {
 protected:
  // A veth sends what XDP returns to it only to an end that polls, and its checksums have to be
  // complete: there is no card to fill them in.
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(EdgeWays::SetUp());
    ASSERT_STATUS(InNetns(switch_->fd(), [] { return MakePoll("port2"); }));
    ASSERT_STATUS(InNetns(outside_->fd(), [] {
      ethtool_value off{ETHTOOL_STXCSUM, 0};
      return Ethtool("uplink", &off);
    }));
    one_.config.xdp = true;
    xdp_on_veth_ = true;
    ASSERT_STATUS(OpenNode(one_));
  }

  uint64_t Carried() {
    uint64_t sent = 0;
    const absl::Status status = InNetns(one_.netns->fd(), [&]() -> absl::Status {
      ASSIGN_OR_RETURN(sent, SentByXdp("uplink"));
      return absl::OkStatus();
    });
    EXPECT_TRUE(status.ok()) << status;
    return sent;
  }

  // The same as the dataplane tells it.
  uint64_t Counted() {
    const absl::StatusOr<std::vector<MetricRow>> metrics = one_.dataplane->Metrics();
    EXPECT_TRUE(metrics.ok()) << metrics.status();
    for (const MetricRow& row : metrics.value_or(std::vector<MetricRow>())) {
      if (row.reason == "forwarded_xdp" && row.direction == "ingress") return row.packets;
    }
    ADD_FAILURE() << "no row of XDP";
    return 0;
  }

  absl::Status Reopen(KernelDataplane::Options options) {
    one_.dataplane.reset();
    return OpenNode(one_, std::move(options));
  }

  // Runs `change` in the middle of traffic from outside to a pod of the other node.
  void UnderTraffic(const std::function<void()>& change) {
    wire_.reset();  // of so many packets the streams tell themselves what was lost
    const Echo far(*far_.netns, 8080, any_);
    DatagramStream datagrams(*outside_, NodeIp(one_), kNodePort, 5000);
    Connections connections(*outside_, NodeIp(one_), kNodePort);
    Await(datagrams);

    change();

    const uint64_t before = Carried();
    Await(datagrams);
    EXPECT_GT(Carried(), before + 500) << "of a thousand datagrams and more";
    const DatagramStream::Result sent = datagrams.Stop();
    const Connections::Result made = connections.Stop();
    EXPECT_EQ(sent.lost, 0u) << "of " << sent.sent << ", the first "
                             << ::testing::PrintToString(sent.first_lost);
    EXPECT_THAT(made.problems, ::testing::IsEmpty());
    EXPECT_GT(made.exchanges, 0u);
    std::cerr << sent.sent << " datagrams, " << made.exchanges << " exchanges, " << made.connections
              << " connections, " << made.sent_again << " segments sent again\n";
  }

  static void Await(const DatagramStream& stream) {
    const uint64_t before = stream.sent();
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (stream.sent() < before + 1500) {
      ASSERT_LT(absl::Now(), deadline);
      sched_yield();
    }
  }
};

// What starts many times over.
class XdpRestart : public XdpWays {};

TEST_P(XdpRestart, IsNotForAVeth) {
  xdp_on_veth_ = false;
  EXPECT_EQ(OpenNode(one_).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(XdpWays, CarryEstablishedFlowsPastTheKernel) {
  Socket listener = Listener(*far_.netns, any_, 8080);
  Socket receiver = Receiver(*far_.netns, any_, 8080);
  for (const bool direct : {false, true}) {
    Serve({far_.ip}).direct_return = direct;
    Apply();
    const uint64_t before = Carried(), counted_before = Counted();
    EXPECT_THAT(Talk(*outside_, NodeIp(one_), kNodePort, listener),
                From(direct ? outside_ip_ : Gateway(one_)));
    // Of more than two thousand segments.
    EXPECT_GT(Carried() - before, 1800u) << (direct ? "direct return" : "new source");
    EXPECT_GT(Counted() - counted_before, 1800u);
    ExpectDatagrams(*outside_, balancer_, 80, receiver);
  }
}

TEST_P(XdpRestart, AgentsStopAndStart) {
  // With one family translated, with the other not.
  Serve({far_.ip}).direct_return = way_.family == Family::kV6;
  Apply();
  UnderTraffic([&] {
    for (int i = 0; i < 3; ++i) {
      ASSERT_STATUS(Reopen({.bpf_root = one_.bpf_root}));
      Apply();
    }
  });
}

TEST_P(XdpRestart, NewerBuildsReplaceTheAgent) {
  Serve({far_.ip});
  Apply();
  UnderTraffic([&] {
    for (uint32_t version = MESH_ABI_VERSION + 1; version < MESH_ABI_VERSION + 3; ++version) {
      ASSERT_STATUS(Reopen({.bpf_root = one_.bpf_root, .abi_version = version}));
      Apply();
    }
  });
}

// Two tables know of connections then, and the tc programs say which of them is right.
TEST_P(XdpRestart, NothingIsCarriedWhileTheConnectionTableMoves) {
  wire_.reset();
  Serve({far_.ip});
  Apply();
  const Echo far(*far_.netns, 8080, any_);
  DatagramStream datagrams(*outside_, NodeIp(one_), kNodePort, 5000);
  Await(datagrams);
  std::optional<uint64_t> carried;
  const auto measure = [&](std::string_view step) {
    if (step != "next hook" || carried.has_value()) return;
    const uint64_t before = Carried();
    Await(datagrams);
    carried = Carried() - before;
  };
  ASSERT_STATUS(
      Reopen({.bpf_root = one_.bpf_root, .abi_version = MESH_ABI_VERSION + 1, .on_step = measure}));
  ASSERT_TRUE(carried.has_value()) << "nothing was taken over";
  EXPECT_LT(*carried, 100u) << "but what was on its way, of a thousand and more";
  EXPECT_EQ(datagrams.Stop().lost, 0u);
}

// With direct return what a client sends must fit the tunnel, even where the link takes more.
TEST_P(XdpWays, ClientsLearnWhatDoesNotFitTheTunnel) {
  Serve({far_.ip}).direct_return = true;
  Apply();
  Socket receiver = Receiver(*far_.netns, any_, 8080);
  const size_t headers = way_.family == Family::kV4 ? 28 : 48;
  Socket client = *Socket::Udp(*outside_, way_.family);
  ASSERT_STATUS(client.WantErrors());
  ASSERT_STATUS(client.Connect(NodeIp(one_), kNodePort));
  ASSERT_STATUS(client.ForbidFragments());
  const auto answered = [&](size_t size) {
    const std::string question(size, 'x');
    ASSERT_STATUS(client.Send(question));
    EXPECT_EQ(receiver.Answer("answer", absl::Seconds(20)).value_or("").size(), size);
    EXPECT_EQ(client.Receive(absl::Seconds(20)).value_or(""), "answer");
  };
  ASSERT_NO_FATAL_FAILURE(answered(8));  // by tc
  ASSERT_NO_FATAL_FAILURE(answered(8));  // by XDP
  ASSERT_NO_FATAL_FAILURE(answered(1450 - headers));

  ASSERT_STATUS(client.Send(std::string(1500 - headers, 'x')));
  const absl::StatusOr<Socket::IcmpError> error = client.ReceiveError(absl::Seconds(20));
  ASSERT_TRUE(error.ok()) << error.status();
  EXPECT_EQ(error->info, 1450u);
  EXPECT_EQ(client.PathMtu().value_or(0), 1450);

  // Cut by the client, who knows now, or on the way, where it may be: both arrive.
  Socket other = *Socket::Udp(*outside_, way_.family);
  ASSERT_STATUS(other.Connect(NodeIp(one_), kNodePort));
  for (int i = 0; i < 2; ++i) {
    ASSERT_STATUS(other.Send(std::string(1500 - headers, 'y')));
    EXPECT_EQ(receiver.Answer("answer", absl::Seconds(20)).value_or("").size(), 1500 - headers);
    EXPECT_EQ(other.Receive(absl::Seconds(20)).value_or(""), "answer");
  }
}

INSTANTIATE_TEST_SUITE_P(, XdpWays, ::testing::ValuesIn(AllWays()), NameOf);
INSTANTIATE_TEST_SUITE_P(, XdpRestart, EveryWay(), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
