// SPDX-License-Identifier: Apache-2.0
#include "tests/bpf/stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/time/clock.h"
#include "common/check.h"
#include "common/socket_address.h"
#include "fmt/format.h"

namespace mesh::testing {
namespace {

// What a machine that stands still for a second lets pile up must not be lost in a socket.
constexpr int kBufferBytes = 64 << 20;
constexpr int kPatienceMs = 10'000;
// Datagrams without an answer yet, a fifth of what the sockets hold.
constexpr uint64_t kMaxOutstanding = 20'000;

// A socket of the namespace, made by a thread that may stay there.
UniqueFd SocketIn(const Netns& netns, int family, int type) {
  UniqueFd fd;
  std::thread maker([&] {
    MESH_CHECK(setns(netns.fd(), CLONE_NEWNET) == 0) << std::strerror(errno);
    fd = UniqueFd(socket(family, type | SOCK_CLOEXEC, 0));
  });
  maker.join();
  MESH_CHECK(fd.get() >= 0) << std::strerror(errno);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUFFORCE, &kBufferBytes, sizeof(kBufferBytes));
  return fd;
}

int KernelFamily(const IpAddress& ip) { return ip.is_v4() ? AF_INET : AF_INET6; }

bool Readable(int fd, int timeout_ms) {
  pollfd entry{fd, POLLIN, 0};
  return poll(&entry, 1, timeout_ms) > 0;
}

void BindAny(int fd, const IpAddress& any_ip, uint16_t port) {
  const int one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (!any_ip.is_v4()) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
  const SocketAddress any(any_ip, port);
  MESH_CHECK(bind(fd, any.get(), any.length()) == 0) << std::strerror(errno);
}

}  // namespace

Echo::Echo(const Netns& netns, uint16_t port, const IpAddress& any)
    : udp_(SocketIn(netns, KernelFamily(any), SOCK_DGRAM)),
      tcp_(SocketIn(netns, KernelFamily(any), SOCK_STREAM)) {
  BindAny(udp_.get(), any, port);
  BindAny(tcp_.get(), any, port);
  MESH_CHECK(listen(tcp_.get(), 4096) == 0);
  datagrams_ = std::thread([this] { Datagrams(); });
  connections_ = std::thread([this] { Connections(); });
}

Echo::~Echo() {
  stop_ = true;
  datagrams_.join();
  connections_.join();
}

void Echo::Datagrams() {
  char buffer[2048];
  while (!stop_) {
    if (!Readable(udp_.get(), 20)) continue;
    SocketAddress from;
    while (true) {
      const ssize_t bytes =
          recvfrom(udp_.get(), buffer, sizeof(buffer), MSG_DONTWAIT, from.get(), from.room());
      if (bytes < 0) break;
      sendto(udp_.get(), buffer, static_cast<size_t>(bytes), 0, from.get(), from.length());
    }
  }
}

void Echo::Connections() {
  std::vector<pollfd> sockets = {{tcp_.get(), POLLIN, 0}};
  std::vector<char> buffer(64 << 10);
  while (!stop_) {
    if (poll(sockets.data(), sockets.size(), 20) <= 0) continue;
    for (size_t i = 1; i < sockets.size();) {
      if (sockets[i].revents == 0) {
        ++i;
        continue;
      }
      const ssize_t bytes = recv(sockets[i].fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (bytes > 0) {
        send(sockets[i].fd, buffer.data(), static_cast<size_t>(bytes), MSG_NOSIGNAL);
        ++i;
      } else if (bytes < 0 && errno == EAGAIN) {
        ++i;
      } else {
        close(sockets[i].fd);
        sockets.erase(sockets.begin() + static_cast<ptrdiff_t>(i));
      }
    }
    if (sockets[0].revents == 0) continue;
    const int fd = accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) sockets.push_back({fd, POLLIN, 0});
  }
  for (size_t i = 1; i < sockets.size(); ++i) close(sockets[i].fd);
}

