// SPDX-License-Identifier: Apache-2.0
#include "tests/support/cluster/prober.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"

namespace mesh::testing {
namespace {

socklen_t SetAddress(const std::string& text, int port, sockaddr_storage* out) {
  std::memset(out, 0, sizeof(*out));
  auto* v4 = reinterpret_cast<sockaddr_in*>(out);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    return sizeof(*v4);
  }
  auto* v6 = reinterpret_cast<sockaddr_in6*>(out);
  EXPECT_EQ(inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr), 1) << "no address: " << text;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(static_cast<uint16_t>(port));
  return sizeof(*v6);
}

// Without the states that closed connections leave behind.
void Abort(int fd) {
  const linger now{1, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  ::close(fd);
}

}  // namespace

Prober::Prober() : own_netns_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {}

Prober::~Prober() {
  for (const auto& [name, fd] : places_) ::close(fd);
  for (const Server& server : servers_) ::close(server.fd);
  ::close(own_netns_);
}

void Prober::AddPlace(const std::string& name, const std::string& netns) {
  const int fd = ::open(netns.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0) << name << ": " << netns << ": " << std::strerror(errno);
  const auto [it, fresh] = places_.emplace(name, fd);
  if (fresh) return;
  ::close(it->second);
  it->second = fd;
}

int Prober::Socket(const std::string& place, int family, int protocol) {
  const auto it = places_.find(place);
  if (it == places_.end()) {
    ADD_FAILURE() << "no place " << place;
    return -1;
  }
  EXPECT_EQ(::setns(it->second, CLONE_NEWNET), 0) << place << ": " << std::strerror(errno);
  const int type = (protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM);
  const int fd = ::socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::setns(own_netns_, CLONE_NEWNET), 0) << std::strerror(errno);
  EXPECT_GE(fd, 0) << place << ": " << std::strerror(errno);
  return fd;
}

void Prober::Serve(const std::string& place, int protocol, int port) {
  for (const char* any : {"0.0.0.0", "::"}) {
    sockaddr_storage address;
    const socklen_t size = SetAddress(any, port, &address);
    const int fd = Socket(place, address.ss_family, protocol);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address.ss_family == AF_INET6) {
      ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }
    ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), size), 0)
        << place << " port " << port << ": " << std::strerror(errno);
    if (protocol == IPPROTO_TCP) {
      ASSERT_EQ(::listen(fd, 4096), 0) << std::strerror(errno);
    }
    servers_.push_back({fd, protocol});
  }
}

void Prober::AnswerAll() {
  for (const Server& server : servers_) {
    if (server.protocol == IPPROTO_TCP) {
      for (int fd; (fd = ::accept(server.fd, nullptr, nullptr)) >= 0;) Abort(fd);
      continue;
    }
    sockaddr_storage from;
    socklen_t size = sizeof(from);
    char text[16];
    for (ssize_t length; (length = ::recvfrom(server.fd, text, sizeof(text), 0,
                                              reinterpret_cast<sockaddr*>(&from), &size)) > 0;
         size = sizeof(from)) {
      ::sendto(server.fd, text, static_cast<size_t>(length), 0,
               reinterpret_cast<const sockaddr*>(&from), size);
    }
  }
}

void Prober::Run(std::vector<Probe>* probes, absl::Duration wait) {
  std::vector<pollfd> polled;
  for (Probe& probe : *probes) {
    probe.reached = false;
    sockaddr_storage address;
    const socklen_t size = SetAddress(probe.address, probe.port, &address);
    const int fd = Socket(probe.from, address.ss_family, probe.protocol);
    // What is refused at once is reached as little as what nobody answers.
    ::connect(fd, reinterpret_cast<const sockaddr*>(&address), size);
    if (probe.protocol != IPPROTO_TCP) ::send(fd, probe.datagram.data(), probe.datagram.size(), 0);
    polled.push_back({fd, static_cast<short>(probe.protocol == IPPROTO_TCP ? POLLOUT : POLLIN), 0});
  }
  const std::vector<pollfd> opened = polled;
  size_t open = polled.size();
  for (const Server& server : servers_) polled.push_back({server.fd, POLLIN, 0});
  const absl::Time deadline = absl::Now() + wait;
  for (absl::Time now; open > 0 && (now = absl::Now()) < deadline;) {
    const int left = static_cast<int>(absl::ToInt64Milliseconds(deadline - now)) + 1;
    ::poll(polled.data(), polled.size(), left);
    for (size_t i = 0; i < probes->size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) continue;
      int error = 0;
      socklen_t size = sizeof(error);
      ::getsockopt(polled[i].fd, SOL_SOCKET, SO_ERROR, &error, &size);
      (*probes)[i].reached = error == 0 && (polled[i].revents & (POLLIN | POLLOUT)) != 0;
      polled[i].fd = -1;
      --open;
    }
    AnswerAll();
  }
  for (const pollfd& one : opened) Abort(one.fd);
  AnswerAll();
}

}  // namespace mesh::testing
