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

TEST_P(ChecksumTest, OfADatagramThatComesOutAsZeroIsWrittenAsAllOnes) {
  Serve({"10.244.1.11:8080"});
  const size_t field = 14 + 20 + 6;
  // Of all payloads of two bytes one sums up to it.
  std::string payload(2, '\0');
  Packet out = Udp(kClient, kNear, payload);
  for (int word = 0; word < 65536; ++word) {
    payload[0] = static_cast<char>(word >> 8);
    payload[1] = static_cast<char>(word);
    out.payload = payload;
    if (Encode(out).substr(field, 2) == std::string(2, '\0')) break;
  }
  ASSERT_EQ(Encode(out).substr(field, 2), std::string(2, '\0'));

  const Outcome sent = FromPod(client_, Udp(kClient, kWeb, payload));

  EXPECT_EQ(sent.packet, out);
  EXPECT_EQ(sent.frame.substr(field, 2), "\xff\xff");
}

TEST_P(ChecksumTest, OfADatagramWithoutOneStaysAway) {
  Serve({"10.244.1.11:8080"});
  Packet question = Udp(kClient, kWeb), expected = Udp(kClient, kNear);
  question.udp_checksum = expected.udp_checksum = false;

  EXPECT_EQ(FromPod(client_, question).packet, expected);
}

// The sum of what stands in the checksum field before the hardware has filled it in.
uint16_t PseudoSum(const uint8_t* ip, uint32_t l4_length) {
  uint32_t sum = ip[9] + l4_length;
  for (int i = 12; i < 20; i += 2) sum += static_cast<uint32_t>(ip[i] << 8 | ip[i + 1]);
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// A packet socket on the pod's link; tells of frames whether their checksum is partial.
class Lookout {
 public:
  static absl::StatusOr<Lookout> Open(const Netns& netns) {
    Lookout out;
    const absl::Status status = InNetns(netns.fd(), [&] {
      out.fd_.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_IP)));
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
      if (length < 42) continue;
      Seen seen{std::string(bytes, static_cast<size_t>(length)), false};
      for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
        tpacket_auxdata data;
        std::memcpy(&data, CMSG_DATA(c), sizeof data);
        seen.partial = (data.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
      }
      const auto* ip = reinterpret_cast<const uint8_t*>(seen.frame.data()) + 14;
      if (ip[9] == protocol && (ip[22] << 8 | ip[23]) == port) return seen;
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
  NodeConfig config;
  config.node_name = "node1";
  config.node_ip = ip("192.0.2.1");
  config.pod_cidr = *IpPrefix::Parse("10.244.1.0/24");
  config.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  config.service_cidr = *IpPrefix::Parse("10.96.0.0/16");
  config.gateway = ip("10.244.1.1");
  DesiredState desired;
  desired.complete = true;
  desired.namespaces[kShop] = {"shop"};
  Service& service = desired.services["shop/web"];
  service.ns = "shop";
  service.name = "web";
  service.cluster_ip = ip("10.96.0.10");
  service.identity = kShop;
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    ServicePort port;
    port.protocol = protocol;
    port.port = 80;
    port.backends.emplace_back();
    port.backends.back().ip = ip("10.244.1.11");
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
      const auto endpoint = dataplane->Attach({.netns = pod->path(),
                                               .ifname = "eth0",
                                               .ip = ip(address),
                                               .identity = kShop,
                                               .ns = "shop",
                                               .pod = address,
                                               .container_id = address});
      if (!endpoint.ok()) return endpoint.status();
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(made.ok()) << made;
  Lookout lookout = *Lookout::Open(near);
  Socket server = *Socket::Tcp(near);
  ASSERT_TRUE(server.Bind(ip("10.244.1.11"), 8080).ok());
  ASSERT_TRUE(server.Listen().ok());
  Socket caller = *Socket::Tcp(client), sender = *Socket::Udp(client);

  const absl::Status connected = caller.Connect(ip("10.96.0.10"), 80);
  ASSERT_TRUE(connected.ok()) << connected;
  const Lookout::Seen syn = lookout.Next(IPPROTO_TCP, 8080);
  ASSERT_TRUE(sender.Connect(ip("10.96.0.10"), 80).ok());
  ASSERT_TRUE(sender.Send("question").ok());
  const Lookout::Seen datagram = lookout.Next(IPPROTO_UDP, 8080);

  for (const auto& [seen, field] : {std::pair(syn, 16), {datagram, 6}}) {
    ASSERT_FALSE(seen.frame.empty());
    EXPECT_TRUE(seen.partial) << "the sender's link has computed the checksum: nothing is tested";
    const auto* header = reinterpret_cast<const uint8_t*>(seen.frame.data()) + 14;
    const auto length = static_cast<uint32_t>(header[2] << 8 | header[3]) - 20;
    EXPECT_EQ(header[20 + field] << 8 | header[20 + field + 1], PseudoSum(header, length));
  }
  InNetns(node.fd(), [&] {
    dataplane.reset();
    return KernelDataplane::Remove({*root});
  }).IgnoreError();
}

}  // namespace
}  // namespace mesh::dataplane::testing
