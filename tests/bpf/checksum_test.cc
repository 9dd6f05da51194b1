// SPDX-License-Identifier: Apache-2.0
// Goal: the checksum of a translated packet is right whoever writes it. Method: the same packets
// through programs that read the state of the checksum from the kernel's skb and through those of
// older kernels, which leave it to the helpers; and, because BPF_PROG_TEST_RUN knows only complete
// checksums, real sockets whose packets have partial ones, looked at where they arrive.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <string>

#include "absl/time/clock.h"
#include "common/unique_fd.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netns.h"
#include "tests/bpf/checksum_packet.h"
#include "tests/bpf/world.h"
#include "tests/support/network/network.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::At;
using mesh::testing::Encode;
using mesh::testing::kAck;
using mesh::testing::kSyn;
using mesh::testing::Netns;
using mesh::testing::Packet;
using mesh::testing::Socket;
using mesh::testing::Tcp;
using mesh::testing::Udp;

const mesh::testing::Place kClient = At("10.244.1.10:40000"), kNear = At("10.244.1.11:8080"),
                           kWeb = At("10.96.0.10:80");
// Large enough for these tests; a size of its own makes World load the programs anew.
constexpr uint32_t kFlows = 4096;

class ChecksumTest : public World, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override { Load(kFlows, GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(, ChecksumTest, ::testing::Bool(), [](const auto& it) {
  return it.param ? "WrittenByTheProgram" : "ByTheHelpers";
});

TEST_P(ChecksumTest, IsRightForEveryLengthAndBothWays) {
  Serve({"10.244.1.11:8080"});
  ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).verdict, kRedirect);
  ASSERT_EQ(FromPod(near_, Tcp(kNear, kClient, kSyn | kAck)).verdict, kRedirect);

  std::string payload;
  for (int length = 0; length < 200; ++length) {
    EXPECT_EQ(FromPod(client_, Tcp(kClient, kWeb, kAck, payload)).packet,
              Tcp(kClient, kNear, kAck, payload));
    EXPECT_EQ(FromPod(near_, Tcp(kNear, kClient, kAck, payload)).packet,
              Tcp(kWeb, kClient, kAck, payload));
    EXPECT_EQ(FromPod(client_, Udp(kClient, kWeb, payload)).packet, Udp(kClient, kNear, payload));
    payload.push_back(static_cast<char>(length * 37 + 11));
  }
}

// RFC 768: all zeros say that there is none, and RFC 8200, 8.1 has none of that.
TEST_P(ChecksumTest, OfADatagramIsNeverZero) {
  Serve({"10.244.1.11:8080"});
  // What comes out would sum up to it; and what comes in.
  const Packet sent = WithChecksum(Udp(kClient, kNear), kOnes);
  const Outcome out = FromPod(client_, Udp(kClient, kWeb, sent.payload));
  EXPECT_EQ(out.packet, sent);
  EXPECT_EQ(out.frame.substr(14 + 20 + 6, 2), Encode(sent).substr(14 + 20 + 6, 2));
  const Packet met = WithChecksum(Udp(kClient, kWeb), kOnes);
  EXPECT_EQ(FromPod(client_, met).packet, Udp(kClient, kNear, met.payload));
  const Packet answered = WithChecksum(Udp(kWeb, kClient), kOnes);
  EXPECT_EQ(FromPod(near_, Udp(kNear, kClient, answered.payload)).packet, answered);
}

// RFC 1624, 3: a sum is never all zeros, so that its complement is never all ones.
TEST_P(ChecksumTest, OfASegmentIsNeverAllOnes) {
  Serve({"10.244.1.11:8080"});
  ASSERT_EQ(FromPod(client_, Tcp(kClient, kWeb, kSyn)).verdict, kRedirect);
  const Packet sent = WithChecksum(Tcp(kClient, kNear, kAck), kZeros);
  const Outcome out = FromPod(client_, Tcp(kClient, kWeb, kAck, sent.payload));
  ASSERT_EQ(out.packet, sent);
  EXPECT_EQ(ChecksumOf(*out.packet), kZeros);
  EXPECT_EQ(out.frame.substr(14 + 20 + 16, 2), Encode(sent).substr(14 + 20 + 16, 2));
  const Packet met = WithChecksum(Tcp(kClient, kWeb, kAck), kZeros);
  EXPECT_EQ(FromPod(client_, met).packet, Tcp(kClient, kNear, kAck, met.payload));
}

