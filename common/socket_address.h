// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh {

// An address and port as the kernel's socket calls take them, of either family.
class SocketAddress {
 public:
  SocketAddress() = default;
  SocketAddress(const IpAddress& ip, uint16_t port);

  int family() const { return storage_.ss_family; }
  uint16_t port() const;
  // "10.0.0.1:53", "[fd00::1]:53".
  std::string ToString() const;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t length() const { return length_; }

  // For calls that fill it in: both together.
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage_); }
  socklen_t* room() {
    length_ = sizeof storage_;
    return &length_;
  }

 private:
  sockaddr_storage storage_{};
  socklen_t length_ = sizeof storage_;
};

// "10.0.0.1:53", "[fd00::1]:53".
std::string FormatHostPort(const IpAddress& ip, uint16_t port);

// As people write it: a name of any form, an address, an IPv6 address in brackets, and ":PORT"
// behind it or nothing. INVALID_ARGUMENT says what is wrong with it. The port is not looked at.
struct HostAndPort {
  std::string host;                 // without brackets
  std::optional<std::string> port;  // "8080", "http", ""
  friend bool operator==(const HostAndPort&, const HostAndPort&) = default;
};
absl::StatusOr<HostAndPort> SplitHostPort(std::string_view text);

enum class HostPart : uint8_t { kRequired, kMayBeEmpty };

// Whether `text`, the value of `flag`, is HOST:PORT: a name or an IPv4 address, or an IPv6 address
// in brackets; and a port from 1 to 65535. gRPC takes what is not: it dials port 0, or the port
// modulo 65536. Returns INVALID_ARGUMENT that begins with the flag and the value.
absl::Status CheckHostPort(std::string_view flag, const std::string& text,
                           HostPart host = HostPart::kRequired);

}  // namespace mesh
