// SPDX-License-Identifier: Apache-2.0
// Goal: a question reaches an upstream server that answers, whatever the others do, and only its
// answer comes back.
// Method: fake name servers on 127.0.0.1, one real loop for all of them.
#include "agent/network/forwarder.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <memory>
#include <set>

#include "agent/network/dns_message.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/dns_client.h"
#include "tests/unit/agent/network/fake_name_server.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr absl::Duration kDeadline = absl::Seconds(10);
// Of the forwarder under test: what waits for it stays short.
constexpr absl::Duration kTimeout = absl::Milliseconds(50);

std::string AnswerTo(const std::string& query, uint32_t ip, uint8_t rcode = dns::kNoError) {
  const auto parsed = dns::ParseQuery(query);
  dns::Answer answer;
  answer.rcode = rcode;
  if (rcode == dns::kNoError)
    answer.answers.push_back({"example.com", dns::kA, 60, dns::EncodeV4(ip)});
  return dns::BuildResponse(query, *parsed.query, answer, 65535);
}

class ForwarderTest : public testing::Test {
 protected:
  ForwarderTest() {
    thread_.Call([this] { forwarder_ = std::make_unique<Forwarder>(thread_.loop(), kTimeout); });
  }
  ~ForwarderTest() override {
    thread_.Call([this] { forwarder_.reset(); });
  }

  std::string Ask(std::vector<NameServer> servers, bool tcp = false) {
    std::string got = "no answer";
    absl::Notification done;
    thread_.Call([&] {
      forwarder_->Forward(std::move(servers), query_, tcp, [&](std::string response) {
        got = std::move(response);
        done.Notify();
      });
    });
    EXPECT_TRUE(done.WaitForNotificationWithTimeout(kDeadline));
    thread_.Call([&] { EXPECT_EQ(forwarder_->in_flight(), 0u); });
    return got;
  }

  LoopThread thread_;
  std::unique_ptr<Forwarder> forwarder_;
  const std::string query_ = dns::MakeQuery("example.com", {.id = 4711});
};

TEST_F(ForwarderTest, RelaysTheAnswerUnderTheClientsId) {
  std::set<uint16_t> ids;
  FakeNameServer server(&thread_, [&](const std::string& query, bool) {
    ids.insert(dns::IdOf(query));
    return std::vector{AnswerTo(query, 1)};
  });

  const dns::Decoded decoded = dns::Decode(Ask({server.server()}));

  EXPECT_EQ(decoded.id, 4711);
  EXPECT_THAT(decoded.answers, ElementsAre("example.com. 60 A 0.0.0.1"));
  EXPECT_EQ(ids.size(), 1u);
}

TEST_F(ForwarderTest, IgnoresAnswersToOtherQuestions) {
  FakeNameServer server(&thread_, [](const std::string& query, bool) {
    std::string forged = AnswerTo(query, 2), other = dns::MakeQuery("evil.com");
    dns::SetId(&forged, static_cast<uint16_t>(dns::IdOf(query) + 1));
    dns::SetId(&other, dns::IdOf(query));
    other[2] = static_cast<char>(0x80);
    return std::vector<std::string>{"junk", forged, other, AnswerTo(query, 1)};
  });

  EXPECT_THAT(dns::Decode(Ask({server.server()})).answers,
              ElementsAre("example.com. 60 A 0.0.0.1"));
}

TEST_F(ForwarderTest, GoesOnToTheNextServerWhenOneIsSilent) {
  FakeNameServer silent(&thread_,
                        [](const std::string&, bool) { return std::vector<std::string>(); });
  FakeNameServer good(
      &thread_, [](const std::string& query, bool) { return std::vector{AnswerTo(query, 1)}; });

  EXPECT_THAT(dns::Decode(Ask({silent.server(), good.server()})).answers,
              ElementsAre("example.com. 60 A 0.0.0.1"));
  EXPECT_EQ(silent.queries(), 1);
}

TEST_F(ForwarderTest, GoesOnAtOnceWhenNobodyListens) {
  NameServer gone;
  {
    FakeNameServer closed(&thread_,
                          [](const std::string&, bool) { return std::vector<std::string>(); });
    gone = closed.server();
  }
  FakeNameServer good(
      &thread_, [](const std::string& query, bool) { return std::vector{AnswerTo(query, 1)}; });

  EXPECT_THAT(dns::Decode(Ask({gone, good.server()})).answers, testing::SizeIs(1));
  EXPECT_THAT(dns::Decode(Ask({gone, good.server()}, /*tcp=*/true)).answers, testing::SizeIs(1));
}