DatagramStream::DatagramStream(const Netns& netns, const IpAddress& ip, uint16_t port,
                               int per_second)
    : fd_(SocketIn(netns, KernelFamily(ip), SOCK_DGRAM)) {
  const SocketAddress to(ip, port);
  MESH_CHECK(connect(fd_.get(), to.get(), to.length()) == 0);
  receiver_ = std::thread([this] { Receive(); });
  sender_ = std::thread([this, per_second] { Send(per_second); });
}

DatagramStream::~DatagramStream() {
  if (sender_.joinable()) Stop();
}

void DatagramStream::Send(int per_second) {
  timespec next{};
  clock_gettime(CLOCK_MONOTONIC, &next);
  const int64_t burst = std::max(1, per_second / 1000);
  while (!stop_) {
    for (int64_t i = 0; i < burst && sent_ < received_ + kMaxOutstanding; ++i) {
      const uint64_t number = sent_;
      if (send(fd_.get(), &number, sizeof(number), MSG_DONTWAIT) == sizeof(number)) ++sent_;
    }
    next.tv_nsec += 1'000'000'000 * burst / per_second;
    while (next.tv_nsec >= 1'000'000'000) {
      next.tv_nsec -= 1'000'000'000;
      ++next.tv_sec;
    }
    // The rate of a stream is time itself.
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
  }
}

void DatagramStream::Receive() {
  absl::Time heard = absl::Now();
  while (!last_ || (received_ < sent_ && absl::Now() < heard + absl::Milliseconds(kPatienceMs))) {
    if (!Readable(fd_.get(), 20)) continue;
    uint64_t number = 0;
    while (recv(fd_.get(), &number, sizeof(number), MSG_DONTWAIT) == sizeof(number)) {
      if (answered_.size() <= number) answered_.resize(number + 1);
      if (!answered_[number]) ++received_;
      answered_[number] = true;
      heard = absl::Now();
    }
  }
}

DatagramStream::Result DatagramStream::Stop() {
  stop_ = true;
  sender_.join();
  last_ = true;
  receiver_.join();
  Result out;
  out.sent = sent_;
  answered_.resize(std::max<size_t>(answered_.size(), out.sent));
  for (uint64_t number = 0; number < out.sent; ++number) {
    if (answered_[number]) continue;
    ++out.lost;
    if (out.first_lost.size() < 20) out.first_lost.push_back(number);
  }
  return out;
}

Connections::Connections(const Netns& netns, const IpAddress& ip, uint16_t port)
    : netns_(netns),
      ip_(ip),
      port_(port),
      staying_(SocketIn(netns, KernelFamily(ip), SOCK_STREAM)) {
  const SocketAddress to(ip_, port_);
  MESH_CHECK(connect(staying_.get(), to.get(), to.length()) == 0) << std::strerror(errno);
  stay_ = std::thread([this] { Stay(staying_.get()); });
  come_ = std::thread([this] { Come(); });
}

Connections::~Connections() {
  if (stay_.joinable()) Stop();
}

namespace {

// Sends `text` and reads it back. Empty: it came.
std::string Exchange(int fd, const std::string& text) {
  if (send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return fmt::format("send: {}", std::strerror(errno));
  }
  std::string got;
  char buffer[2048];
  while (got.size() < text.size()) {
    if (!Readable(fd, kPatienceMs)) return "no answer";
    const ssize_t bytes = recv(fd, buffer, sizeof(buffer), 0);
    if (bytes < 0) return fmt::format("receive: {}", std::strerror(errno));
    if (bytes == 0) return "closed by the other side";
    got.append(buffer, static_cast<size_t>(bytes));
  }
  return got == text ? "" : "another answer";
}

// The rate of traffic is time itself.
void Rest(int milliseconds) {
  const timespec pause{0, milliseconds * 1'000'000L};
  nanosleep(&pause, nullptr);
}

uint64_t SentAgain(int fd) {
  tcp_info info{};
  socklen_t length = sizeof(info);
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? info.tcpi_total_retrans : 0;
}

}  // namespace

