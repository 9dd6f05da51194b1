// SPDX-License-Identifier: Apache-2.0
// Goal: the sockets that wait for peers are found, by text as the kernel writes it and on the
// sockets of this process.
#include "agent/network/listeners.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "common/unique_fd.h"
#include "gtest/gtest.h"

namespace mesh::agent {
namespace {

constexpr char kHeading[] =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n";

TEST(ParseListeners, ReadsTheRowsThatWait) {
  const std::string tcp = std::string(kHeading) +
                          "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000\n"
                          "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000\n"
                          "   2: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000\n";
  const auto rows = ParseListeners(tcp, "TCP");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].address(), "127.0.0.1");
  EXPECT_EQ(rows[0].port(), 8080u);
  EXPECT_EQ(rows[1].address(), "0.0.0.0");
  EXPECT_EQ(rows[1].port(), 80u);

  const std::string udp6 =
      std::string(kHeading) +
      "    7: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 01 0:0\n"
      "    9: 000000FD000000000000000001000000:0035 00000000000000000000000000000000:0000 07 0:0\n";
  const auto udp = ParseListeners(udp6, "UDP");
  ASSERT_EQ(udp.size(), 1u);
  EXPECT_EQ(udp[0].address(), "fd00::1");
  EXPECT_EQ(udp[0].port(), 53u);
}

TEST(ParseListeners, PassesOverWhatItCannotRead) {
  EXPECT_TRUE(ParseListeners("", "TCP").empty());
  EXPECT_TRUE(ParseListeners("heading only", "TCP").empty());
  EXPECT_TRUE(
      ParseListeners(std::string(kHeading) + "   0: 01:50 0:0 0A\n\n   1: x\n", "TCP").empty());
}

TEST(LoadListeners, FindsASocketOfThisNamespace) {
  UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(fd);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(fd.get(), 1), 0);
  socklen_t size = sizeof address;
  ASSERT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);

  const auto found = LoadListeners("/proc/self/ns/net");

  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_TRUE(std::any_of(found->listeners().begin(), found->listeners().end(), [&](auto& row) {
    return row.protocol() == "TCP" && row.address() == "127.0.0.1" &&
           row.port() == ntohs(address.sin_port);
  }));
  EXPECT_EQ(LoadListeners("/proc/self/ns/nothing").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace mesh::agent
