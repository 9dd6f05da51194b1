// SPDX-License-Identifier: Apache-2.0
#include "agent/network/listeners.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>
#include <tuple>
#include <utility>

#include "common/ip_address.h"
#include "common/status.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

// States as the kernel numbers them: a TCP socket that listens, a UDP socket without a peer.
constexpr std::string_view kTcpListen = "0A";
constexpr std::string_view kUdpUnconnected = "07";

std::string_view NextWord(std::string_view* line) {
  const size_t begin = line->find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  line->remove_prefix(begin);
  const size_t end = std::min(line->find(' '), line->size());
  const std::string_view word = line->substr(0, end);
  line->remove_prefix(end);
  return word;
}

// The fourth word: number of the row, addresses of both ends, state.
std::string_view ParseState(std::string_view line) {
  for (int i = 0; i < 3; ++i) NextWord(&line);
  return NextWord(&line);
}

// Words of 32 bits, each printed as the machine holds it: 0100007F is 127.0.0.1 on x86.
std::optional<IpAddress> ParseAddress(std::string_view hex) {
  if (hex.size() != 8 && hex.size() != 32) return std::nullopt;
  std::array<uint8_t, 16> bytes{};
  for (size_t i = 0; i < hex.size() / 8; ++i) {
    uint32_t word = 0;
    const std::string_view part = hex.substr(i * 8, 8);
    const auto [end, error] = std::from_chars(part.data(), part.data() + 8, word, 16);
    if (error != std::errc() || end != part.data() + 8) return std::nullopt;
    std::memcpy(&bytes[i * 4], &word, 4);
  }
  if (hex.size() == 32) return IpAddress::FromBytes(bytes);
  return IpAddress::V4(uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 |
                       uint32_t{bytes[2]} << 8 | bytes[3]);
}

}  // namespace

std::vector<v1::Listener> ParseListeners(std::string_view table, const std::string& protocol) {
  const bool tcp = protocol == "TCP";
  std::vector<v1::Listener> out;
  size_t begin = table.find('\n');  // after the heading
  while (begin != std::string_view::npos && ++begin < table.size()) {
    const size_t end = table.find('\n', begin);
    std::string_view line = table.substr(begin, end == std::string_view::npos ? end : end - begin);
    begin = end;
    NextWord(&line);  // number of the row
    const std::string_view local = NextWord(&line);
    NextWord(&line);  // the peer
    if (NextWord(&line) != (tcp ? kTcpListen : kUdpUnconnected)) {
      if (tcp) break;  // the kernel tells those that listen first
      continue;
    }
    const size_t colon = local.find(':');
    if (colon == std::string_view::npos) continue;
    const auto address = ParseAddress(local.substr(0, colon));
    unsigned port = 0;
    const std::string_view digits = local.substr(colon + 1);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), port, 16);
    if (!address || parsed.ec != std::errc() || port == 0) continue;
    v1::Listener& listener = out.emplace_back();
    listener.set_protocol(protocol);
    listener.set_address(address->ToString());
    listener.set_port(port);
  }
  return out;
}

absl::StatusOr<v1::ListListenersResponse> LoadListeners(const std::string& netns) {
  ASSIGN_OR_RETURN(const UniqueFd fd, dataplane::OpenNetns(netns));
  std::vector<v1::Listener> all;
  RETURN_IF_ERROR(dataplane::InNetns(fd.get(), [&] {
    for (const auto& [file, protocol] : {std::pair("tcp", "TCP"), std::pair("tcp6", "TCP"),
                                         std::pair("udp", "UDP"), std::pair("udp6", "UDP")}) {
      std::ifstream in(fmt::format("/proc/thread-self/net/{}", file));
      std::stringstream text;
      // Without IPv6 there is no file of it. Of TCP no more than those that listen: the kernel
      // makes the text as it is read, and connections may be very many.
      const bool tcp = protocol == std::string_view("TCP");
      for (std::string line; std::getline(in, line);) {
        text << line << '\n';
        if (tcp && line.find(':') != std::string::npos && ParseState(line) != kTcpListen) break;
      }
      for (v1::Listener& listener : ParseListeners(text.str(), protocol))
        all.push_back(std::move(listener));
    }
    return absl::OkStatus();
  }));
  const auto rank = [](const v1::Listener& listener) {
    return std::tuple(listener.protocol(), listener.port(), listener.address());
  };
  std::sort(all.begin(), all.end(),
            [&](const v1::Listener& a, const v1::Listener& b) { return rank(a) < rank(b); });
  v1::ListListenersResponse out;
  for (v1::Listener& listener : all) *out.add_listeners() = std::move(listener);
  return out;
}

}  // namespace mesh::agent
