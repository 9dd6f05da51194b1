// SPDX-License-Identifier: Apache-2.0
// Goal: the name server as a pod's C library sees it, over UDP and TCP.
// Method: sockets on 127.0.0.1 and ::1 with free ports; resolver and upstream share one loop.
#include "agent/network/resolver.h"

#include <fstream>
#include <set>

#include "agent/network/dns_message.h"
#include "common/socket_address.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/dns_client.h"
#include "tests/unit/agent/network/fake_name_server.h"
#include "tests/unit/agent/network/named_state.h"
#include "tests/unit/agent/network/temporary_folder.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

constexpr int kDeadlineSeconds = 10;

class ResolverTest : public testing::Test {
 protected:
  ResolverTest() {
    thread_.Call([this] {
      auto resolver = Resolver::Listen(thread_.loop(),
                                       {IpAddress::V4(INADDR_LOOPBACK), *IpAddress::Parse("::1")},
                                       0, folder_.path() + "/resolv.conf");
      EXPECT_TRUE(resolver.ok()) << resolver.status();
      resolver_ = *std::move(resolver);
    });
    SetState(NamedState());
  }
  ~ResolverTest() override {
    thread_.Call([this] { resolver_.reset(); });
  }

  void SetState(NodeStatePtr state) {
    thread_.Call([&] { resolver_->SetState(std::move(state)); });
  }
  void SetUpstream(NameServer server) {
    thread_.Call([&] { resolver_->SetUpstreams({server}); });
  }

  // Blocks on receiving up to the deadline.
  UniqueFd Connect(int type, const char* server = "127.0.0.1") {
    const SocketAddress address(*IpAddress::Parse(server), resolver_->port());
    UniqueFd fd(::socket(address.family(), type | SOCK_CLOEXEC, 0));
    const timeval deadline{.tv_sec = kDeadlineSeconds, .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof deadline);
    EXPECT_EQ(::connect(fd.get(), address.get(), address.length()), 0);
    return fd;
  }

  std::string AskUdp(const std::string& packet, const char* server = "127.0.0.1") {
    const UniqueFd fd = Connect(SOCK_DGRAM, server);
    EXPECT_EQ(::send(fd.get(), packet.data(), packet.size(), 0),
              static_cast<ssize_t>(packet.size()));
    char buffer[65536];
    const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, 0);
    return n < 0 ? "no answer" : std::string(buffer, static_cast<size_t>(n));
  }

  static std::string Framed(const std::string& packet) {
    return std::string{static_cast<char>(packet.size() >> 8), static_cast<char>(packet.size())} +
           packet;
  }

  // One answer off the stream, no byte more.
  static std::string ReadFramed(int fd) {
    char length[2];
    if (::recv(fd, length, 2, MSG_WAITALL) != 2) return "no answer";
    std::string packet(dns::IdOf(std::string_view(length, 2)), '\0');
    if (::recv(fd, packet.data(), packet.size(), MSG_WAITALL) !=
        static_cast<ssize_t>(packet.size()))
      return "no answer";
    return packet;
  }

  TemporaryFolder folder_;
  LoopThread thread_;
  std::unique_ptr<Resolver> resolver_;
};

TEST_F(ResolverTest, AnswersForServices) {
  const dns::Decoded decoded = dns::Decode(AskUdp(dns::MakeQuery("web.shop.svc.cluster.local")));

  EXPECT_EQ(decoded.id, 0x1234);
  EXPECT_TRUE(decoded.authoritative);
  EXPECT_THAT(decoded.answers, ElementsAre("web.shop.svc.cluster.local. 5 A 10.96.0.10"));
}

TEST_F(ResolverTest, AnswersAtItsIpv6AddressToo) {
  const std::string question = dns::MakeQuery("web.shop.svc.cluster.local");
  const auto want = ElementsAre("web.shop.svc.cluster.local. 5 A 10.96.0.10");

  // A connected socket takes an answer from the address it asked only.
  EXPECT_THAT(dns::Decode(AskUdp(question, "::1")).answers, want);
  const UniqueFd fd = Connect(SOCK_STREAM, "::1");
  const std::string framed = Framed(question);
  ASSERT_EQ(::send(fd.get(), framed.data(), framed.size(), 0), static_cast<ssize_t>(framed.size()));
  EXPECT_THAT(dns::Decode(ReadFramed(fd.get())).answers, want);
}

TEST_F(ResolverTest, SeesTheNewestState) {
  auto next = NamedState();
  next->services["shop/web"].Mutable().set_cluster_ip("10.96.0.99");
  SetState(next);

  EXPECT_THAT(dns::Decode(AskUdp(dns::MakeQuery("web.shop.svc.cluster.local"))).answers,
              ElementsAre("web.shop.svc.cluster.local. 5 A 10.96.0.99"));
}

