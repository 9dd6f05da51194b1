// SPDX-License-Identifier: Apache-2.0
// Goal: while somebody listens the programs tell of every flow that is opened, closed or refused,
// once and right; otherwise, and of packets of a flow that stands, nothing. What is not told is
// counted. Method: packets through the real programs by BPF_PROG_TEST_RUN, over the world of
// world.h; the ring is read as the agent reads it.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <time.h>

#include <map>
#include <string>
#include <vector>

#include "dataplane/bpf/kernel_map.h"
#include "dataplane/kernel_flow_events.h"
#include "dataplane/reasons.h"
#include "tests/bpf/world.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Echo;
using mesh::testing::Encode;
using mesh::testing::kAck;
using mesh::testing::kFin;
using mesh::testing::kRst;
using mesh::testing::kSyn;
using mesh::testing::Place;
using mesh::testing::Tcp;
using mesh::testing::Udp;

const Place kClient = At("10.244.1.10:40000"), kNear = At("10.244.1.11:8080"),
            kClerk = At("10.244.1.12:40000"), kWeb = At("10.96.0.10:80"),
            kFar = At("10.244.2.10:8080");

// "opened TCP a:1 > b:2 (c:3 > d:4)"; the brackets where it leaves otherwise.
std::string Text(const FlowEvent& event) {
  static const std::map<FlowEvent::Kind, std::string> kKinds = {
      {FlowEvent::Kind::kOpened, "opened"},
      {FlowEvent::Kind::kClosed, "closed"},
      {FlowEvent::Kind::kDropped, "dropped"},
      {FlowEvent::Kind::kRefused, "refused"}};
  const auto place = [](const IpAddress& ip, uint16_t port) {
    return ip.ToString() + " " + std::to_string(port);
  };
  std::string out = kKinds.at(event.kind) + " " + std::to_string(event.protocol) + " " +
                    place(event.source, event.source_port) + " > " +
                    place(event.destination, event.destination_port);
  if (event.server != IpAddress())
    out += " (" + place(event.translated_source, event.translated_source_port) + " > " +
           place(event.server, event.server_port) + ")";
  if (event.reason != 0) out += " " + ReasonName(event.reason);
  return out;
}

class Events : public World {
 protected:
  void SetUp() override {
    World::SetUp();
    auto opened = OpenFlowEvents(*programs_->CopyMaps());
    ASSERT_TRUE(opened.ok()) << opened.status();
    events_ = *std::move(opened);
  }

  std::vector<FlowEvent> Told() {
    std::vector<FlowEvent> out;
    size_t before;
    do {
      before = out.size();
      events_->Wake();
      const absl::Status status = events_->Read(
          absl::ZeroDuration(), [&](const FlowEvent& event) { out.push_back(event); });
      EXPECT_TRUE(status.ok()) << status;
    } while (out.size() != before);
    return out;
  }
  std::vector<std::string> Texts() {
    std::vector<std::string> out;
    for (const FlowEvent& event : Told()) out.push_back(Text(event));
    return out;
  }
  static std::string Line(const std::string& kind, int protocol, const Place& from, const Place& to,
                          const std::string& rest = "") {
    const auto place = [](const Place& p) {
      return Own(p.ip).ToString() + " " + std::to_string(p.port);
    };
    return kind + " " + std::to_string(protocol) + " " + place(from) + " > " + place(to) + rest;
  }
  static std::string Leaving(const Place& from, const Place& to) {
    return " (" + Own(from.ip).ToString() + " " + std::to_string(from.port) + " > " +
           Own(to.ip).ToString() + " " + std::to_string(to.port) + ")";
  }

  std::unique_ptr<FlowEvents> events_;
};

using Lines = std::vector<std::string>;

