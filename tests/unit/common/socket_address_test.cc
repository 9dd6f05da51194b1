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

}  // namespace
}  // namespace mesh
