// SPDX-License-Identifier: Apache-2.0
#include "tests/support/network/network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/socket_address.h"
#include "common/status.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"

namespace mesh::testing {
namespace {

absl::StatusOr<UniqueFd> OpenSocket(const Netns& netns, Socket::Family family, int type,
                                    int protocol = 0) {
  UniqueFd fd;
  RETURN_IF_ERROR(dataplane::InNetns(netns.fd(), [&] {
    fd.reset(socket(family == Socket::Family::kV4 ? AF_INET : AF_INET6,
                    type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    return fd ? absl::OkStatus() : ErrnoStatus(errno, "open a socket");
  }));
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  return fd;
}

// As the socket takes it: one of IPv6 gets addresses of IPv4 mapped.
SocketAddress AddressFor(bool ipv6, const IpAddress& ip, uint16_t port) {
  if (!ip.is_v4() || !ipv6) return SocketAddress(ip, port);
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = htons(port);
  std::memcpy(&mapped.sin6_addr, ip.bytes().data(), ip.bytes().size());
  SocketAddress out;
  std::memcpy(out.get(), &mapped, sizeof(mapped));
  *out.room() = sizeof(mapped);
  return out;
}

}  // namespace

absl::StatusOr<std::string> PrivateBpffs() {
  static std::string* root = nullptr;
  if (root != nullptr) return *root;
  if (unshare(CLONE_NEWNS) != 0) return ErrnoStatus(errno, "make a mount namespace");
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return ErrnoStatus(errno, "make mounts private");
  }
  // Over an existing folder that the test does not need: nothing to remove afterwards.
  const char* folder = "/mnt";
  if (mount("bpf", folder, "bpf", 0, nullptr) != 0) return ErrnoStatus(errno, "mount a bpffs");
  root = new std::string(folder);
  return *root;
}

absl::StatusOr<Netns> Netns::Make() {
  const UniqueFd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home) return ErrnoStatus(errno, "open the thread's network namespace");
  if (unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "make a network namespace");
  Netns out;
  out.fd_.reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  const UniqueFd control(socket(AF_INET, SOCK_DGRAM, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const bool up = ioctl(control.get(), SIOCSIFFLAGS, &request) == 0;
  if (setns(home.get(), CLONE_NEWNET) != 0) std::abort();
  if (!out.fd_ || !up) return ErrnoStatus(errno, "set up a network namespace");
  return out;
}

std::string Netns::path() const { return fmt::format("/proc/self/fd/{}", fd_.get()); }

absl::StatusOr<Socket> Socket::Tcp(const Netns& netns, Family family) {
  Socket out;
  ASSIGN_OR_RETURN(out.fd_, OpenSocket(netns, family, SOCK_STREAM));
  return out;
}

absl::StatusOr<Socket> Socket::Udp(const Netns& netns, Family family) {
  Socket out;
  ASSIGN_OR_RETURN(out.fd_, OpenSocket(netns, family, SOCK_DGRAM));
  return out;
}

absl::StatusOr<Socket> Socket::Raw(const Netns& netns, int protocol, Family family) {
  Socket out;
  ASSIGN_OR_RETURN(out.fd_, OpenSocket(netns, family, SOCK_RAW, protocol));
  return out;
}

absl::Status Socket::Wait(short events, absl::Duration limit) const {
  pollfd waited{fd_.get(), events, 0};
  const int count = poll(&waited, 1, static_cast<int>(absl::ToInt64Milliseconds(limit)));
  if (count < 0) return ErrnoStatus(errno, "poll");
  if (count == 0) return absl::DeadlineExceededError("nothing happened at the socket");
  return absl::OkStatus();
}

absl::Status Socket::Bind(const IpAddress& ip, uint16_t port) {
  const SocketAddress address = AddressFor(is_ipv6(), ip, port);
  if (bind(fd_.get(), address.get(), address.length()) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, fmt::format("bind {}", address.ToString()));
}

absl::Status Socket::Listen() {
  return listen(fd_.get(), 64) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "listen");
}

absl::Status Socket::Connect(const IpAddress& ip, uint16_t port, absl::Duration limit) {
  const SocketAddress address = AddressFor(is_ipv6(), ip, port);
  if (connect(fd_.get(), address.get(), address.length()) == 0) {
    return absl::OkStatus();
  }
  if (errno != EINPROGRESS)
    return ErrnoStatus(errno, fmt::format("connect {}", address.ToString()));
  RETURN_IF_ERROR(Wait(POLLOUT, limit));
  int error = 0;
  socklen_t size = sizeof(error);
  getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? absl::OkStatus()
                    : ErrnoStatus(error, fmt::format("connect {}", address.ToString()));
}

absl::StatusOr<Socket> Socket::Accept(absl::Duration limit) {
  RETURN_IF_ERROR(Wait(POLLIN, limit));
  Socket out;
  out.fd_.reset(accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!out.fd_) return ErrnoStatus(errno, "accept");
  return out;
}

absl::Status Socket::Send(const std::string& data) {
  size_t sent = 0;
  while (sent < data.size()) {
    RETURN_IF_ERROR(Wait(POLLOUT, absl::Seconds(5)));
    const ssize_t count = send(fd_.get(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    if (count < 0) return ErrnoStatus(errno, "send");
    sent += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Socket::Receive(absl::Duration limit, std::string* from) {
  RETURN_IF_ERROR(Wait(POLLIN, limit));
  std::string out(65536, '\0');
  SocketAddress sender;
  const ssize_t count = recvfrom(fd_.get(), out.data(), out.size(), 0, sender.get(), sender.room());
  if (count < 0) return ErrnoStatus(errno, "receive");
  if (from != nullptr) *from = sender.ToString();
  out.resize(static_cast<size_t>(count));
  return out;
}

absl::Status Socket::SendTo(const IpAddress& ip, uint16_t port, const std::string& data) {
  const SocketAddress to = AddressFor(is_ipv6(), ip, port);
  if (sendto(fd_.get(), data.data(), data.size(), 0, to.get(), to.length()) >= 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, fmt::format("send to {}", to.ToString()));
}

absl::StatusOr<std::string> Socket::Answer(const std::string& answer, absl::Duration limit) {
  RETURN_IF_ERROR(Wait(POLLIN, limit));
  std::string out(65536, '\0');
  SocketAddress from;
  const ssize_t count = recvfrom(fd_.get(), out.data(), out.size(), 0, from.get(), from.room());
  if (count < 0) return ErrnoStatus(errno, "receive");
  out.resize(static_cast<size_t>(count));
  if (sendto(fd_.get(), answer.data(), answer.size(), 0, from.get(), from.length()) < 0) {
    return ErrnoStatus(errno, "answer");
  }
  return out;
}

absl::Status Socket::SetTtl(int hops) {
  return SetOption(IP_TTL, IPV6_UNICAST_HOPS, hops, fmt::format("set a time to live of {}", hops));
}

bool Socket::is_ipv6() const {
  int domain = AF_INET;
  socklen_t size = sizeof(domain);
  getsockopt(fd_.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size);
  return domain == AF_INET6;
}

absl::Status Socket::SetOption(int of_ipv4, int of_ipv6, int value, const std::string& what) {
  const bool ipv6 = is_ipv6();
  if (setsockopt(fd_.get(), ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? of_ipv6 : of_ipv4, &value,
                 sizeof(value)) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, what);
}

absl::Status Socket::ForbidFragments() {
  static_assert(IP_PMTUDISC_DO == IPV6_PMTUDISC_DO);
  return SetOption(IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_DO, "forbid fragments");
}

absl::StatusOr<int> Socket::PathMtu() const {
  int mtu = 0;
  socklen_t size = sizeof(mtu);
  const bool ipv6 = is_ipv6();
  if (getsockopt(fd_.get(), ipv6 ? IPPROTO_IPV6 : IPPROTO_IP, ipv6 ? IPV6_MTU : IP_MTU, &mtu,
                 &size) == 0) {
    return mtu;
  }
  return ErrnoStatus(errno, "ask for the path's MTU");
}

absl::Status Socket::WantErrors() {
  return SetOption(IP_RECVERR, IPV6_RECVERR, 1, "ask for ICMP errors");
}

absl::StatusOr<Socket::IcmpError> Socket::ReceiveError(absl::Duration limit) {
  RETURN_IF_ERROR(Wait(0, limit));  // errors are waited for always
  char data[2048];
  char control[512];
  iovec part = {data, sizeof(data)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(fd_.get(), &message, MSG_ERRQUEUE) < 0) return ErrnoStatus(errno, "receive an error");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    const bool ipv4 = header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR;
    const bool ipv6 = header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR;
    if (!ipv4 && !ipv6) continue;
    sock_extended_err error;
    std::memcpy(&error, CMSG_DATA(header), sizeof(error));
    if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (ipv6) {
      sockaddr_in6 from;
      std::memcpy(&from, CMSG_DATA(header) + sizeof(error), sizeof(from));
      inet_ntop(AF_INET6, &from.sin6_addr, text, sizeof(text));
    } else {
      sockaddr_in from;
      std::memcpy(&from, CMSG_DATA(header) + sizeof(error), sizeof(from));
      inet_ntop(AF_INET, &from.sin_addr, text, sizeof(text));
    }
    return IcmpError{text, error.ee_type, error.ee_code, error.ee_info};
  }
  return absl::InternalError("an error that is not ICMP's");
}

std::string Socket::local() const {
  SocketAddress address;
  getsockname(fd_.get(), address.get(), address.room());
  return address.ToString();
}

std::string Socket::peer() const {
  SocketAddress address;
  getpeername(fd_.get(), address.get(), address.room());
  return address.ToString();
}

uint16_t Socket::local_port() const {
  SocketAddress address;
  getsockname(fd_.get(), address.get(), address.room());
  return address.port();
}

void Socket::ResetOnClose() {
  const linger now{1, 0};
  setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

}  // namespace mesh::testing