TEST_F(ResolverTest, AnswersSeveralQuestionsOnOneTcpConnection) {
  const UniqueFd fd = Connect(SOCK_STREAM);
  const std::string first = Framed(dns::MakeQuery("web.shop.svc.cluster.local", {.id = 1}));
  const std::string second = Framed(dns::MakeQuery("nothing.shop.svc.cluster.local", {.id = 2}));
  const std::string bytes = first + second;
  ASSERT_EQ(::send(fd.get(), bytes.data(), first.size() + 3, 0),
            static_cast<ssize_t>(first.size() + 3));

  EXPECT_EQ(dns::Decode(ReadFramed(fd.get())).rcode, dns::kNoError);
  ASSERT_GT(::send(fd.get(), bytes.data() + first.size() + 3, second.size() - 3, 0), 0);
  EXPECT_EQ(dns::Decode(ReadFramed(fd.get())).rcode, dns::kNxDomain);
}

TEST_F(ResolverTest, SendsWhatIsTooLongForUdpOverTcp) {
  auto state = NamedState();
  v1::ServiceState& many = state->services["shop/headless"].Mutable();
  for (int i = 0; i < 100; ++i) {
    v1::BackendState* backend = many.mutable_ports(0)->add_backends();
    backend->set_ip(IpAddress::V4(0x0af40200u + static_cast<uint32_t>(i)).ToString());
    backend->set_state(v1::BackendState::ACTIVE);
  }
  SetState(state);
  const std::string query = dns::MakeQuery("headless.shop.svc.cluster.local");

  EXPECT_TRUE(dns::Decode(AskUdp(query)).truncated);

  const UniqueFd fd = Connect(SOCK_STREAM);
  const std::string framed = Framed(query);
  ASSERT_GT(::send(fd.get(), framed.data(), framed.size(), 0), 0);
  const dns::Decoded decoded = dns::Decode(ReadFramed(fd.get()));
  EXPECT_FALSE(decoded.truncated);
  EXPECT_THAT(decoded.answers, SizeIs(101));
}

TEST_F(ResolverTest, AsksUpstreamForOtherNames) {
  FakeNameServer upstream(&thread_, [](const std::string& query, bool) {
    dns::Answer answer;
    answer.answers.push_back({"example.com", dns::kA, 60, dns::EncodeV4(0x01020304)});
    return std::vector{dns::BuildResponse(query, *dns::ParseQuery(query).query, answer, 512)};
  });
  SetUpstream(upstream.server());

  EXPECT_THAT(dns::Decode(AskUdp(dns::MakeQuery("example.com"))).answers,
              ElementsAre("example.com. 60 A 1.2.3.4"));
  const UniqueFd fd = Connect(SOCK_STREAM);
  const std::string framed = Framed(dns::MakeQuery("example.com"));
  ASSERT_GT(::send(fd.get(), framed.data(), framed.size(), 0), 0);
  EXPECT_THAT(dns::Decode(ReadFramed(fd.get())).answers, SizeIs(1));
}

// shop/outside is example.com.
std::shared_ptr<NodeState> StateWithAlias() {
  auto state = NamedState();
  v1::ServiceState& outside = state->services["shop/outside"].Mutable();
  outside.set_namespace_("shop");
  outside.set_name("outside");
  outside.set_external_name("example.com");
  return state;
}

TEST_F(ResolverTest, AnAliasComesWithWhatItLeadsTo) {
  SetState(StateWithAlias());
  FakeNameServer upstream(&thread_, [](const std::string& query, bool) {
    const auto parsed = dns::ParseQuery(query);
    EXPECT_THAT(parsed.query->name, ElementsAre("example", "com"));
    dns::Answer answer;
    answer.answers.push_back({"example.com", dns::kCname, 60, dns::EncodeName("www.example.com")});
    answer.answers.push_back({"www.example.com", dns::kA, 30, dns::EncodeV4(0x01020304)});
    return std::vector{dns::BuildResponse(query, *parsed.query, answer, 512)};
  });
  SetUpstream(upstream.server());

  EXPECT_THAT(
      dns::Decode(AskUdp(dns::MakeQuery("outside.shop.svc.cluster.local"))).answers,
      ElementsAre("outside.shop.svc.cluster.local. 5 CNAME example.com.",
                  "example.com. 60 CNAME www.example.com.", "www.example.com. 30 A 1.2.3.4"));
}

TEST_F(ResolverTest, AnAliasIsFollowedOverTcpWhenTheRestIsLong) {
  SetState(StateWithAlias());
  FakeNameServer upstream(&thread_, [](const std::string& query, bool tcp) {
    const auto parsed = dns::ParseQuery(query);
    dns::Answer answer;
    for (uint32_t i = 0; i < 40; ++i)
      answer.answers.push_back({"example.com", dns::kA, 30, dns::EncodeV4(0x01020300 + i)});
    return std::vector{dns::BuildResponse(query, *parsed.query, answer, tcp ? 4096 : 512)};
  });
  SetUpstream(upstream.server());

  const dns::Decoded decoded =
      dns::Decode(AskUdp(dns::MakeQuery("outside.shop.svc.cluster.local", {.edns_bytes = 1232})));

  EXPECT_THAT(decoded.answers, SizeIs(41));
  EXPECT_EQ(upstream.queries(), 2);
}

