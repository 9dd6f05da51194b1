// SPDX-License-Identifier: Apache-2.0
#include "agent/network/node_address.h"

#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <tuple>

#include "agent/network/files.h"
#include "agent/network/uplink.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

std::optional<unsigned> Hex(std::string_view text) {
  unsigned out = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, out, 16);
  if (error != std::errc() || at != end) return std::nullopt;
  return out;
}

std::optional<IpAddress> ParseHexAddress(std::string_view text) {
  std::array<uint8_t, 16> bytes;
  if (text.size() != 2 * bytes.size()) return std::nullopt;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = Hex(text.substr(2 * i, 2));
    if (!byte) return std::nullopt;
    bytes[i] = static_cast<uint8_t>(*byte);
  }
  return IpAddress::FromBytes(bytes);
}

// Unset for what is neither of IPv4 nor of IPv6.
IpAddress AddressOf(const sockaddr& at) {
  if (at.sa_family == AF_INET) {
    return IpAddress::V4(ntohl(reinterpret_cast<const sockaddr_in&>(at).sin_addr.s_addr));
  }
  if (at.sa_family != AF_INET6) return {};
  std::array<uint8_t, 16> bytes;
  std::copy_n(reinterpret_cast<const sockaddr_in6&>(at).sin6_addr.s6_addr, bytes.size(),
              bytes.begin());
  return IpAddress::FromBytes(bytes);
}

}  // namespace

absl::StatusOr<NodeAddresses> ParseNodeIp(const std::string& text) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(fmt::format("--node-ip {}: {}", text, why));
  };
  const size_t comma = text.find(',');
  const auto first = IpAddress::Parse(text.substr(0, comma));
  if (!first.ok()) return refuse(std::string(first.status().message()));
  if (!first->is_v4()) return refuse("give the IPv4 address first: nodes reach each other by IPv4");
  NodeAddresses out{.v4 = *first, .v6 = {}};
  if (comma == std::string::npos) return out;
  const auto second = IpAddress::Parse(text.substr(comma + 1));
  if (!second.ok()) return refuse(std::string(second.status().message()));
  if (second->is_v4()) return refuse("the second address must be of IPv6");
  out.v6 = *second;
  return out;
}

// Lines of: address, index, prefix length, scope, flags (all hexadecimal), name.
IpAddress ChooseNodeIp6(std::string_view if_inet6, std::string_view interface) {
  constexpr unsigned kScopeGlobal = 0;
  constexpr unsigned kUnfit = IFA_F_TEMPORARY | IFA_F_DEPRECATED | IFA_F_DADFAILED;
  std::optional<std::tuple<bool, IpAddress>> best;
  std::istringstream lines{std::string(if_inet6)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string address, index, length, scope, flags, name;
    words >> address >> index >> length >> scope >> flags >> name;
    const auto ip = ParseHexAddress(address);
    if (name != interface || !ip || Hex(scope) != kScopeGlobal) continue;
    const unsigned bits = Hex(flags).value_or(kUnfit);
    if ((bits & kUnfit) != 0) continue;
    const std::tuple candidate((bits & IFA_F_PERMANENT) == 0, *ip);
    if (!best || candidate < *best) best = candidate;
  }
  return best ? std::get<IpAddress>(*best) : IpAddress();
}

std::set<uint16_t> OwnPorts(const std::string& listen, const std::vector<std::string>& servers,
                            const NodeAddresses& node) {
  std::set<uint16_t> out;
  const auto add = [&](std::string_view endpoint, bool always) {
    const size_t colon = endpoint.rfind(':');
    if (colon == std::string_view::npos) return;
    std::string_view host = endpoint.substr(0, colon);
    if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
    const auto ip = IpAddress::Parse(std::string(host));
    const bool here = ip.ok() && (*ip == node.v4 || (*ip == node.v6 && *ip != IpAddress()) ||
                                  IpPrefix::Parse("127.0.0.0/8")->Contains(*ip) ||
                                  *ip == *IpAddress::Parse("::1"));
    const std::string_view number = endpoint.substr(colon + 1);
    uint16_t port = 0;
    const auto [at, error] = std::from_chars(number.data(), number.data() + number.size(), port);
    if ((here || always) && error == std::errc() && port != 0) out.insert(port);
  };
  add(listen, true);
  for (const std::string& server : servers) add(server, false);
  return out;
}

// The agent has found none when it started, and goes by none until it starts again.
std::string TellNoIp6(const NodeAddresses& node) {
  const std::string what = fmt::format(
      "nothing of IPv6 enters or leaves the cluster by this node, which mesh-agent knows no IPv6 "
      "address of");
  if (const IpAddress now = FindNodeIp6(node.v4); now != IpAddress()) {
    return fmt::format("{}; now there is {}: start mesh-agent again", what, now.ToString());
  }
  const auto interface = InterfaceOf(node.v4);
  return fmt::format(
      "{}: give it one (ip address add IPV6/LENGTH dev {}), and start mesh-agent again", what,
      interface.ok() ? *interface : "INTERFACE");
}

absl::StatusOr<std::set<IpAddress>> OwnAddresses() {
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return ErrnoStatus(errno, "list the addresses of the node");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(raw, ::freeifaddrs);
  std::set<IpAddress> out;
  for (const ifaddrs* at = list.get(); at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr != nullptr) out.insert(AddressOf(*at->ifa_addr));
  }
  out.erase(IpAddress());
  return out;
}

std::string TellMissingAddresses(const NodeAddresses& node, bool dual_stack) {
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(raw, ::freeifaddrs);
  std::string interface = "INTERFACE";  // that of the other address, where it is there
  std::set<IpAddress> missing = {node.v4, node.v6};
  missing.erase(IpAddress());
  for (const ifaddrs* at = list.get(); at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr) continue;
    if (missing.erase(AddressOf(*at->ifa_addr)) > 0) interface = at->ifa_name;
  }
  std::string out;
  for (const IpAddress& ip : missing) {
    const std::string_view parted = out.empty() ? "" : "; ";
    out += fmt::format(
        "{}no interface of the node has its address {} any more: nobody reaches the node at it; "
        "give it back: ip address add {}/LENGTH dev {}",
        parted, ip.ToString(), ip.ToString(), interface);
    if (ip.is_v4()) continue;
    out += fmt::format(
        "; the kernel takes IPv6 addresses away when their link goes down, unless "
        "net.ipv6.conf.{}.keep_addr_on_down is 1",
        interface);
  }
  if (dual_stack && node.v6 == IpAddress()) out += (out.empty() ? "" : "; ") + TellNoIp6(node);
  return out;
}

IpAddress FindNodeIp6(const IpAddress& node_ip) {
  const auto interface = InterfaceOf(node_ip);
  const auto text = ReadWholeFile("/proc/net/if_inet6");
  // A kernel without IPv6 has no such file; an address that nobody has is told of elsewhere.
  if (!interface.ok() || !text.ok()) return {};
  return ChooseNodeIp6(*text, *interface);
}

}  // namespace mesh::agent