// The checksum of `bytes` as it stands in an ICMP header; their number is even.
uint16_t Checksum(const std::string& bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); i += 2)
    sum += static_cast<uint32_t>(static_cast<uint8_t>(bytes[i]) << 8 |
                                 static_cast<uint8_t>(bytes[i + 1]));
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// "Host unreachable" about a datagram between two ports of 127.0.0.1.
std::string HostUnreachable(uint16_t source, uint16_t destination) {
  const auto two = [](unsigned value) {
    return std::string{static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
  };
  const std::string loopback("\x7f\0\0\1", 4);
  const std::string quoted = std::string("\x45\0\0\x1c\0\0\0\0\x40\x11\0\0", 12) + loopback +
                             loopback + two(source) + two(destination) + two(8) + two(0);
  std::string out = std::string("\3\1\0\0\0\0\0\0", 8) + quoted;
  out.replace(2, 2, two(Checksum(out)));
  return out;
}

TEST_F(ForwarderTest, GivesUpAtOnceWhenARouterSaysThatThereIsNoWay) {
  UniqueFd server(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  UniqueFd router(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
  ASSERT_TRUE(server && router) << "this test must be root";
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  ASSERT_EQ(::setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
  sockaddr_in here{}, client{};
  here.sin_family = AF_INET;
  here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof here;
  ASSERT_EQ(::bind(server.get(), reinterpret_cast<sockaddr*>(&here), length), 0);
  ASSERT_EQ(::getsockname(server.get(), reinterpret_cast<sockaddr*>(&here), &length), 0);
  // Its own timeout would end it only after this test.
  thread_.Call(
      [this] { forwarder_ = std::make_unique<Forwarder>(thread_.loop(), absl::Hours(1)); });
  std::string got = "no answer";
  absl::Notification done;
  thread_.Call([&] {
    forwarder_->Forward({{IpAddress::V4(INADDR_LOOPBACK), ntohs(here.sin_port)}}, query_, false,
                        [&](std::string response) {
                          got = std::move(response);
                          done.Notify();
                        });
  });
  char buffer[512];
  ASSERT_GT(::recvfrom(server.get(), buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&client),
                       &length),
            0);

  const std::string error = HostUnreachable(ntohs(client.sin_port), ntohs(here.sin_port));
  here.sin_port = 0;
  ASSERT_EQ(::sendto(router.get(), error.data(), error.size(), 0,
                     reinterpret_cast<sockaddr*>(&here), sizeof here),
            static_cast<ssize_t>(error.size()));

  EXPECT_TRUE(done.WaitForNotificationWithTimeout(kDeadline));
  thread_.Call([this] { forwarder_.reset(); });
  EXPECT_THAT(got, IsEmpty());
}

TEST_F(ForwarderTest, PrefersAnAnswerToARefusalButRelaysTheRefusalWhenThereIsNoOther) {
  FakeNameServer bad(&thread_, [](const std::string& query, bool) {
    return std::vector{AnswerTo(query, 0, dns::kServFail)};
  });
  FakeNameServer good(
      &thread_, [](const std::string& query, bool) { return std::vector{AnswerTo(query, 1)}; });

  EXPECT_EQ(dns::Decode(Ask({bad.server(), good.server()})).rcode, dns::kNoError);
  const dns::Decoded refused = dns::Decode(Ask({bad.server()}));
  EXPECT_EQ(refused.rcode, dns::kServFail);
  EXPECT_EQ(refused.id, 4711);
}

TEST_F(ForwarderTest, GivesUpWithNothingWhenAllAreSilent) {
  FakeNameServer silent(&thread_,
                        [](const std::string&, bool) { return std::vector<std::string>(); });

  EXPECT_THAT(Ask({silent.server(), silent.server()}), IsEmpty());
  EXPECT_EQ(silent.queries(), 2);
  EXPECT_THAT(Ask({}), IsEmpty());
}

TEST_F(ForwarderTest, AsksOverTcpForAClientThatDid) {
  FakeNameServer server(&thread_, [](const std::string& query, bool tcp) {
    return std::vector{AnswerTo(query, tcp ? 6 : 17)};
  });

  EXPECT_THAT(dns::Decode(Ask({server.server()}, /*tcp=*/true)).answers,
              ElementsAre("example.com. 60 A 0.0.0.6"));
}

TEST(ParseResolvConf, TakesThreeServersWithoutOurselves) {
  const std::vector<IpAddress> own = {*IpAddress::Parse("10.244.1.1"),
                                      *IpAddress::Parse("fd00:244:1::1")};

  EXPECT_THAT(ParseResolvConf("# nameserver 9.9.9.9\nsearch a\nnameserver 10.244.1.1\n"
                              "nameserver fd00:244:1::1\n"
                              "nameserver\t1.1.1.1 # x\nnameserver bogus\nnameserverx 5.5.5.5\n"
                              "nameserver 2.2.2.2\nnameserver fd00::1\nnameserver 4.4.4.4",
                              own),
              ElementsAre(NameServer{*IpAddress::Parse("1.1.1.1"), 53},
                          NameServer{*IpAddress::Parse("2.2.2.2"), 53},
                          NameServer{*IpAddress::Parse("fd00::1"), 53}));
  EXPECT_THAT(ParseResolvConf("", own), IsEmpty());
}

}  // namespace
}  // namespace mesh::agent