TEST_F(Events, NothingIsToldUntilSomebodyListens) {
  Serve({"10.244.1.11:8080"});
  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(clerk_, Tcp(kClerk, kNear, kSyn));

  EXPECT_EQ(Texts(), Lines{});

  ASSERT_TRUE(events_->Listen(/*drops=*/true, /*flows=*/false).ok());
  FromPod(client_, Udp(kClient, kWeb));
  FromPod(clerk_, Tcp(kClerk, kNear, kSyn));
  EXPECT_EQ(Texts(),
            (Lines{Line("dropped", 6, kClerk, kNear, Leaving(kClerk, kNear) + " isolation")}));
}

TEST_F(Events, AFlowThroughAServiceIsOpenedOnceAndClosedOnce) {
  Serve({"10.244.1.11:8080"});
  ASSERT_TRUE(events_->Listen(true, true).ok());

  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(client_, Tcp(kClient, kWeb, kSyn));  // again
  const std::vector<FlowEvent> opened = Told();
  FromPod(near_, Tcp(kNear, kClient, kSyn | kAck));
  FromPod(client_, Tcp(kClient, kWeb, kAck));
  FromPod(client_, Tcp(kClient, kWeb, kAck, "question"));
  FromPod(near_, Tcp(kNear, kClient, kAck, "answer"));
  EXPECT_EQ(Texts(), Lines{});
  FromPod(near_, Tcp(kNear, kClient, kFin | kAck));
  EXPECT_EQ(Texts(), Lines{});
  FromPod(client_, Tcp(kClient, kWeb, kFin | kAck));
  const std::vector<FlowEvent> closed = Told();
  FromPod(near_, Tcp(kNear, kClient, kAck));
  FromPod(client_, Tcp(kClient, kWeb, kRst));  // it has closed

  ASSERT_EQ(opened.size(), 1u);
  EXPECT_EQ(Text(opened[0]), Line("opened", 6, kClient, kWeb, Leaving(kClient, kNear)));
  EXPECT_NE(opened[0].service_id, 0u);
  EXPECT_EQ(opened[0].source_identity, kShop);
  EXPECT_EQ(opened[0].server_identity, kShop);
  EXPECT_EQ(opened[0].target, MESH_TARGET_POD);
  EXPECT_EQ(opened[0].tcp_flags, kSyn);
  ASSERT_EQ(closed.size(), 1u);
  EXPECT_EQ(Text(closed[0]), Line("closed", 6, kClient, kWeb, Leaving(kClient, kNear)));
  EXPECT_EQ(closed[0].service_id, opened[0].service_id);
  EXPECT_EQ(closed[0].packets, 8u);
  EXPECT_EQ(closed[0].tcp_flags, kFin | kAck);
  EXPECT_GE(closed[0].time_ns, opened[0].time_ns);
  EXPECT_EQ(Texts(), Lines{});
}

TEST_F(Events, WhatTheServerClosesIsTheClientsFlowToo) {
  Serve({"10.244.2.10:8080"});
  ASSERT_TRUE(events_->Listen(true, true).ok());
  FromPod(client_, Tcp(kClient, kWeb, kSyn));

  FromPeer(kShop, Tcp(kFar, kClient, kRst | kAck));

  EXPECT_EQ(Texts(), (Lines{Line("opened", 6, kClient, kWeb, Leaving(kClient, kFar)),
                            Line("closed", 6, kClient, kWeb, Leaving(kClient, kFar))}));
}

TEST_F(Events, DatagramsAndEchoesAreOpened) {
  ASSERT_TRUE(events_->Listen(true, true).ok());

  FromPod(client_, Udp(kClient, kNear));
  FromPod(client_, Udp(kClient, kNear));
  FromPod(client_, Echo("10.244.1.10", "10.244.1.11", 7));

  const Place asking = At("10.244.1.10:7"), asked = At("10.244.1.11:0");
  EXPECT_EQ(Texts(),
            (Lines{Line("opened", 17, kClient, kNear, Leaving(kClient, kNear)),
                   Line("opened", kIpv6 ? 58 : 1, asking, asked, Leaving(asking, asked))}));
}

