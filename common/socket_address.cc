// SPDX-License-Identifier: Apache-2.0
#include "common/socket_address.h"

#include <array>
#include <charconv>
#include <cstring>

#include "fmt/format.h"

namespace mesh {

SocketAddress::SocketAddress(const IpAddress& ip, uint16_t port) {
  if (ip.is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(ip.v4());
    length_ = sizeof v4;
    std::memcpy(&storage_, &v4, sizeof v4);
    return;
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  std::memcpy(&v6.sin6_addr, ip.bytes().data(), ip.bytes().size());
  length_ = sizeof v6;
  std::memcpy(&storage_, &v6, sizeof v6);
}

uint16_t SocketAddress::port() const {
  // At the same place in both.
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  in_port_t port;
  std::memcpy(&port, reinterpret_cast<const char*>(&storage_) + offsetof(sockaddr_in, sin_port),
              sizeof port);
  return ntohs(port);
}

std::string SocketAddress::ToString() const {
  if (family() == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &storage_, sizeof v4);
    return FormatHostPort(IpAddress::V4(ntohl(v4.sin_addr.s_addr)), port());
  }
  if (family() != AF_INET6) return fmt::format("address of family {}", family());
  sockaddr_in6 v6;
  std::memcpy(&v6, &storage_, sizeof v6);
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
  return FormatHostPort(IpAddress::FromBytes(bytes), port());
}

std::string FormatHostPort(const IpAddress& ip, uint16_t port) {
  return ip.is_v4() ? fmt::format("{}:{}", ip.ToString(), port)
                    : fmt::format("[{}]:{}", ip.ToString(), port);
}

absl::StatusOr<HostAndPort> SplitHostPort(std::string_view text) {
  const auto no_address = [](std::string_view host) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is no address", host));
  };
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos)
      return absl::InvalidArgumentError("the \"]\" of the address is missing");
    const std::string_view host = text.substr(1, close - 1), rest = text.substr(close + 1);
    if (!rest.empty() && rest.front() != ':')
      return absl::InvalidArgumentError("after \"]\" comes \":PORT\" or nothing");
    if (!IpAddress::Parse(host).ok()) return no_address(host);
    if (rest.empty()) return HostAndPort{std::string(host), std::nullopt};
    return HostAndPort{std::string(host), std::string(rest.substr(1))};
  }
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return HostAndPort{std::string(text), std::nullopt};
  if (text.find(':', colon + 1) != std::string_view::npos) {
    if (!IpAddress::Parse(text).ok()) return no_address(text);
    return HostAndPort{std::string(text), std::nullopt};
  }
  return HostAndPort{std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

absl::Status CheckHostPort(std::string_view flag, const std::string& text, HostPart host_part) {
  const auto refuse = [&](std::string_view why) {
    return absl::InvalidArgumentError(fmt::format("{} {}: {}", flag, text, why));
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return refuse("has no port; want HOST:PORT");
  const std::string host = text.substr(0, colon);
  const bool in_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (!in_brackets && host.find(':') != std::string::npos) {
    return refuse("want an IPv6 address in brackets: [ADDRESS]:PORT");
  }
  if (host.empty() && host_part == HostPart::kRequired)
    return refuse("has no host; want HOST:PORT");
  if (in_brackets && !IpAddress::Parse(host.substr(1, host.size() - 2)).ok()) {
    return refuse("has no IPv6 address in its brackets");
  }
  const char* const end = text.data() + text.size();
  uint16_t port = 0;
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, port);
  if (error != std::errc() || rest != end || port == 0)
    return refuse("the port must be from 1 to 65535");
  return absl::OkStatus();
}

}  // namespace mesh
