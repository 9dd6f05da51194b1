// SPDX-License-Identifier: Apache-2.0
// Goal: every reader gets what the programs tell, with names, or is told how much it missed; the
// programs tell of flows only while somebody follows. Method: the real hub over a source that the
// test feeds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "agent/network/flow_hub.h"
#include "agent/network/flow_rows.h"
#include "agent/network/flow_stream.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"
#include "tests/unit/agent/network/fake_events.h"
#include "tests/unit/agent/network/named_state.h"

namespace mesh::agent {
namespace {

using dataplane::FlowEvent;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Duration kLong = absl::Seconds(60);

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

// shop/web-1 (here) dials shop/web, and gets shop/web-2 on node-2.
FlowEvent Opened(uint16_t port = 40000) {
  FlowEvent out;
  out.time_ns = 1'000'000'000;
  out.protocol = 6;
  out.source = out.translated_source = Ip("10.244.1.5");
  out.source_port = out.translated_source_port = port;
  out.destination = Ip("10.96.0.10");
  out.destination_port = 80;
  out.server = Ip("10.244.2.9");
  out.server_port = 8080;
  out.service_id = 3;
  out.target = MESH_TARGET_TUNNEL;
  out.tcp_flags = 2;
  out.source_identity = 300;
  return out;
}

FlowEvent Dropped(uint16_t port = 40000) {
  FlowEvent out = Opened(port);
  out.kind = FlowEvent::Kind::kDropped;
  out.reason = MESH_REASON_ISOLATION;
  out.to_pod = true;
  out.packets = 1;
  out.bytes = 74;
  return out;
}

FlowNamer NamerOf() {
  return FlowNamer(NamedState().get(), {}, "node-1", {Ip("192.168.9.1"), Ip("10.244.1.1")});
}

std::vector<uint16_t> Ports(const FlowHub::Batch& batch) {
  std::vector<uint16_t> out;
  for (const FlowEvent& event : batch.events) out.push_back(event.source_port);
  return out;
}

TEST(FlowHub, EveryReaderGetsEverythingFromWhenItFollows) {
  FakeRing ring;
  FlowHub hub(std::make_unique<FakeEvents>(&ring));
  EXPECT_TRUE(ring.Listens(false));
  auto first = hub.Follow();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_TRUE(ring.Listens(true));

  ring.Tell({Opened(1)});
  EXPECT_THAT(Ports((*first)->Next(absl::Now() + kLong)), ElementsAre(1));
  auto second = hub.Follow();
  ASSERT_TRUE(second.ok()) << second.status();
  ring.Tell({Opened(2)});
  EXPECT_THAT(Ports((*first)->Next(absl::Now() + kLong)), ElementsAre(2));
  EXPECT_THAT(Ports((*second)->Next(absl::Now() + kLong)), ElementsAre(2));

  first->reset();
  EXPECT_TRUE(ring.Listens(true));
  second->reset();
  EXPECT_TRUE(ring.Listens(false));
}

TEST(FlowHub, AReaderThatIsTooSlowIsToldHowMuchItMissed) {
  FakeRing ring;
  FlowHub hub(std::make_unique<FakeEvents>(&ring));
  auto slow = *hub.Follow();
  auto quick = *hub.Follow();
  size_t told = 0;

  ring.Tell(std::vector<FlowEvent>(FlowHub::kQueue + 10, Opened()));
  while (told < FlowHub::kQueue) told += quick->Next(absl::Now() + kLong).events.size();
  ring.Tell({Opened(7)});
  const FlowHub::Batch next = quick->Next(absl::Now() + kLong);

  const FlowHub::Batch late = slow->Next(absl::Now() + kLong);
  EXPECT_EQ(late.events.size(), FlowHub::kQueue);
  EXPECT_EQ(late.lost.queue, 11u);
  EXPECT_EQ(next.lost.ring + late.lost.ring, 0u);
  EXPECT_EQ(slow->Next(absl::Now()).lost.queue, 0u);
}

TEST(FlowHub, WhatTheProgramsCouldNotTellIsToldOnceToEach) {
  FakeRing ring;
  ring.loss = {100, 200};
  FlowHub hub(std::make_unique<FakeEvents>(&ring));
  auto reader = *hub.Follow();
  EXPECT_FALSE(reader->Next(absl::Now()).lost.any());
  {
    absl::MutexLock lock(&ring.mutex);
    ring.loss = {103, 250};
  }

  const FlowHub::Batch batch = reader->Next(absl::Now());

  EXPECT_EQ(batch.lost.ring, 3u);
  EXPECT_EQ(batch.lost.suppressed, 50u);
  EXPECT_FALSE(reader->Next(absl::Now()).lost.any());
}

TEST(FlowHub, KeepsTheNewestDropsForWhoAsksAfterwards) {
  FakeRing ring;
  FlowHub hub(std::make_unique<FakeEvents>(&ring));
  auto reader = *hub.Follow();
  std::vector<FlowEvent> events(FlowHub::kRecent, Dropped(1));
  events.push_back(Dropped(2));
  events.push_back(Opened(3));
  ring.Tell(events);
  for (size_t told = 0; told < events.size();)
    told += reader->Next(absl::Now() + kLong).events.size();

  const std::vector<FlowEvent> recent = hub.RecentDrops();

  ASSERT_EQ(recent.size(), FlowHub::kRecent);
  EXPECT_EQ(recent.front().source_port, 1);
  EXPECT_EQ(recent.back().source_port, 2);
}

TEST(FlowHub, KnowsWhoWasRefusedForTheNumberOfHisFlows) {
  FakeRing ring;
  FlowHub hub(std::make_unique<FakeEvents>(&ring));
  auto reader = hub.Follow();
  ASSERT_TRUE(reader.ok()) << reader.status();
  FlowEvent refused = Dropped();
  refused.reason = MESH_REASON_QUOTA;
  FlowEvent other = Dropped();
  other.source = Ip("10.244.1.6");

  ring.Tell({refused, refused, other});
  (*reader)->Next(absl::Now() + kLong);

  EXPECT_THAT(hub.ReleaseQuotaRefusals(), ElementsAre(refused.source));
  EXPECT_THAT(hub.ReleaseQuotaRefusals(), IsEmpty());
}

TEST(FlowHub, ASourceThatBreaksEndsItsReaders) {
  FakeRing ring;
  FlowHub hub(std::make_unique<FakeEvents>(&ring));
  auto reader = *hub.Follow();
  {
    absl::MutexLock lock(&ring.mutex);
    ring.broken = absl::InternalError("the ring is gone");
  }

  EXPECT_EQ(reader->Next(absl::Now() + kLong).ended, ring.broken);
  EXPECT_FALSE(hub.Follow().ok());
}

TEST(FlowNamer, NamesPodsServicesAndReasons) {
  const v1::Flow flow = NamerOf().FromEvent(Opened(), absl::FromUnixSeconds(100), 3'500'000'000);

  EXPECT_EQ(flow.time().seconds(), 97);
  EXPECT_EQ(flow.time().nanos(), 500'000'000);
  EXPECT_EQ(flow.node(), "node-1");
  EXPECT_EQ(flow.event(), "opened");
  EXPECT_EQ(flow.verdict(), "forwarded");
  EXPECT_EQ(flow.reason(), "");
  EXPECT_EQ(flow.source().namespace_() + "/" + flow.source().pod(), "shop/web-1");
  EXPECT_EQ(flow.destination().namespace_() + "/" + flow.destination().pod(), "shop/web-2");
  EXPECT_EQ(flow.destination().port(), 8080u);
  EXPECT_EQ(flow.dialled_address(), "10.96.0.10");
  EXPECT_EQ(flow.dialled_port(), 80u);
  EXPECT_EQ(flow.service_namespace() + "/" + flow.service(), "shop/web");
  EXPECT_EQ(flow.target(), "tunnel");
  EXPECT_EQ(flow.tcp_flags(), "syn");
  EXPECT_EQ(flow.translated_source(), "");
}

TEST(FlowNamer, TellsAVerdictOfEachKind) {
  FlowEvent event = Dropped();
  v1::Flow flow = NamerOf().FromEvent(event, absl::Now(), 0);
  EXPECT_EQ(flow.event() + " " + flow.verdict() + " " + flow.reason() + " " + flow.direction(),
            "packet dropped isolation ingress");
  event.kind = FlowEvent::Kind::kRefused;
  event.reason = MESH_REASON_NO_BACKEND;
  event.server = event.translated_source = IpAddress();
  event.service_id = 0;
  flow = NamerOf().FromEvent(event, absl::Now(), 0);
  EXPECT_EQ(flow.event() + " " + flow.verdict() + " " + flow.reason(), "packet refused no_backend");
  EXPECT_EQ(flow.destination().address(), "10.96.0.10");
  EXPECT_EQ(flow.service(), "web");
  EXPECT_EQ(flow.target(), "");
  event.kind = FlowEvent::Kind::kClosed;
  EXPECT_EQ(NamerOf().FromEvent(event, absl::Now(), 0).event(), "closed");
}

TEST(FlowNamer, NamesThePoliciesThatAPacketWasDroppedBy) {
  const auto state = NamedState();
  v1::IdentityState web;
  web.set_identity(300);
  web.set_ingress(5);
  web.set_ingress6(6);
  web.set_egress(7);
  state->identities[300] = web;
  const auto put = [&](uint32_t number, const std::vector<std::string>& policies) {
    v1::PolicySetState set;
    set.set_number(number);
    for (const std::string& policy : policies) set.add_policies(policy);
    state->policy_sets[number] = set;
  };
  put(5, {"shop/allow", "shop/deny"});
  put(6, {"shop/v6"});
  put(7, {"shop/quiet"});
  const FlowNamer namer(state.get(), {}, "node-1", {});
  const auto policy = [&](const FlowEvent& event) {
    return namer.FromEvent(event, absl::Now(), 0).policy();
  };
  // The pod of this node is the sender.
  FlowEvent event = Dropped();
  EXPECT_EQ(policy(event), "") << "isolation is no policy's";
  event.reason = MESH_REASON_POLICY_EGRESS;
  EXPECT_EQ(policy(event), "no rule of shop/quiet");
  // And the receiver.
  std::swap(event.source, event.server);
  event.reason = MESH_REASON_POLICY_INGRESS;
  EXPECT_EQ(policy(event), "no rule of shop/allow, shop/deny");
  event.server = Ip("10.244.1.77");
  EXPECT_EQ(policy(event), "") << "nobody knows this pod";
}

TEST(FlowNamer, NamesNodesByTheirAddressesAndGateways) {
  FlowEvent event = Opened();
  event.source = event.translated_source = Ip("10.244.1.1");
  event.source_identity = 1;
  EXPECT_EQ(NamerOf().FromEvent(event, absl::Now(), 0).source().node(), "node-1");
  event.source = Ip("192.168.9.2");
  EXPECT_EQ(NamerOf().FromEvent(event, absl::Now(), 0).source().node(), "node-2");
  event.source = Ip("10.244.2.1");
  EXPECT_EQ(NamerOf().FromEvent(event, absl::Now(), 0).source().node(), "node-2");
}

// Of a pod of another node that serves nothing only the namespace is known, by its identity.
TEST(FlowNamer, AnUnknownPodHasItsNamespaceAndMayHaveAName) {
  FlowEvent event = Opened();
  event.source = Ip("10.244.2.77");
  const FlowNamer namer = NamerOf();
  const v1::Flow flow = namer.FromEvent(event, absl::Now(), 0);

  EXPECT_EQ(flow.source().namespace_(), "shop");
  EXPECT_EQ(flow.source().pod(), "");
  EXPECT_TRUE(namer.MayHaveName(flow.source()));
  event.source = Ip("203.0.113.5");
  event.source_identity = 2;
  const v1::Flow outside = namer.FromEvent(event, absl::Now(), 0);
  EXPECT_EQ(outside.source().namespace_(), "");
  EXPECT_FALSE(namer.MayHaveName(outside.source()));
}

// Calls of NodeService.Flows, answered on this thread.
class FlowStream : public ::testing::Test {
 protected:
  FlowStream() {
    hooks_.names = [] { return std::make_shared<const FlowNamer>(NamerOf()); };
    hooks_.conntrack = [this] { return conntrack_; };
    hooks_.write = [this](const v1::FlowsChunk& chunk) {
      ++chunks_;
      for (const v1::Flow& flow : chunk.flows())
        told_.push_back(flow.event() + " " + std::to_string(flow.source().port()));
      lost_.MergeFrom(chunk.lost());
      more_ = more_ || chunk.more();
      if (chunks_ == 1 && after_first_) after_first_();
      return chunks_ < until_chunk_;
    };
    hooks_.cancelled = [] { return false; };
  }
  absl::Status Run(const v1::FlowsRequest& request) { return StreamFlows(request, hub_, hooks_); }

  FakeRing ring_;
  FlowHub hub_{std::make_unique<FakeEvents>(&ring_)};
  FlowStreamHooks hooks_;
  std::vector<dataplane::ConntrackRow> conntrack_;
  std::vector<std::string> told_;
  v1::FlowLoss lost_;
  bool more_ = false;
  int chunks_ = 0, until_chunk_ = 1'000'000;
  std::function<void()> after_first_;
};

TEST_F(FlowStream, SaysAtOnceThatItListensAndThenWhatMatches) {
  v1::FlowsRequest request;
  request.set_follow(true);
  request.mutable_filter()->add_verdicts("dropped");
  after_first_ = [&] { ring_.Tell({Opened(1), Dropped(2), Opened(3)}); };
  until_chunk_ = 2;

  EXPECT_TRUE(Run(request).ok());

  EXPECT_THAT(told_, ElementsAre("packet 2"));
  EXPECT_TRUE(ring_.Listens(false));
}

TEST_F(FlowStream, LossIsToldThoughNothingMatches) {
  v1::FlowsRequest request;
  request.set_follow(true);
  request.mutable_filter()->add_ports(9);
  after_first_ = [&] {
    absl::MutexLock lock(&ring_.mutex);
    ring_.loss.ring = 5;
    ring_.events.push_back(Opened());
  };
  until_chunk_ = 2;

  EXPECT_TRUE(Run(request).ok());

  EXPECT_THAT(told_, IsEmpty());
  EXPECT_EQ(lost_.ring(), 5u);
}

TEST_F(FlowStream, WithoutFollowTellsOpenFlowsAndTheNewestDrops) {
  {
    auto reader = *hub_.Follow();
    ring_.Tell({Dropped(2), Dropped(3)});
    for (size_t told = 0; told < 2;) told += reader->Next(absl::Now() + kLong).events.size();
  }
  dataplane::ConntrackRow row;
  row.source = Ip("10.244.1.5");
  row.source_port = 1;
  row.destination = row.backend = Ip("10.244.2.9");
  row.destination_port = row.backend_port = 8080;
  row.state = "established";
  row.idle = absl::ZeroDuration();
  conntrack_ = {row};
  v1::FlowsRequest request;

  EXPECT_TRUE(Run(request).ok());
  // In the order of time: the drops are of the machine's first second.
  EXPECT_THAT(told_, ElementsAre("packet 2", "packet 3", "open 1"));
  EXPECT_FALSE(more_);

  told_.clear();
  request.set_limit(2);
  EXPECT_TRUE(Run(request).ok());
  EXPECT_THAT(told_, ElementsAre("packet 3", "open 1"));
  EXPECT_TRUE(more_);
}

TEST_F(FlowStream, ARuleThatCannotMatchIsRefused) {
  v1::FlowsRequest request;
  request.mutable_filter()->add_reasons("isolaton");

  const absl::Status status = Run(request);

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("reason: \"isolaton\""));
  request.mutable_filter()->clear_reasons();
  request.mutable_filter()->add_ips("nowhere");
  EXPECT_EQ(Run(request).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(chunks_, 0);
}

}  // namespace
}  // namespace mesh::agent