TEST_F(Events, AFlowOfAnotherNodeSaysWhoseItIs) {
  ASSERT_TRUE(events_->Listen(true, true).ok());

  FromPeer(kShop, Tcp(kFar, kNear, kSyn));
  FromPeer(kBank, Tcp(At("10.244.2.12:5000"), kNear, kSyn));

  const std::vector<FlowEvent> told = Told();
  ASSERT_EQ(told.size(), 2u);
  EXPECT_EQ(Text(told[0]), Line("opened", 6, kFar, kNear, Leaving(kFar, kNear)));
  EXPECT_EQ(told[0].source_identity, kShop);
  EXPECT_EQ(told[1].source_identity, kBank);
  EXPECT_TRUE(told[1].to_pod);
  EXPECT_EQ(ReasonName(told[1].reason), "isolation");
}

TEST_F(Events, WhoIsToldWhyIsRefused) {
  ASSERT_TRUE(events_->Listen(true, true).ok());
  Serve({});

  FromPod(client_, Tcp(kClient, kWeb, kSyn));
  FromPod(client_, Tcp(kClient, kFar, kAck));              // of no connection
  FromPod(client_, Tcp(kClient, kFar, kRst));              // nothing answers a reset
  FromPod(client_, Tcp(At("10.244.1.99:1"), kFar, kSyn));  // not its address
  FromPod(client_, Udp(kClient, At("10.96.0.99:1")));

  EXPECT_EQ(Texts(), (Lines{Line("refused", 6, kClient, kWeb, " no_backend"),
                            Line("refused", 6, kClient, kFar, " no_flow"),
                            Line("dropped", 6, kClient, kFar, " no_flow"),
                            Line("dropped", 6, At("10.244.1.99:1"), kFar, " source_address"),
                            Line("refused", 17, kClient, At("10.96.0.99:1"), " no_service")}));
}

// As many drops as are counted are told, whatever bytes they are made of.
TEST_F(Events, EveryCutPacketIsTold) {
  Serve({"10.244.1.11:8080"});
  ASSERT_TRUE(events_->Listen(true, false).ok());
  constexpr size_t kHeaders = 14 + (kIpv6 ? 40 : 20);
  std::string frame = Encode(Tcp(kClient, kWeb, kSyn, "data"));
  if (kIpv6) frame = mesh::testing::FrameToIpv6(frame);
  size_t dropped = 0;

  for (size_t length = kHeaders; length < kHeaders + 20; ++length) {
    const Outcome out = FromPod(client_, frame.substr(0, length));
    EXPECT_EQ(out.reason, "invalid") << length;
    ++dropped;
  }

  const std::vector<FlowEvent> told = Told();
  ASSERT_EQ(told.size(), dropped);
  for (const FlowEvent& event : told) {
    EXPECT_EQ(event.source, Own(kClient.ip));
    EXPECT_EQ(event.destination, Own(kWeb.ip));
  }
}

int64_t Window() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec) >>
         MESH_EVENT_WINDOW_SHIFT;
}

// However fast this machine is: what is not told of a flood is counted.
TEST_F(Events, AFloodOfDropsIsCountedInWhole) {
  ASSERT_TRUE(events_->Listen(true, true).ok());
  const FlowLoss before = *events_->Loss();
  constexpr uint64_t kPackets = 500;

  for (uint64_t i = 0; i < kPackets; ++i) FromPod(clerk_, Tcp(kClerk, kNear, kSyn));

  const uint64_t told = Told().size();
  const FlowLoss after = *events_->Loss();
  EXPECT_EQ(told + after.suppressed - before.suppressed, kPackets);
  EXPECT_GE(told, uint64_t{MESH_EVENT_DROPS_PER_WINDOW});
  EXPECT_EQ(after.ring, before.ring);
}

