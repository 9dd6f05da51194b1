// SPDX-License-Identifier: Apache-2.0
// Goal: a question reaches an upstream server that answers, whatever the others do, and only its
// answer comes back.
// Method: fake name servers on 127.0.0.1, one real loop for all of them.
#include "agent/network/forwarder.h"

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
