// SPDX-License-Identifier: Apache-2.0
// Goal: servers of a pod are reached wherever they listen, and the refusal names what was tried.
// Method: a network namespace that the test makes, with a loopback only.
#include "agent/network/pod_dial.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <thread>

#include "common/socket_address.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using ::testing::HasSubstr;

class PodDialTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::thread([this] {
      ASSERT_EQ(unshare(CLONE_NEWNET), 0);
      netns_ = UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      const UniqueFd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq request{};
      std::snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
      request.ifr_flags = IFF_UP;
      ASSERT_EQ(ioctl(any.get(), SIOCSIFFLAGS, &request), 0);
      four_ = Listen("127.0.0.1", &four_port_);
      six_ = Listen("::1", &six_port_);
    }).join();
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", netns_.get()); }
  static UniqueFd Listen(const std::string& ip, uint16_t* port) {
    SocketAddress at(*IpAddress::Parse(ip), 0);
    UniqueFd fd(socket(at.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(bind(fd.get(), at.get(), at.length()), 0);
    EXPECT_EQ(listen(fd.get(), 1), 0);
    SocketAddress bound;
    getsockname(fd.get(), bound.get(), bound.room());
    *port = bound.port();
    return fd;
  }

  UniqueFd netns_, four_, six_;
  uint16_t four_port_ = 0, six_port_ = 0;
};

TEST_F(PodDialTest, ReachesServersOfBothLoopbackAddresses) {
  for (const auto& [server, port] : {std::pair(four_.get(), four_port_), {six_.get(), six_port_}}) {
    const auto fd = DialPod(path(), port, absl::Seconds(5));
    ASSERT_TRUE(fd.ok()) << fd.status();
    const UniqueFd accepted(accept(server, nullptr, nullptr));
    ASSERT_EQ(send(fd->get(), "x", 1, 0), 1);
    char text = 0;
    EXPECT_EQ(recv(accepted.get(), &text, 1, 0), 1);
    EXPECT_EQ(text, 'x');
  }
}

TEST_F(PodDialTest, NamesWhatWasTried) {
  six_.reset();
  const auto refused = DialPod(path(), six_port_, absl::Seconds(5));
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr(fmt::format("[::1]:{}: Connection refused", six_port_)));
  EXPECT_TRUE(absl::IsNotFound(DialPod("/none", 80, absl::Seconds(1)).status()));
}

}  // namespace
}  // namespace mesh::agent
