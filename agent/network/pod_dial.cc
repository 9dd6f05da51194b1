// SPDX-License-Identifier: Apache-2.0
#include "agent/network/pod_dial.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "common/ip_address.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::agent {
namespace {

// Of the interfaces that are up, but for loopback and addresses that need a scope.
std::vector<IpAddress> OwnAddresses() {
  std::vector<IpAddress> out;
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return out;
  for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_LOOPBACK) != 0) continue;
    char text[INET6_ADDRSTRLEN] = {};
    if (each->ifa_addr->sa_family == AF_INET) {
      const auto* in = reinterpret_cast<const sockaddr_in*>(each->ifa_addr);
      ::inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
    } else if (each->ifa_addr->sa_family == AF_INET6) {
      const auto* in = reinterpret_cast<const sockaddr_in6*>(each->ifa_addr);
      if (IN6_IS_ADDR_LINKLOCAL(&in->sin6_addr)) continue;
      ::inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof text);
    }
    if (auto address = IpAddress::Parse(text); address.ok()) out.push_back(*address);
  }
  ::freeifaddrs(all);
  return out;
}

// 0, or why not.
int Connect(int fd, const SocketAddress& to, absl::Duration timeout) {
  if (::connect(fd, to.get(), to.length()) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  pollfd entry{.fd = fd, .events = POLLOUT, .revents = 0};
  if (::poll(&entry, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) <= 0)
    return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

absl::StatusOr<UniqueFd> DialHere(bool own_addresses, uint16_t port, absl::Duration timeout) {
  std::vector<IpAddress> targets = {*IpAddress::Parse("127.0.0.1"), *IpAddress::Parse("::1")};
  if (own_addresses) {
    for (const IpAddress& address : OwnAddresses()) targets.push_back(address);
  }
  std::vector<std::string> refusals;
  for (const IpAddress& ip : targets) {
    const SocketAddress to(ip, port);
    UniqueFd fd(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int error = fd ? Connect(fd.get(), to, timeout) : errno;
    if (error != 0) {
      refusals.push_back(fmt::format("{}: {}", to.ToString(), std::strerror(error)));
      continue;
    }
    // Both ends of the session block.
    const int flags = ::fcntl(fd.get(), F_GETFL);
    ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK);
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
  }
  return absl::FailedPreconditionError(
      fmt::format("nothing answers at port {} of the pod ({})", port, fmt::join(refusals, "; ")));
}

}  // namespace

absl::StatusOr<UniqueFd> DialPod(const std::string& netns, uint16_t port, absl::Duration timeout) {
  if (netns.empty()) return DialHere(/*own_addresses=*/false, port, timeout);
  ASSIGN_OR_RETURN(const UniqueFd fd, dataplane::OpenNetns(netns));
  absl::StatusOr<UniqueFd> out = absl::InternalError("not dialled");
  RETURN_IF_ERROR(dataplane::InNetns(fd.get(), [&] {
    out = DialHere(/*own_addresses=*/true, port, timeout);
    return absl::OkStatus();
  }));
  return out;
}

}  // namespace mesh::agent
