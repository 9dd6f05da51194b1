// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::bench {
namespace {

double SecondsOf(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}
double NowSeconds() { return SecondsOf(CLOCK_MONOTONIC); }

// For children: the rest of the process lives in `netns`, on `cpu`, and ends with its parent.
void EnterOrDie(const std::string& netns, int cpu) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  UniqueFd ns(open(netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!ns || setns(ns.get(), CLONE_NEWNET) != 0) _exit(3);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);
  // Before what else the machine does; where that is not allowed the figures are noisier.
  setpriority(PRIO_PROCESS, 0, -20);
  signal(SIGPIPE, SIG_IGN);
}

void SetOption(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof value);
}

// An address of either family.
struct Target {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Target ToV4(in_addr ip, uint16_t port) {
  Target out;
  auto* to = reinterpret_cast<sockaddr_in*>(&out.storage);
  to->sin_family = AF_INET;
  to->sin_addr = ip;
  to->sin_port = htons(port);
  out.size = sizeof *to;
  return out;
}

Target ToV6(in6_addr ip, uint16_t port) {
  Target out;
  auto* to = reinterpret_cast<sockaddr_in6*>(&out.storage);
  to->sin6_family = AF_INET6;
  to->sin6_addr = ip;
  to->sin6_port = htons(port);
  out.size = sizeof *to;
  return out;
}

// A socket for each family: one of IPv6 that takes both would cost IPv4 a detour.
int Bound(int type, const Target& address) {
  const int fd = socket(address.get()->sa_family, type | SOCK_NONBLOCK, 0);
  SetOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (address.get()->sa_family == AF_INET6) SetOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (bind(fd, address.get(), address.size) != 0) _exit(4);
  if (type == SOCK_STREAM && listen(fd, 4096) != 0) _exit(4);
  return fd;
}

constexpr size_t kChunk = 65536;

// Never returns. Tells `ready` when it listens.
[[noreturn]] void Serve(uint16_t port, int ready) {
  const int epoll = epoll_create1(0);
  std::set<int> echoes, datagrams, sinks;
  const auto listen_at = [&](const Target& address, int type, std::set<int>& sockets) {
    const int fd = Bound(type, address);
    sockets.insert(fd);
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  };
  const auto next = static_cast<uint16_t>(port + 1);
  listen_at(ToV4({INADDR_ANY}, port), SOCK_STREAM, echoes);
  listen_at(ToV6(in6addr_any, port), SOCK_STREAM, echoes);
  listen_at(ToV4({INADDR_ANY}, port), SOCK_DGRAM, datagrams);
  listen_at(ToV6(in6addr_any, port), SOCK_DGRAM, datagrams);
  listen_at(ToV4({INADDR_ANY}, next), SOCK_STREAM, sinks);
  listen_at(ToV6(in6addr_any, next), SOCK_STREAM, sinks);
  std::map<int, uint64_t> streams;  // bytes, by socket
  static char buffer[kChunk];
  if (write(ready, "r", 1) != 1) _exit(4);
  for (;;) {
    epoll_event events[64];
    const int count = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      const bool sink = sinks.count(fd) > 0;
      if (sink || echoes.count(fd) > 0) {
        for (int c; (c = accept4(fd, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
          SetOption(c, IPPROTO_TCP, TCP_NODELAY, 1);
          epoll_event added{.events = EPOLLIN, .data = {.fd = c}};
          epoll_ctl(epoll, EPOLL_CTL_ADD, c, &added);
          if (sink) streams[c] = 0;
        }
      } else if (datagrams.count(fd) > 0) {
        sockaddr_storage from{};
        socklen_t size = sizeof from;
        const ssize_t length =
            recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (length >= 0) sendto(fd, buffer, 1, 0, reinterpret_cast<sockaddr*>(&from), size);
      } else if (const auto stream = streams.find(fd); stream != streams.end()) {
        const ssize_t length = read(fd, buffer, sizeof buffer);
        if (length > 0) {
          stream->second += static_cast<uint64_t>(length);
          continue;
        }
        if (length == 0) {
          const uint64_t bytes = stream->second;
          send(fd, &bytes, sizeof bytes, 0);
        }
        streams.erase(stream);
        close(fd);
      } else if (read(fd, buffer, sizeof buffer) <= 0 || write(fd, buffer, 1) != 1) {
        close(fd);
      }
    }
  }
}

int Connect(const Target& address, int type, bool reset_on_close) {
  const int fd = socket(address.get()->sa_family, type, 0);
  const timeval patience{.tv_sec = 2, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (type == SOCK_STREAM) SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (reset_on_close) {
    // No TIME_WAIT: a run makes more connections than there are ports.
    const linger abortive{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
  }
  if (connect(fd, address.get(), address.size) == 0) return fd;
  close(fd);
  return -1;
}

// What the receiver has read counts, until it has read the last.
LoadResult Stream(const Target& address, double seconds) {
  LoadResult result;
  static char chunk[kChunk];
  const int fd = Connect(address, SOCK_STREAM, false);
  if (fd < 0) {
    result.errors = 1;
    return result;
  }
  const double begin = NowSeconds(), end = begin + seconds;
  int64_t chunks = 0;
  while (NowSeconds() < end) {
    if (write(fd, chunk, sizeof chunk) <= 0) break;
    ++chunks;
  }
  shutdown(fd, SHUT_WR);
  uint64_t bytes = 0;
  if (recv(fd, &bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes) result.errors = 1;
  const double took = NowSeconds() - begin;
  close(fd);
  result.operations_per_second = static_cast<double>(chunks) / took;
  result.gigabits_per_second = static_cast<double>(bytes) * 8e-9 / took;
  return result;
}

LoadResult Load(const Target& address, LoadKind kind, double seconds) {
  if (kind == LoadKind::kStream) return Stream(address, seconds);
  const int type = kind == LoadKind::kDatagram ? SOCK_DGRAM : SOCK_STREAM;
  constexpr int kMaxErrors = 20;
  const bool per_request = kind == LoadKind::kConnectRequestResponse;
  std::vector<double> latencies;
  latencies.reserve(1 << 20);
  LoadResult result;
  int fd = -1;
  const double begin = NowSeconds(), end = begin + seconds;
  const double processor_begin = SecondsOf(CLOCK_PROCESS_CPUTIME_ID);
  while (NowSeconds() < end && result.errors < kMaxErrors) {
    double start = NowSeconds();
    if (fd < 0) {
      fd = Connect(address, type, per_request);
      if (fd < 0) {
        ++result.errors;
        continue;
      }
      if (!per_request) start = NowSeconds();
    }
    char answer;
    const bool ok = write(fd, "x", 1) == 1 && read(fd, &answer, 1) == 1;
    if (!ok) ++result.errors;
    if (per_request || !ok) {
      close(fd);
      fd = -1;
    }
    if (ok) latencies.push_back((NowSeconds() - start) * 1e6);
  }
  if (fd >= 0) close(fd);
  if (latencies.empty()) return result;
  result.processor_seconds = SecondsOf(CLOCK_PROCESS_CPUTIME_ID) - processor_begin;
  result.operations = static_cast<int64_t>(latencies.size());
  result.operations_per_second = static_cast<double>(latencies.size()) / (NowSeconds() - begin);
  std::sort(latencies.begin(), latencies.end());
  result.p50_us = latencies[latencies.size() / 2];
  result.p99_us = latencies[latencies.size() * 99 / 100];
  return result;
}

}  // namespace

absl::StatusOr<EchoServer> EchoServer::Start(const std::string& netns, uint16_t port, int cpu) {
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    EnterOrDie(netns, cpu);
    Serve(port, writer.get());
  }
  writer.reset();
  EchoServer server(pid);
  char ready;
  if (read(reader.get(), &ready, 1) != 1)
    return absl::UnavailableError(fmt::format("no server on port {} in {}", port, netns));
  return server;
}

EchoServer::EchoServer(EchoServer&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}

EchoServer::~EchoServer() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

double EchoServer::processor_seconds() const {
  clockid_t clock{};
  return clock_getcpuclockid(pid_, &clock) == 0 ? SecondsOf(clock) : 0;
}

absl::StatusOr<LoadResult> RunLoad(const std::string& netns, const std::string& address,
                                   uint16_t port, LoadKind kind, double seconds, int cpu) {
  in_addr v4{};
  in6_addr v6{};
  Target to;
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) {
    to = ToV4(v4, port);
  } else if (inet_pton(AF_INET6, address.c_str(), &v6) == 1) {
    to = ToV6(v6, port);
  } else {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is not an IP address", address));
  }
  int pipe_fds[2];
  if (pipe2(pipe_fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  const pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    EnterOrDie(netns, cpu);
    const LoadResult result = Load(to, kind, seconds);
    _exit(write(writer.get(), &result, sizeof result) == sizeof result ? 0 : 5);
  }
  writer.reset();
  LoadResult result;
  const bool complete = read(reader.get(), &result, sizeof result) == sizeof result;
  int status = 0;
  waitpid(pid, &status, 0);
  if (!complete || result.operations_per_second == 0)
    return absl::UnavailableError(fmt::format("no answer from {}:{} ({} errors, exit status {})",
                                              address, port, result.errors, status));
  return result;
}

}  // namespace mesh::bench
