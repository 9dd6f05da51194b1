// SPDX-License-Identifier: Apache-2.0
#include "agent/network/port_watch.h"

#include <netinet/in.h>

#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/shared/base.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"

namespace mesh::agent {
namespace {

using dataplane::FlowEvent;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

FlowEvent Refused(const std::string& source, const std::string& server,
                  uint16_t source_port = 40000) {
  FlowEvent out;
  out.kind = FlowEvent::Kind::kRefused;
  out.reason = MESH_REASON_NO_PORT;
  out.protocol = IPPROTO_TCP;
  out.source = Ip(source);
  out.source_port = source_port;
  out.destination = out.server = Ip(server);
  out.destination_port = out.server_port = 443;
  out.translated_source = Ip("192.0.2.1");
  out.source_identity = 300;
  out.target = MESH_TARGET_UPLINK;
  return out;
}
FlowEvent RefusedOutside(const std::string& client) {
  FlowEvent out = Refused(client, "10.244.2.10");
  out.source_identity = MESH_IDENTITY_WORLD;
  out.target = MESH_TARGET_TUNNEL;
  return out;
}
v1::Flow OfPod() {
  v1::Flow out;
  out.set_node("n1");
  out.mutable_source()->set_namespace_("shop");
  out.mutable_source()->set_pod("web");
  return out;
}
v1::Flow OfService() {
  v1::Flow out;
  out.set_node("n1");
  out.set_service_namespace("pay");
  out.set_service("api");
  return out;
}

TEST(PortRefusals, AreOnePerSenderAndDestinationUntilTheyAreReleased) {
  PortRefusals refusals;
  for (uint16_t port = 1; port < 100; ++port)
    refusals.Take(Refused("10.244.1.7", "198.51.100.1", port));
  refusals.Take(Refused("10.244.1.8", "198.51.100.1"));
  refusals.Take(Refused("10.244.1.7", "198.51.100.2"));
  FlowEvent other = Refused("10.244.1.9", "198.51.100.1");
  other.reason = MESH_REASON_ISOLATION;
  refusals.Take(other);

  EXPECT_THAT(refusals.Release(), SizeIs(3));
  EXPECT_THAT(refusals.Release(), IsEmpty());
}

TEST(PortRefusals, AllClientsOutsideAreOneAndTheMemoryIsBounded) {
  PortRefusals refusals;
  for (int i = 0; i < 250; ++i) refusals.Take(RefusedOutside(fmt::format("198.51.100.{}", i)));
  EXPECT_THAT(refusals.Release(), SizeIs(1));

  for (int i = 0; i < 1000; ++i)
    refusals.Take(Refused("10.244.1.7", fmt::format("198.51.{}.{}", i / 250, i % 250)));
  EXPECT_THAT(refusals.Release(), SizeIs(PortRefusals::kMax));
}

TEST(PortWatch, TellsAgainEachMinuteWhileItGoesOn) {
  PortWatch watch;
  const absl::Time start = absl::UnixEpoch();
  const auto told = [&](absl::Duration after, const FlowEvent& event) {
    PortRefusals refusals;
    refusals.Take(event);
    return watch.Due(refusals.Release(), start + after).size();
  };
  const FlowEvent event = Refused("10.244.1.7", "198.51.100.1");
  EXPECT_EQ(told(absl::Seconds(0), event), 1u);
  EXPECT_EQ(told(absl::Seconds(5), event), 0u);
  EXPECT_EQ(told(absl::Seconds(5), Refused("10.244.1.8", "198.51.100.1")), 1u);
  EXPECT_EQ(told(absl::Seconds(59), event), 0u);
  EXPECT_EQ(told(absl::Seconds(61), event), 1u);
  EXPECT_EQ(told(absl::Seconds(65), event), 0u);
}

TEST(PortWarning, NamesThePodTheDestinationAndTheLimit) {
  const NetworkWarning warning = PortWarning(Refused("10.244.1.7", "198.51.100.1"), OfPod());
  EXPECT_EQ(warning.ns, "shop");
  EXPECT_EQ(warning.pod, "web");
  EXPECT_EQ(warning.reason, "SourcePortsTaken");
  EXPECT_EQ(warning.message,
            "connections to 198.51.100.1:443/TCP are refused: a pod may have 5000 source ports at "
            "its node's address towards one destination, and no free one of them was found; "
            "connections that are kept and used again need fewer, see `meshctl bpf ct list --pod "
            "shop/web`");

  EXPECT_THAT(PortWarning(Refused("fd00::7", "2001:db8::1"), OfPod()).message,
              StartsWith("connections to [2001:db8::1]:443/TCP are refused: "));
  FlowEvent echo = Refused("10.244.1.7", "198.51.100.1");
  echo.protocol = IPPROTO_ICMP;
  EXPECT_THAT(PortWarning(echo, OfPod()).message,
              StartsWith("echo requests to 198.51.100.1 are refused: a pod may have 16383 ids "));
}

TEST(PortWarning, OfAPodsOwnAddressThePodAloneIsToBlame) {
  FlowEvent own = Refused("10.244.1.7", "10.244.2.10");
  own.translated_source = own.source;
  EXPECT_THAT(PortWarning(own, OfPod()).message,
              AllOf(StartsWith("connections to 10.244.2.10:443/TCP are refused"),
                    HasSubstr("nearly all of its source ports"), Not(HasSubstr("5000"))));
}

TEST(PortWarning, OfClientsOutsideTheServiceIsToldForItsNode) {
  const NetworkWarning warning = PortWarning(RefusedOutside("198.51.100.1"), OfService());
  EXPECT_EQ(warning.ns, "pay");
  EXPECT_EQ(warning.service, "api");
  EXPECT_THAT(warning.message,
              AllOf(StartsWith("node n1 refuses connections of clients outside to "
                               "10.244.2.10:443/TCP: each of them may have 10000 source ports"),
                    HasSubstr("mesh.io/return-path: direct")));
  FlowEvent to_node = RefusedOutside("198.51.100.1");
  to_node.target = MESH_TARGET_UPLINK;
  EXPECT_THAT(PortWarning(to_node, OfService()).message,
              HasSubstr("all of them together may have 5000 source ports"));

  const NetworkWarning nobodys = PortWarning(Refused("192.0.2.1", "198.51.100.1"), v1::Flow());
  EXPECT_TRUE(nobodys.pod.empty() && nobodys.service.empty());
  EXPECT_EQ(nobodys.message,
            "connections of 192.0.2.1 to 198.51.100.1:443/TCP are refused: no free source port was "
            "found");
}

}  // namespace
}  // namespace mesh::agent