// What an error quotes is as it was sent, to the last byte.
TEST_P(ChecksumTest, OfAQuotedDatagramIsNeverZero) {
  Serve({"10.244.1.11:8080"});
  const Packet sent = WithChecksum(Udp(kClient, kWeb), kOnes);
  const Outcome out = FromPod(client_, sent);
  ASSERT_TRUE(out.packet.has_value()) << out;
  const Outcome told =
      FromPod(near_, mesh::testing::Unreachable("10.244.1.11", "10.244.1.10", *out.packet));
  ASSERT_TRUE(told.packet.has_value()) << told;
  Packet routed = sent;
  routed.ttl = 63;
  EXPECT_EQ(told.packet->payload, Encode(routed).substr(14, 28));
}

TEST_P(ChecksumTest, OfADatagramWithoutOneStaysAway) {
  if (kIpv6) return;  // no such datagrams
  Serve({"10.244.1.11:8080"});
  Packet question = Udp(kClient, kWeb), expected = Udp(kClient, kNear);
  question.udp_checksum = expected.udp_checksum = false;

  EXPECT_EQ(FromPod(client_, question).packet, expected);
}

constexpr size_t kIpHeader = kIpv6 ? 40 : 20, kProtocolAt = kIpv6 ? 6 : 9,
                 kAddressesAt = kIpv6 ? 8 : 12;

