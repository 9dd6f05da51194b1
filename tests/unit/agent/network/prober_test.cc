// SPDX-License-Identifier: Apache-2.0
// Goal: probes answer, and tell refusal from silence. Method: server and clients in a network
// namespace that the test makes, with a loopback only.
#include "agent/network/prober.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <thread>

#include "common/unique_fd.h"
#include "fmt/format.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

constexpr uint32_t kPatienceMs = 10'000;

// A fresh network namespace, held open, with its loopback up.
class FreshNetns {
 public:
  FreshNetns() {
    std::thread([this] {
      ASSERT_EQ(unshare(CLONE_NEWNET), 0);
      fd_ = UniqueFd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
      const UniqueFd any(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq request{};
      std::snprintf(request.ifr_name, sizeof request.ifr_name, "lo");
      request.ifr_flags = IFF_UP;
      ASSERT_EQ(ioctl(any.get(), SIOCSIFFLAGS, &request), 0);
    }).join();
  }
  std::string path() const { return fmt::format("/proc/self/fd/{}", fd_.get()); }

 private:
  UniqueFd fd_;
};

class ProberTest : public ::testing::Test {
 protected:
  v1::ProbeRequest About(const std::string& pod) {
    v1::ProbeRequest request;
    request.set_namespace_("test");
    request.set_pod(pod);
    return request;
  }
  absl::StatusOr<v1::ProbeResponse> Serve(uint32_t port, uint32_t lease) {
    v1::ProbeRequest request = About("server");
    request.mutable_serve()->set_port(port);
    request.mutable_serve()->set_lease_seconds(lease);
    return prober.Run(request);
  }
  absl::StatusOr<v1::ProbeResponse> Dial(const std::string& protocol, const std::string& address,
                                         uint32_t port, bool full_size = false,
                                         uint32_t timeout_ms = kPatienceMs) {
    v1::ProbeRequest request = About("client");
    v1::ProbeDial& dial = *request.mutable_dial();
    dial.set_protocol(protocol);
    dial.set_address(address);
    dial.set_port(port);
    dial.set_full_size(full_size);
    dial.set_timeout_ms(timeout_ms);
    return prober.Run(request);
  }

  FreshNetns netns;
  Prober prober{
      {.netns = [this](const std::string& ns, const std::string&) -> absl::StatusOr<std::string> {
         if (ns != "test") return absl::NotFoundError("no such pod");
         return netns.path();
       },
       .name_server = [] { return std::string("127.0.0.1"); }}};
};

TEST_F(ProberTest, AServerAnswersInBothProtocolsUntilItIsEnded) {
  ASSERT_TRUE(Serve(8080, 60).ok());
  for (const char* protocol : {"TCP", "UDP"}) {
    for (const char* address : {"127.0.0.1", "::1"}) {
      SCOPED_TRACE(fmt::format("{} {}", protocol, address));
      const auto answer = Dial(protocol, address, 8080);
      ASSERT_TRUE(answer.ok()) << answer.status();
      EXPECT_EQ(answer->outcome(), v1::ProbeResponse::ANSWERED);
      EXPECT_EQ(answer->answered_by(), "server");
    }
  }
  ASSERT_TRUE(Serve(8080, 0).ok());
  EXPECT_EQ(Dial("TCP", "127.0.0.1", 8080)->outcome(), v1::ProbeResponse::REFUSED);
  EXPECT_EQ(Dial("UDP", "127.0.0.1", 8080)->outcome(), v1::ProbeResponse::REFUSED);
}

TEST_F(ProberTest, AFullSizedDatagramComesBackWhole) {
  ASSERT_TRUE(Serve(8080, 60).ok());
  const auto answer = Dial("UDP", "127.0.0.1", 8080, true);
  // The loopback takes what a datagram can be at most.
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->packet_bytes(), 65535u);
  EXPECT_EQ(answer->outcome(), v1::ProbeResponse::ANSWERED);
  EXPECT_EQ(answer->answered_by(), "server");
}

TEST_F(ProberTest, NoRouteIsUnreachable) {
  EXPECT_EQ(Dial("TCP", "192.0.2.1", 80)->outcome(), v1::ProbeResponse::UNREACHABLE);
}

TEST_F(ProberTest, WrongRequestsAreNamed) {
  EXPECT_EQ(Serve(8080, kProbeLeaseSecondsMax + 1).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Serve(0, 1).status().message(), "serve.port: 0 is not in 1..65535");
  EXPECT_EQ(Dial("SCTP", "127.0.0.1", 80).status().message(),
            "protocol: \"SCTP\" is neither TCP nor UDP");
  EXPECT_EQ(Dial("TCP", "127.0.0.1", 80, false, 0).status().message(),
            "timeout_ms: 0 is not in 1..10000");
  EXPECT_EQ(Dial("TCP", "localhost", 80).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(prober.Run(About("client")).status().code(), absl::StatusCode::kInvalidArgument);
  v1::ProbeRequest elsewhere;
  elsewhere.mutable_dial();
  EXPECT_EQ(prober.Run(elsewhere).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mesh::agent