void Connections::Stay(int fd) {
  while (!stop_) {
    std::string text = fmt::format("exchange {}", exchanges_.load());
    // More than one segment, so that segmentation offload takes part.
    if (exchanges_ % 10 == 0) text.resize(40'000, 'x');
    const std::string problem = Exchange(fd, text);
    if (!problem.empty()) {
      stay_problems_.push_back(fmt::format("exchange {}: {}", exchanges_.load(), problem));
      return;
    }
    ++exchanges_;
    Rest(2);
  }
  sent_again_ += SentAgain(fd);
}

void Connections::Come() {
  MESH_CHECK(setns(netns_.fd(), CLONE_NEWNET) == 0);
  const SocketAddress to(ip_, port_);
  while (!stop_) {
    const UniqueFd fd(socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
    // Ends with RST: thousands of ports in TIME_WAIT would run out.
    const linger reset{1, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    const timeval patience{kPatienceMs / 1000, 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    std::string problem;
    if (connect(fd.get(), to.get(), to.length()) != 0) {
      problem = fmt::format("connect: {}", std::strerror(errno));
    } else {
      problem = Exchange(fd.get(), "hello");
      sent_again_ += SentAgain(fd.get());
    }
    if (!problem.empty() && come_problems_.size() < 10) {
      come_problems_.push_back(fmt::format("connection {}: {}", connections_.load(), problem));
    }
    ++connections_;
    // Some hundred a second, of all together.
    Rest(10);
  }
}

Connections::Result Connections::Stop() {
  stop_ = true;
  stay_.join();
  come_.join();
  Result out;
  out.exchanges = exchanges_;
  out.connections = connections_;
  out.sent_again = sent_again_;
  out.problems = stay_problems_;
  out.problems.insert(out.problems.end(), come_problems_.begin(), come_problems_.end());
  return out;
}

void Crowd::Grow(size_t flows) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  MESH_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0) << std::strerror(errno);
  const SocketAddress to(ip_, port_);
  std::thread grower([&] {
    MESH_CHECK(setns(netns_.fd(), CLONE_NEWNET) == 0) << std::strerror(errno);
    for (size_t i = 0; i < flows && result_.problems.empty(); ++i) {
      flows_.emplace_back(socket(to.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const int fd = flows_.back().get();
      MESH_CHECK(fd >= 0 && connect(fd, to.get(), to.length()) == 0) << std::strerror(errno);
      Exchange(flows_.size() - 1);
    }
  });
  grower.join();
  result_.flows = flows_.size();
}

void Crowd::Ask() {
  for (size_t flow = 0; flow < flows_.size() && result_.problems.empty(); ++flow) Exchange(flow);
}

void Crowd::Exchange(size_t flow) {
  const int fd = flows_[flow].get();
  const std::string text = fmt::format("flow {} exchange {}", flow, result_.exchanges++);
  std::string problem;
  if (send(fd, text.data(), text.size(), 0) < 0) {
    problem = fmt::format("send: {}", std::strerror(errno));
  } else if (!Readable(fd, kPatienceMs)) {
    problem = "no answer";
  } else {
    char buffer[256];
    const ssize_t bytes = recv(fd, buffer, sizeof(buffer), 0);
    if (bytes < 0) problem = fmt::format("receive: {}", std::strerror(errno));
    if (bytes >= 0 && text != std::string_view(buffer, static_cast<size_t>(bytes))) {
      problem = fmt::format("heard {}", std::string_view(buffer, static_cast<size_t>(bytes)));
    }
  }
  if (!problem.empty()) result_.problems.push_back(fmt::format("{}: {}", text, problem));
}

}  // namespace mesh::testing
