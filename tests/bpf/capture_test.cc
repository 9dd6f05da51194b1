// SPDX-License-Identifier: Apache-2.0
// Goal: a packet that no receiver would take does not pass unseen in the live tests. Method: frames
// written by hand on a veth pair.
#include "tests/support/network/capture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/socket.h>

#include "dataplane/net/netlink.h"
#include "dataplane/net/netns.h"
#include "tests/support/packet/packet.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

class CaptureTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(here_.ok() && there_.ok());
    absl::StatusOr<dataplane::Netlink> here = dataplane::Netlink::OpenIn(here_->fd());
    absl::StatusOr<dataplane::Netlink> there = dataplane::Netlink::OpenIn(there_->fd());
    ASSERT_TRUE(here->AddVeth({"wire", {2, 0, 0, 0, 0, 1}, -1},
                              {"wire", {2, 0, 0, 0, 0, 2}, there_->fd()}, 1500)
                    .ok());
    for (auto* netlink : {&*here, &*there}) {
      ASSERT_TRUE(netlink->SetUp(netlink->Link("wire")->ifindex).ok());
    }
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (!here->Link("wire")->running || !there->Link("wire")->running) {
      ASSERT_LT(absl::Now(), deadline);
      sched_yield();
    }
    absl::StatusOr<std::unique_ptr<Capture>> capture = Capture::Make();
    ASSERT_TRUE(capture.ok()) << capture.status();
    capture_ = *std::move(capture);
    ASSERT_TRUE(capture_->Tap(*there_, "wire").ok());
    capture_->Begin();
  }

  // Sends a frame and waits until it is taken down.
  void Send(std::string frame) {
    const uint64_t before = capture_->packets();
    frame.replace(0, 6, std::string("\2\0\0\0\0\2", 6));
    UniqueFd fd;
    sockaddr_ll address{};
    ASSERT_TRUE(dataplane::InNetns(here_->fd(), [&] {
                  fd.reset(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
                  address.sll_ifindex = static_cast<int>(if_nametoindex("wire"));
                  return absl::OkStatus();
                }).ok());
    address.sll_family = AF_PACKET;
    ASSERT_EQ(sendto(fd.get(), frame.data(), frame.size(), 0,
                     reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              static_cast<ssize_t>(frame.size()));
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (capture_->packets() == before) {
      ASSERT_LT(absl::Now(), deadline);
      sched_yield();
    }
  }
  // OK where there is no tshark.
  absl::Status Judge() {
    absl::Status judged = capture_->Judge(Capture::Keep::kNever);
    if (absl::IsUnavailable(judged)) skipped_ = true;
    return judged;
  }

  absl::StatusOr<Netns> here_ = Netns::Make(), there_ = Netns::Make();
  std::unique_ptr<Capture> capture_;
  bool skipped_ = false;
};

const Packet kSegment = Tcp(At("10.0.0.1:4000"), At("10.0.0.2:80"), kAck, "some words");
constexpr size_t kIp = ETH_HLEN, kTcp = ETH_HLEN + 20;

TEST_F(CaptureTest, FindsNothingWhereAllIsRight) {
  Send(Encode(kSegment));
  Send(Encode(Udp(At("10.0.0.1:4000"), At("10.0.0.2:53"), "no DNS")));
  Send(Encode(Unreachable("10.0.0.2", "10.0.0.1", kSegment)));
  const absl::Status judged = Judge();
  if (skipped_) GTEST_SKIP() << judged.message();
  EXPECT_TRUE(judged.ok()) << judged;
}

TEST_F(CaptureTest, FindsAWrongChecksumOfASegment) {
  std::string frame = Encode(kSegment);
  frame[kTcp + 16] = static_cast<char>(frame[kTcp + 16] ^ 1);
  Send(frame);
  const absl::Status judged = Judge();
  if (skipped_) GTEST_SKIP() << judged.message();
  EXPECT_TRUE(absl::IsDataLoss(judged)) << judged;
  EXPECT_THAT(std::string(judged.message()), HasSubstr("incorrect"));
}

TEST_F(CaptureTest, FindsAWrongChecksumOfAnIpHeader) {
  std::string frame = Encode(kSegment);
  frame[kIp + 10] = static_cast<char>(frame[kIp + 10] ^ 1);
  Send(frame);
  const absl::Status judged = Judge();
  if (skipped_) GTEST_SKIP() << judged.message();
  EXPECT_TRUE(absl::IsDataLoss(judged)) << judged;
  EXPECT_THAT(std::string(judged.message()), HasSubstr("incorrect"));
}

TEST_F(CaptureTest, FindsWhatIsTooShort) {
  std::string frame = Encode(kSegment);
  frame.resize(kTcp + 12);
  Send(frame);
  const absl::Status judged = Judge();
  if (skipped_) GTEST_SKIP() << judged.message();
  EXPECT_TRUE(absl::IsDataLoss(judged)) << judged;
}

}  // namespace
}  // namespace mesh::testing
