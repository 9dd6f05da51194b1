// SPDX-License-Identifier: Apache-2.0
// Goal: what a load balancer outside hears on healthCheckNodePort.
// Method: real sockets on 127.0.0.1; a port is chosen by binding one and letting it go.
#include "agent/network/health_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "absl/time/clock.h"
#include "common/socket_address.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/loop_thread.h"
#include "tests/unit/agent/network/named_state.h"

namespace mesh::agent {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

// Bound, not listening.
UniqueFd TakePort(uint16_t* port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(*port);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  *port = ntohs(address.sin_port);
  return fd;
}

class HealthServerTest : public testing::Test {
 protected:
  HealthServerTest() {
    TakePort(&port_);
    state_->services["shop/web"].Mutable().set_health_check_node_port(port_);
    thread_.Call([this] {
      server_ = std::make_unique<HealthServer>(
          thread_.loop(), std::vector{IpAddress::V4(INADDR_LOOPBACK), *IpAddress::Parse("::1")});
      server_->SetHealthy(true);
    });
  }
  ~HealthServerTest() override {
    thread_.Call([this] { server_.reset(); });
  }

  void SetState(const std::shared_ptr<NodeState>& state) {
    // What a state holds never changes once it is handed over.
    thread_.Call([&] { server_->SetState(std::make_shared<NodeState>(*state)); });
  }

  // Whole response to `request`; "refused" when nobody listens.
  std::string Ask(const std::string& request, const char* server = "127.0.0.1") {
    const SocketAddress address(*IpAddress::Parse(server), port_);
    const UniqueFd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval deadline{.tv_sec = 10, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    if (::connect(fd.get(), address.get(), address.length()) != 0) return "refused";
    for (const char byte : request) EXPECT_EQ(::send(fd.get(), &byte, 1, MSG_NOSIGNAL), 1);
    std::string out;
    char buffer[4096];
    for (ssize_t n = 0; (n = ::recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
      out.append(buffer, static_cast<size_t>(n));
    return out;
  }
  std::string Get(const char* server = "127.0.0.1") {
    return Ask("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", server);
  }

  LoopThread thread_;
  std::unique_ptr<HealthServer> server_;
  std::shared_ptr<NodeState> state_ = NamedState();
  uint16_t port_ = 0;
};

TEST_F(HealthServerTest, SaysThatTheNodeHasEndpoints) {
  SetState(state_);

  EXPECT_EQ(Get(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            "X-Content-Type-Options: nosniff\r\nX-Load-Balancing-Endpoint-Weight: 1\r\n"
            "Content-Length: 91\r\nConnection: close\r\n\r\n"
            R"({"service":{"namespace":"shop","name":"web"},"localEndpoints":1,)"
            R"("serviceProxyHealthy":true})");
}

TEST_F(HealthServerTest, SaysItAtBothAddresses) {
  SetState(state_);

  EXPECT_THAT(Get("::1"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(Get("::1"), Get());
}

TEST_F(HealthServerTest, AnAddressThatIsNotThereTakesNoOtherAlong) {
  thread_.Call([this] {
    server_ = std::make_unique<HealthServer>(
        thread_.loop(),
        std::vector{*IpAddress::Parse("2001:db8::1"), IpAddress::V4(INADDR_LOOPBACK)});
    server_->SetHealthy(true);
  });
  SetState(state_);

  EXPECT_THAT(Get(), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(HealthServerTest, FollowsTheStateAtOnce) {
  SetState(state_);
  state_->services["shop/web"].Mutable().mutable_ports(0)->mutable_backends(1)->set_state(
      v1::BackendState::DRAINING);
  SetState(state_);

  EXPECT_THAT(Get(), StartsWith("HTTP/1.1 503 Service Unavailable\r\n"));
  EXPECT_THAT(Get(), HasSubstr("\"localEndpoints\":0"));
}

TEST_F(HealthServerTest, ANodeWhoseDataplaneIsNotProgrammedIsNotHealthy) {
  SetState(state_);
  thread_.Call([this] { server_->SetHealthy(false); });

  EXPECT_THAT(Get(), StartsWith("HTTP/1.1 503"));
  EXPECT_THAT(Get(), HasSubstr("\"serviceProxyHealthy\":false"));
}

TEST_F(HealthServerTest, ListensOnlyWhileAServiceWantsIt) {
  EXPECT_EQ(Get(), "refused");
  SetState(state_);
  EXPECT_THAT(Get(), StartsWith("HTTP/1.1 200"));
  state_->services["shop/web"].Mutable().clear_health_check_node_port();
  SetState(state_);
  EXPECT_EQ(Get(), "refused");
}

TEST_F(HealthServerTest, PassesThePortOnFromServiceToService) {
  SetState(state_);
  state_->services["shop/next"] = *state_->services["shop/web"];
  state_->services["shop/next"].Mutable().set_name("next");
  SetState(state_);
  EXPECT_THAT(Get(), HasSubstr("\"name\":\"web\"")) << "the first keeps it";

  state_->services.erase("shop/web");
  SetState(state_);
  EXPECT_THAT(Get(), HasSubstr("\"name\":\"next\""));
}

TEST_F(HealthServerTest, TakesAPortOnceItIsFree) {
  UniqueFd other = TakePort(&port_);
  ASSERT_EQ(::listen(other.get(), 1), 0);
  SetState(state_);
  other.reset();

  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  while (Get() == "refused" && absl::Now() < deadline) {
  }
  EXPECT_THAT(Get(), StartsWith("HTTP/1.1 200"));
}

TEST_F(HealthServerTest, AnswersHeadWithoutABodyAndGarbageWithAnError) {
  SetState(state_);

  const std::string head = Ask("HEAD / HTTP/1.0\r\n\r\n");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, testing::EndsWith("\r\n\r\n"));
  for (const char* garbage :
       {"hello\r\n\r\n", " / HTTP/1.1\r\n\r\n", "GET HTTP/1.1\r\n\r\n", "GET / GOPHER\r\n\r\n"})
    EXPECT_THAT(Ask(garbage), StartsWith("HTTP/1.1 400")) << garbage;
  EXPECT_THAT(Ask(std::string(HealthServer::kMaxRequestBytes, 'x')), StartsWith("HTTP/1.1 400"));
}

TEST_F(HealthServerTest, ASilentClientLocksNobodyOut) {
  SetState(state_);
  std::vector<UniqueFd> silent;
  for (size_t i = 0; i < HealthServer::kMaxConnections + 10; ++i) {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = Loopback(port_);
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    silent.push_back(std::move(fd));
  }

  EXPECT_THAT(Get(), StartsWith("HTTP/1.1 200"));
}

}  // namespace
}  // namespace mesh::agent