TEST_F(ResolverTest, AnAliasWithoutAnUpstreamIsTheAliasAlone) {
  SetState(StateWithAlias());

  const dns::Decoded decoded =
      dns::Decode(AskUdp(dns::MakeQuery("outside.shop.svc.cluster.local")));

  EXPECT_EQ(decoded.rcode, dns::kNoError);
  EXPECT_THAT(decoded.answers, SizeIs(1));
}

TEST_F(ResolverTest, AnAliasWhoseUpstreamFailsIsAFailure) {
  SetState(StateWithAlias());
  FakeNameServer upstream(&thread_, [](const std::string& query, bool) {
    return std::vector{dns::BuildRefusal(query, dns::kServFail)};
  });
  SetUpstream(upstream.server());

  EXPECT_EQ(dns::Decode(AskUdp(dns::MakeQuery("outside.shop.svc.cluster.local"))).rcode,
            dns::kServFail);
}

TEST_F(ResolverTest, BackendsOfAHeadlessServiceComeInAnyOrder) {
  auto state = NamedState();
  v1::ServiceState& many = state->services["shop/headless"].Mutable();
  for (int i = 0; i < 5; ++i)
    many.mutable_ports(0)->add_backends()->set_ip(fmt::format("10.244.3.{}", i));
  SetState(state);

  std::set<std::string> first;
  for (int i = 0; i < 200; ++i)
    first.insert(
        dns::Decode(AskUdp(dns::MakeQuery("headless.shop.svc.cluster.local"))).answers.at(0));

  EXPECT_THAT(first, SizeIs(6)) << "each is first at times";
}

TEST_F(ResolverTest, NamesOfTheClusterNeverGoUpstream) {
  FakeNameServer upstream(&thread_,
                          [](const std::string&, bool) { return std::vector<std::string>(); });
  SetUpstream(upstream.server());

  EXPECT_EQ(dns::Decode(AskUdp(dns::MakeQuery("x.shop.svc.cluster.local"))).rcode, dns::kNxDomain);
  EXPECT_EQ(upstream.queries(), 0);
}

TEST_F(ResolverTest, RefusesOtherNamesAtOnceWithoutAnUpstream) {
  EXPECT_EQ(dns::Decode(AskUdp(dns::MakeQuery("example.com"))).rcode, dns::kRefused);
}

TEST_F(ResolverTest, DoesNotAskItselfWhenResolvConfNamesIt) {
  std::ofstream(folder_.path() + "/resolv.conf") << "nameserver 127.0.0.1\n";

  EXPECT_EQ(dns::Decode(AskUdp(dns::MakeQuery("example.com"))).rcode, dns::kRefused);
}

TEST_F(ResolverTest, ReportsABadEdnsVersion) {
  const dns::Decoded decoded = dns::Decode(AskUdp(
      dns::MakeQuery("web.shop.svc.cluster.local", {.edns_bytes = 1232, .edns_version = 3})));

  EXPECT_THAT(decoded.additional, ElementsAre("OPT 1232 1"));
}

TEST_F(ResolverTest, AnswersGarbageWithAnErrorAndGoesOn) {
  std::string garbage = dns::MakeQuery("web");
  garbage[12] = static_cast<char>(0xff);

  EXPECT_EQ(dns::Decode(AskUdp(garbage)).rcode, dns::kFormErr);
  EXPECT_EQ(dns::Decode(AskUdp(dns::MakeQuery("web.shop.svc.cluster.local"))).rcode, dns::kNoError);
}

TEST_F(ResolverTest, CountsQuestionsAndWhatBecameOfThem) {
  AskUdp(dns::MakeQuery("web.shop.svc.cluster.local", {.type = dns::kA}));
  AskUdp(dns::MakeQuery("web.shop.svc.cluster.local", {.type = dns::kTxt}));
  AskUdp(dns::MakeQuery("nothing.shop.svc.cluster.local", {.type = dns::kA}));
  AskUdp(dns::MakeQuery("example.com", {.type = dns::kA}));

  Resolver::Counters counters;
  thread_.Call([&] { counters = resolver_->counters(); });
  EXPECT_EQ(counters.queries, 4u);
  EXPECT_EQ(counters.queries_tcp, 0u);
  EXPECT_EQ(counters.answered, 1u);
  EXPECT_EQ(counters.no_data, 1u);
  EXPECT_EQ(counters.nxdomain, 1u);
  EXPECT_EQ(counters.refused, 1u);  // there is no server to ask
  EXPECT_EQ(counters.forwarded, 0u);
}

TEST_F(ResolverTest, NamesTheAddressItCannotHave) {
  thread_.Call([this] {
    const auto second = Resolver::Listen(thread_.loop(), {IpAddress::V4(INADDR_LOOPBACK)},
                                         resolver_->port(), "/nonexistent");
    EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr("127.0.0.1:"));
  });
}

}  // namespace
}  // namespace mesh::agent
