// SPDX-License-Identifier: Apache-2.0
#include "common/socket_address.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace mesh {
namespace {

TEST(SocketAddress, HoldsEitherFamily) {
  const SocketAddress v4(*IpAddress::Parse("10.0.0.1"), 53);
  EXPECT_EQ(v4.family(), AF_INET);
  EXPECT_EQ(v4.length(), sizeof(sockaddr_in));
  EXPECT_EQ(v4.port(), 53);
  EXPECT_EQ(v4.ToString(), "10.0.0.1:53");

  const SocketAddress v6(*IpAddress::Parse("fd00::1"), 6441);
  EXPECT_EQ(v6.family(), AF_INET6);
  EXPECT_EQ(v6.length(), sizeof(sockaddr_in6));
  EXPECT_EQ(v6.port(), 6441);
  EXPECT_EQ(v6.ToString(), "[fd00::1]:6441");
}

TEST(SocketAddress, IsFilledInByTheKernel) {
  for (const char* loopback : {"127.0.0.1", "::1"}) {
    const SocketAddress any(*IpAddress::Parse(loopback), 0);
    const int fd = ::socket(any.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::bind(fd, any.get(), any.length()), 0) << loopback;
    SocketAddress bound;
    ASSERT_EQ(::getsockname(fd, bound.get(), bound.room()), 0);
    ::close(fd);

    EXPECT_NE(bound.port(), 0);
    EXPECT_EQ(bound.ToString(), FormatHostPort(*IpAddress::Parse(loopback), bound.port()));
  }
}

TEST(CheckHostPort, TakesAHostAndAPort) {
  for (const char* good : {"10.0.0.1:6440", "control.example:1", "[fd00::1]:65535"}) {
    EXPECT_TRUE(CheckHostPort("--server", good).ok()) << good;
  }
  EXPECT_TRUE(CheckHostPort("--listen", ":6440", HostPart::kMayBeEmpty).ok());
}

TEST(CheckHostPort, SaysWhatItCannotTake) {
  const struct {
    const char* text;
    const char* want;
  } cases[] = {
      {"10.0.0.1", "--server 10.0.0.1: has no port; want HOST:PORT"},
      {"", "--server : has no port; want HOST:PORT"},
      {":6440", "--server :6440: has no host; want HOST:PORT"},
      {"::1", "--server ::1: want an IPv6 address in brackets: [ADDRESS]:PORT"},
      {"fd00::1:6440", "--server fd00::1:6440: want an IPv6 address in brackets: [ADDRESS]:PORT"},
      {"[fd00::1]", "--server [fd00::1]: want an IPv6 address in brackets: [ADDRESS]:PORT"},
      {"[host]:1", "--server [host]:1: has no IPv6 address in its brackets"},
      {"h:0", "--server h:0: the port must be from 1 to 65535"},
      {"h:65536", "--server h:65536: the port must be from 1 to 65535"},
      {"h:99999", "--server h:99999: the port must be from 1 to 65535"},
      {"h:", "--server h:: the port must be from 1 to 65535"},
      {"h:http", "--server h:http: the port must be from 1 to 65535"},
      {"h:80x", "--server h:80x: the port must be from 1 to 65535"},
  };
  for (const auto& test : cases) {
    const absl::Status status = CheckHostPort("--server", test.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.text;
    EXPECT_EQ(status.message(), test.want);
  }
}

TEST(SplitHostPort, ReadsWhatPeopleWrite) {
  const std::pair<std::string, HostAndPort> cases[] = {
      {"web", {"web", {}}},
      {"pay/api:8080", {"pay/api", "8080"}},
      {"svc/web:http", {"svc/web", "http"}},
      {"10.0.0.1:80", {"10.0.0.1", "80"}},
      {"fd00::1", {"fd00::1", {}}},
      {"[fd00::1]:80", {"fd00::1", "80"}},
      {"[fd00::1]", {"fd00::1", {}}},
      {"api:", {"api", ""}},
      {":80", {"", "80"}},
  };
  for (const auto& [text, expected] : cases) {
    const absl::StatusOr<HostAndPort> split = SplitHostPort(text);
    ASSERT_TRUE(split.ok()) << text << ": " << split.status();
    EXPECT_EQ(*split, expected) << text;
  }
}

TEST(SplitHostPort, SaysWhatIsWrong) {
  const std::pair<std::string, std::string> cases[] = {
      {"[fd00::1:80", "the \"]\" of the address is missing"},
      {"[fd00::1]80", "after \"]\" comes \":PORT\" or nothing"},
      {"[api]:80", "\"api\" is no address"},
      {"fd00::zz", "\"fd00::zz\" is no address"},
      {"a:b:c", "\"a:b:c\" is no address"},
  };
  for (const auto& [text, message] : cases)
    EXPECT_EQ(std::string(SplitHostPort(text).status().message()), message) << text;
}

}  // namespace
}  // namespace mesh
