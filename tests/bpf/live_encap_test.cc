// SPDX-License-Identifier: Apache-2.0
// Goal: what a pod sends to another node crosses the uplink, in the tunnel that the programs write
// or as it is, whole and with right checksums, as large as the card takes it and cut up where it
// does not. Method: the world of live_edge.h, with offloads of the uplink switched off. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "common/status.h"
#include "fmt/format.h"
#include "tests/bpf/live_edge.h"

namespace mesh::dataplane::testing {
namespace {

struct Sent {
  uint64_t bytes = 0, packets = 0;
};

// By an interface of the calling thread's network namespace.
Sent SentBy(const std::string& interface) {
  std::ifstream file("/proc/thread-self/net/dev");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    uint64_t ignored = 0;
    Sent out;
    words >> name;
    if (name != interface + ":") continue;
    for (int i = 0; i < 8; ++i) words >> ignored;
    words >> out.bytes >> out.packets;
    return out;
  }
  ADD_FAILURE() << "no interface " << interface;
  return {};
}

absl::Status Ethtool(const std::string& interface, void* command, const std::string& what) {
  const UniqueFd control(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control) return ErrnoStatus(errno, "open a socket");
  ifreq argument{};
  std::strncpy(argument.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  argument.ifr_data = static_cast<char*>(command);
  // Positive: done otherwise than asked.
  if (ioctl(control.get(), SIOCETHTOOL, &argument) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("{} of {}", what, interface));
}

// What `ethtool -K INTERFACE FEATURE off` does, in the calling thread's network namespace.
absl::Status SwitchOff(const std::string& interface, const std::string& feature) {
  std::vector<uint32_t> query(sizeof(ethtool_sset_info) / 4 + 1);
  auto* info = reinterpret_cast<ethtool_sset_info*>(query.data());
  info->cmd = ETHTOOL_GSSET_INFO;
  info->sset_mask = 1ULL << ETH_SS_FEATURES;
  RETURN_IF_ERROR(Ethtool(interface, info, "count the features"));
  const uint32_t count = info->data[0];
  std::vector<uint32_t> table((sizeof(ethtool_gstrings) + count * ETH_GSTRING_LEN) / 4 + 1);
  auto* names = reinterpret_cast<ethtool_gstrings*>(table.data());
  names->cmd = ETHTOOL_GSTRINGS;
  names->string_set = ETH_SS_FEATURES;
  names->len = count;
  RETURN_IF_ERROR(Ethtool(interface, names, "name the features"));
  for (uint32_t bit = 0; bit < count; ++bit) {
    if (feature != reinterpret_cast<const char*>(names->data + bit * ETH_GSTRING_LEN)) continue;
    const uint32_t words = (count + 31) / 32;
    std::vector<uint32_t> request(2 + words * 2);  // ethtool_sfeatures
    request[0] = ETHTOOL_SFEATURES;
    request[1] = words;
    request[2 + bit / 32 * 2] = 1u << (bit % 32);  // valid, requested: none
    return Ethtool(interface, request.data(), "switch " + feature + " off");
  }
  return absl::NotFoundError("no feature " + feature);
}

class Encap : public EdgeWays {
 protected:
  // A stream from a pod of node one to one of node two; what the uplink of node one has sent.
  Sent Stream() {
    Sent uplink;
    [&] {
      Serve({far_.ip});
      Apply();
      Socket listener = Listener(*far_.netns, far_.ip, 8080);
      Socket client = *Socket::Tcp(*near_.netns, way_.family);
      ASSERT_STATUS(client.Connect(vip_, 80, absl::Seconds(20)));
      absl::StatusOr<Socket> server = listener.Accept(absl::Seconds(20));
      ASSERT_TRUE(server.ok()) << server.status();
      const Sent before = SentByOne("uplink"), tunnel_before = SentByOne("mesh_vxlan");
      ASSERT_NO_FATAL_FAILURE(Carry(client, *server, kLarge));
      const Sent after = SentByOne("uplink"), tunnel_after = SentByOne("mesh_vxlan");
      uplink = {after.bytes - before.bytes, after.packets - before.packets};
      // The first of each second asks the kernel for its next hop.
      EXPECT_LT(tunnel_after.packets - tunnel_before.packets, uplink.packets / 2);
      EXPECT_GT(uplink.bytes, kLarge);
      // A second stream, the other way: large as well.
      ASSERT_NO_FATAL_FAILURE(Carry(*server, client, kLarge));
    }();
    return uplink;
  }
  Sent SentByOne(const std::string& interface) {
    Sent out;
    EXPECT_TRUE(InNetns(one_.netns->fd(), [&] {
                  out = SentBy(interface);
                  return absl::OkStatus();
                }).ok());
    return out;
  }
  void SwitchOffAtTheUplinks(const std::string& feature) {
    for (Node* node : {&one_, &two_}) {
      ASSERT_STATUS(InNetns(node->netns->fd(), [&] { return SwitchOff("uplink", feature); }));
    }
  }
};

INSTANTIATE_TEST_SUITE_P(, Encap, EveryWay(), NameOf);

class Tunnel : public Encap {};
INSTANTIATE_TEST_SUITE_P(, Tunnel,
                         ::testing::Values(Way{Family::kV4, Routing::kVxlan},
                                           Way{Family::kV6, Routing::kVxlan}),
                         NameOf);

TEST_P(Encap, AStreamCrossesTheUplinkInLargePackets) {
  const Sent sent = Stream();
  EXPECT_GT(sent.bytes / sent.packets, 3000u);
}

TEST_P(Tunnel, AStreamIsCutUpForACardThatKnowsNoTunnels) {
  ASSERT_NO_FATAL_FAILURE(SwitchOffAtTheUplinks("tx-udp_tnl-segmentation"));
  const Sent sent = Stream();
  // Segments of the MTU of the pods, 1450, in the tunnel.
  EXPECT_LE(sent.bytes / sent.packets, 1514u);
  EXPECT_GT(sent.bytes / sent.packets, 700u);
}

TEST_P(Encap, AStreamIsSummedForACardThatCannot) {
  ASSERT_NO_FATAL_FAILURE(SwitchOffAtTheUplinks("tx-checksum-ip-generic"));
  const Sent sent = Stream();
  EXPECT_GT(sent.bytes, kLarge);
  Socket receiver = Receiver(*far_.netns, far_.ip, 8080);
  ExpectDatagrams(*near_.netns, vip_, 80, receiver);
}

}  // namespace
}  // namespace mesh::dataplane::testing