// The sum of what stands in the checksum field before the hardware has filled it in.
uint16_t PseudoSum(const uint8_t* ip, uint32_t l4_length) {
  uint32_t sum = ip[kProtocolAt] + l4_length;
  for (size_t i = kAddressesAt; i < kIpHeader; i += 2)
    sum += static_cast<uint32_t>(ip[i] << 8 | ip[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// A packet socket on the pod's link; tells of frames whether their checksum is partial.
class Lookout {
 public:
  static absl::StatusOr<Lookout> Open(const Netns& netns) {
    Lookout out;
    const absl::Status status = InNetns(netns.fd(), [&] {
      out.fd_.reset(
          socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(kIpv6 ? ETH_P_IPV6 : ETH_P_IP)));
      const int on = 1;
      setsockopt(out.fd_.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof on);
      return out.fd_ ? absl::OkStatus() : absl::InternalError("no packet socket");
    });
    if (!status.ok()) return status;
    return out;
  }

  struct Seen {
    std::string frame;
    bool partial = false;
  };
  // The next frame of `protocol` to `port`; empty after 5 s.
  Seen Next(uint8_t protocol, uint16_t port) {
    const absl::Time deadline = absl::Now() + absl::Seconds(5);
    while (absl::Now() < deadline) {
      pollfd ready{fd_.get(), POLLIN, 0};
      if (poll(&ready, 1, 100) <= 0) continue;
      char bytes[2048];
      alignas(cmsghdr) char control[256];
      iovec part{bytes, sizeof bytes};
      msghdr message{};
      message.msg_iov = &part;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t length = recvmsg(fd_.get(), &message, 0);
      if (length < static_cast<ssize_t>(14 + kIpHeader + 8)) continue;
      Seen seen{std::string(bytes, static_cast<size_t>(length)), false};
      for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
        tpacket_auxdata data;
        std::memcpy(&data, CMSG_DATA(c), sizeof data);
        seen.partial = (data.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
      }
      const auto* ip = reinterpret_cast<const uint8_t*>(seen.frame.data()) + 14;
      if (ip[kProtocolAt] == protocol && (ip[kIpHeader + 2] << 8 | ip[kIpHeader + 3]) == port) {
        return seen;
      }
    }
    return {};
  }

 private:
  UniqueFd fd_;
};

TEST(PartialChecksum, HoldsTheSumOfTheNewPseudoHeader) {
  const absl::StatusOr<std::string> root = mesh::testing::PrivateBpffs();
  ASSERT_TRUE(root.ok()) << root.status();
  const auto ip = [](const char* text) { return *IpAddress::Parse(text); };
  // As the sockets and the Service have it.
  const auto own = [&](const char* text) { return Own(ip(text)); };
  constexpr auto kFamily = kIpv6 ? Family::kV6 : Family::kV4;
  NodeConfig config;
  config.node_name = "node1";
  config.node_ip = ip("192.0.2.1");
  config.pod_cidr = *IpPrefix::Parse("10.244.1.0/24");
  config.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  config.service_cidr = *IpPrefix::Parse("10.96.0.0/16");
  config.gateway = ip("10.244.1.1");
  if (kIpv6) {
    config.node_ip6 = Own(config.node_ip);
    config.pod_cidr6 = Own(config.pod_cidr);
    config.cluster_cidr6 = Own(config.cluster_cidr);
    config.service_cidr6 = Own(config.service_cidr);
    config.gateway6 = Own(config.gateway);
  }
  DesiredState desired;
  desired.complete = true;
  desired.namespaces[kShop] = {"shop"};
  Service& service = desired.services["shop/web"];
  service.ns = "shop";
  service.name = "web";
  service.cluster_ip = own("10.96.0.10");
  service.family = kFamily;
  service.identity = kShop;
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    ServicePort port;
    port.protocol = protocol;
    port.port = 80;
    port.backends.emplace_back();
    port.backends.back().ip = own("10.244.1.11");
    port.backends.back().port = 8080;
    service.ports.push_back(port);
  }
  const Netns node = *Netns::Make(), client = *Netns::Make(), near = *Netns::Make();
  std::unique_ptr<KernelDataplane> dataplane;
  const absl::Status made = InNetns(node.fd(), [&]() -> absl::Status {
    absl::StatusOr<std::unique_ptr<KernelDataplane>> opened =
        KernelDataplane::Open(config, {.bpf_root = *root});
    if (!opened.ok()) return opened.status();
    dataplane = *std::move(opened);
    if (absl::Status status = dataplane->Apply(desired); !status.ok()) return status;
    for (const auto& [pod, address] : {std::pair(&client, "10.244.1.10"), {&near, "10.244.1.11"}}) {
      AttachRequest request;
      request.netns = pod->path();
      request.ifname = "eth0";
      request.ip = ip(address);
      if (kIpv6) request.ip6 = own(address);
      request.identity = kShop;
      request.ns = "shop";
      request.pod = request.container_id = address;
      const auto endpoint = dataplane->Attach(request);
      if (!endpoint.ok()) return endpoint.status();
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(made.ok()) << made;
  Lookout lookout = *Lookout::Open(near);
  Socket server = *Socket::Tcp(near, kFamily);
  ASSERT_TRUE(server.Bind(own("10.244.1.11"), 8080).ok());
  ASSERT_TRUE(server.Listen().ok());
  Socket caller = *Socket::Tcp(client, kFamily), sender = *Socket::Udp(client, kFamily);

  const absl::Status connected = caller.Connect(own("10.96.0.10"), 80);
  ASSERT_TRUE(connected.ok()) << connected;
  const Lookout::Seen syn = lookout.Next(IPPROTO_TCP, 8080);
  ASSERT_TRUE(sender.Connect(own("10.96.0.10"), 80).ok());
  ASSERT_TRUE(sender.Send("question").ok());
  const Lookout::Seen datagram = lookout.Next(IPPROTO_UDP, 8080);

  for (const auto& [seen, field] : {std::pair(syn, 16), {datagram, 6}}) {
    ASSERT_FALSE(seen.frame.empty());
    EXPECT_TRUE(seen.partial) << "the sender's link has computed the checksum: nothing is tested";
    const auto* header = reinterpret_cast<const uint8_t*>(seen.frame.data()) + 14;
    const auto length = kIpv6 ? static_cast<uint32_t>(header[4] << 8 | header[5])
                              : static_cast<uint32_t>(header[2] << 8 | header[3]) - 20;
    const uint8_t* const sum = header + kIpHeader + field;
    EXPECT_EQ(sum[0] << 8 | sum[1], PseudoSum(header, length));
  }
  InNetns(node.fd(), [&] {
    dataplane.reset();
    return KernelDataplane::Remove({*root});
  }).IgnoreError();
}

}  // namespace
}  // namespace mesh::dataplane::testing
