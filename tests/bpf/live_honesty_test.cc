// SPDX-License-Identifier: Apache-2.0
// Goal: ordinary sockets learn at once what the packet path refuses, get what is longer than a
// packet, and no more than their share. Method: the world of live.h; packets of these sockets come
// with partial checksums and unsegmented, which packet tests cannot make.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "tests/bpf/live.h"

namespace mesh::dataplane::testing {
namespace {

TEST_P(LiveWays, RefusesAtOnceWhenNobodyIsThere) {
  Serve({});
  for (const Netns* from : {&*client_.netns, &*one_.netns}) {
    const absl::Time begun = absl::Now();
    Socket connection = *Tcp(*from);
    const absl::Status refused = connection.Connect(vip_, 80);
    EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("Connection refused"));
    Socket datagrams = *Udp(*from);
    ASSERT_STATUS(datagrams.Connect(vip_, 80));
    ASSERT_STATUS(datagrams.Send("anybody?"));
    EXPECT_THAT(std::string(datagrams.Receive().status().message()),
                ::testing::HasSubstr("Connection refused"));
    EXPECT_LT(absl::Now() - begun, absl::Seconds(3));
  }
}

TEST_P(LiveWays, ResetsAConnectionWhoseBackendIsGone) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  Socket client = *Tcp(*client_.netns);
  ASSERT_STATUS(client.Connect(vip_, 80));
  absl::StatusOr<Socket> server = listener.Accept();
  ASSERT_TRUE(server.ok());

  Serve({near_.ip});
  // More than a segment: the packet that is refused is one to be segmented.
  ASSERT_STATUS(client.Send(std::string(20000, 'x')));

  EXPECT_THAT(std::string(client.Receive().status().message()),
              ::testing::HasSubstr("Connection reset"));
}

TEST_P(LiveWays, CarriesDatagramsThatAreLongerThanTheLink) {
  const std::string question(5000, 'q'), answer(7001, 'a');
  for (const Pod* pod : {&near_, &far_}) {
    Serve({pod->ip});
    Socket receiver = Receiver(*pod);
    Socket client = *Udp(*client_.netns);
    ASSERT_STATUS(client.Connect(vip_, 80));
    // A fragment that comes before its first is dropped, which happens where a thread changes its
    // CPU between two of them: then it is sent again.
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    std::string got;
    while (got.empty() && absl::Now() < deadline) {
      ASSERT_STATUS(client.Send(question));
      const absl::StatusOr<std::string> asked = receiver.Answer(answer, absl::Seconds(1));
      if (!asked.ok()) continue;
      EXPECT_TRUE(*asked == question) << asked->size() << " bytes";
      got = client.Receive(absl::Seconds(1)).value_or("");
    }
    EXPECT_TRUE(got == answer) << got.size() << " bytes";
  }
}

TEST_P(LiveWays, ShowsWhoHasHowManyFlows) {
  Serve({far_.ip});
  Socket listener = Listener(far_);
  for (int i = 0; i < 3; ++i) ExpectTalk(*client_.netns, vip_, 80, listener);

  const absl::StatusOr<FlowUsage> usage = one_.dataplane->FlowOwners();
  ASSERT_TRUE(usage.ok()) << usage.status();
  const bool ipv6 = way_.family == Family::kV6;
  EXPECT_EQ(ipv6 ? usage->capacity6 : usage->capacity, 262144u);
  EXPECT_EQ(ipv6 ? usage->flows6 : usage->flows, 3u);
  EXPECT_EQ(ipv6 ? usage->flows : usage->flows6, 0u);
  ASSERT_EQ(usage->owners.size(), 1u);
  EXPECT_EQ(usage->owners[0].ip, client_.ip);
  EXPECT_EQ(usage->owners[0].pod, "client");
  EXPECT_EQ(usage->owners[0].flows, 3u);
  EXPECT_EQ(two_.dataplane->FlowOwners()->owners.at(0).ip, client_.ip);
}

TEST_P(LiveWays, LimitsWhatAPodSendsAndReceives) {
  constexpr uint64_t kBitsPerSecond = 40'000'000;
  Pod sender, receiver;
  ASSERT_STATUS(Attach(sender, one_, "10.244.1.20", kShop, "sender", kBitsPerSecond, 0));
  ASSERT_STATUS(Attach(receiver, one_, "10.244.1.21", kShop, "receiver", 0, kBitsPerSecond));
  const auto measure = [&](const Pod& from, const Pod& to, double* bits_per_second) {
    Socket listener = Listener(to);
    Socket client = *Tcp(*from.netns);
    ASSERT_STATUS(client.Connect(to.ip, 8080));
    absl::StatusOr<Socket> server = listener.Accept();
    ASSERT_TRUE(server.ok()) << server.status();
    // A second and a half of it.
    const std::string data(kBitsPerSecond / 8 * 3 / 2, 'd');
    std::thread send([&] { EXPECT_TRUE(client.Send(data).ok()); });
    size_t received = 0;
    const absl::Time begun = absl::Now();
    while (received < data.size()) {
      const absl::StatusOr<std::string> part = server->Receive();
      EXPECT_TRUE(part.ok()) << part.status();
      if (!part.ok() || part->empty()) break;
      received += part->size();
    }
    *bits_per_second =
        static_cast<double>(received * 8) / absl::ToDoubleSeconds(absl::Now() - begun);
    send.join();
  };
  double sent = 0, got = 0, free = 0;
  measure(sender, near_, &sent);
  measure(near_, receiver, &got);
  measure(near_, client_, &free);
  std::cerr << fmt::format("sent {:.1f}, received {:.1f}, without a limit {:.1f} Mbit/s\n",
                           sent / 1e6, got / 1e6, free / 1e6);
  // Headers take 4 % of it.
  EXPECT_LT(sent, 1.15 * kBitsPerSecond);
  EXPECT_GT(sent, 0.85 * kBitsPerSecond);
  EXPECT_LT(got, 1.15 * kBitsPerSecond);
  EXPECT_GT(got, 0.85 * kBitsPerSecond);
  EXPECT_GT(free, 1.5 * kBitsPerSecond);
}

}  // namespace
}  // namespace mesh::dataplane::testing