TEST_F(Events, BeyondItsShareADropIsCountedAndNotTold) {
  ASSERT_TRUE(events_->Listen(true, true).ok());
  const int map = programs_->map(MESH_EVENT_LOSS_MAP_NAME);
  const uint32_t zero = 0;
  std::vector<mesh_event_loss_value> per_cpu(static_cast<size_t>(*PossibleCpus()));
  // The window may pass meanwhile; then once more.
  for (int tries = 0; tries < 100; ++tries) {
    const int64_t window = Window();
    for (mesh_event_loss_value& cpu : per_cpu)
      cpu = {0, 0, static_cast<uint64_t>(window), MESH_EVENT_DROPS_PER_WINDOW};
    ASSERT_EQ(bpf_map_update_elem(map, &zero, per_cpu.data(), BPF_ANY), 0);

    EXPECT_EQ(FromPod(clerk_, Tcp(kClerk, kNear, kSyn)).reason, "isolation");

    const bool passed = Window() != window;
    const size_t told = Told().size();
    if (passed) continue;
    EXPECT_EQ(told, 0u);
    EXPECT_EQ(events_->Loss()->suppressed, 1u);
    return;
  }
  FAIL() << "no packet within one window";
}

// A client who opens flows faster than anybody reads: the ring ends, flows do not.
TEST_F(Events, AFullRingLosesEventsAndNoPackets) {
  Serve({"10.244.1.11:8080"});
  ASSERT_TRUE(events_->Listen(true, true).ok());
  const FlowLoss before = *events_->Loss();
  constexpr uint64_t kFlows = 5000;

  for (uint64_t i = 0; i < kFlows; ++i) {
    const Place from{kClient.ip, static_cast<uint16_t>(10000 + i)};
    ASSERT_EQ(FromPod(client_, Tcp(from, kWeb, kSyn)).reason, "forwarded");
  }

  const uint64_t told = Told().size();
  const FlowLoss after = *events_->Loss();
  EXPECT_EQ(told, MESH_EVENTS_BYTES / (sizeof(mesh_flow_event) + 8));
  EXPECT_EQ(told + after.ring - before.ring, kFlows);
  EXPECT_EQ(Flows(), kFlows);
  // There is room again.
  FromPod(client_, Udp(kClient, kWeb));
  EXPECT_EQ(Told().size(), 1u);
}

TEST_F(Events, WhatAnotherAgentHasLeftIsThrownAway) {
  ASSERT_TRUE(events_->Listen(true, true).ok());
  FromPod(client_, Udp(kClient, kNear));

  auto next = OpenFlowEvents(*programs_->CopyMaps());
  ASSERT_TRUE(next.ok()) << next.status();
  events_ = *std::move(next);

  EXPECT_EQ(Texts(), Lines{});
  // And nobody listens until it says so.
  FromPod(clerk_, Tcp(kClerk, kNear, kSyn));
  EXPECT_EQ(Texts(), Lines{});
}

TEST(FlowEvents, WhatIsSentToAGroupIsNotRefused) {
  mesh_flow_event event{};
  event.kind = MESH_EVENT_REFUSED;
  event.saddr = EncodeIp6(*IpAddress::Parse("fd00::1"));
  event.daddr = EncodeIp6(*IpAddress::Parse("fd00::2"));
  EXPECT_EQ(DecodeFlowEvent(event).kind, FlowEvent::Kind::kRefused);
  for (const char* group : {"ff02::16", "224.0.0.22", "255.255.255.255"}) {
    event.daddr = EncodeIp6(*IpAddress::Parse(group));
    EXPECT_EQ(DecodeFlowEvent(event).kind, FlowEvent::Kind::kDropped) << group;
  }
  event.daddr = EncodeIp6(*IpAddress::Parse("fd00::2"));
  event.saddr = {};
  EXPECT_EQ(DecodeFlowEvent(event).kind, FlowEvent::Kind::kDropped);
}

TEST_F(Events, APacketThatIsAskedAboutTellsNothing) {
  Serve({"10.244.1.11:8080"});
  ASSERT_TRUE(events_->Listen(true, true).ok());
  Ask(true);

  EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).reason, "forwarded");
  EXPECT_EQ(FromPod(clerk_, Tcp(kClerk, kNear, kSyn)).reason, "isolation");

  EXPECT_EQ(Texts(), Lines{});
}

}  // namespace
}  // namespace mesh::dataplane::testing
