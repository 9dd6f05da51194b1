// SPDX-License-Identifier: Apache-2.0
// Requests and answers for cluster tests; static, so that it runs in a container that holds nothing
// else.
//
//   mesh-load serve PORT NAME           answers each TCP line and each UDP datagram with NAME
//   mesh-load MODE IP:PORT              requests until standard input ends, then one line of JSON
//   mesh-load MODE IP:PORT COUNT        so many requests
//   mesh-load idle [WORD]               waits; WORD tells one from another
//
// An IPv6 address stands in brackets; `serve` answers in both families.
// NAME "-" is the host name, "@" the client's address, as the server sees it. MODE: `tcp` opens a
// connection for each request, `hold` keeps one; `udp` and `hold-udp` likewise with sockets. A
// request that has no answer after a second has failed.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

constexpr int kTimeoutMs = 1000;
constexpr int kPauseUs = 1000;  // between requests: a thousand a second say enough

int64_t NowMs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

int Fail(const char* what) {
  std::fprintf(stderr, "mesh-load: %s: %s\n", what, std::strerror(errno));
  return 1;
}

// --- server -------------------------------------------------------------------------------------

// IPv4 addresses come mapped to the socket of both families.
std::string AddressOf(const sockaddr_storage& peer) {
  char text[INET6_ADDRSTRLEN] = {};
  if (peer.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(peer);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return text;
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(peer);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof text);
  } else {
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  }
  return text;
}

// Bound to `port` of all addresses of both families, where the kernel has both.
int Bound(int type, int port) {
  const int one = 1, zero = 0;
  int fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0);
  sockaddr_storage any{};
  socklen_t size = 0;
  if (fd >= 0) {
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
    auto& v6 = reinterpret_cast<sockaddr_in6&>(any);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(static_cast<uint16_t>(port));
    size = sizeof v6;
  } else {
    fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    auto& v4 = reinterpret_cast<sockaddr_in&>(any);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(port));
    size = sizeof v4;
  }
  if (type == SOCK_STREAM) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  return bind(fd, reinterpret_cast<const sockaddr*>(&any), size) == 0 ? fd : -1;
}

int Serve(int port, std::string name) {
  if (name == "-") {
    char host[256] = {};
    gethostname(host, sizeof host - 1);
    name = host;
  }
  const bool echo_address = name == "@";
  const std::string named = name + "\n";
  const auto answer_to = [&](const sockaddr_storage& peer) {
    return echo_address ? AddressOf(peer) + "\n" : named;
  };
  const int tcp = Bound(SOCK_STREAM, port);
  if (tcp < 0 || listen(tcp, 1024) != 0) return Fail("listen on TCP");
  const int udp = Bound(SOCK_DGRAM, port);
  if (udp < 0) return Fail("bind UDP");
  std::vector<pollfd> fds = {{tcp, POLLIN, 0}, {udp, POLLIN, 0}};
  while (true) {
    if (poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return Fail("poll");
    char buffer[2048];
    if (fds[1].revents != 0) {
      sockaddr_storage peer{};
      socklen_t size = sizeof peer;
      while (recvfrom(udp, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&peer), &size) >=
             0) {
        const std::string answer = answer_to(peer);
        sendto(udp, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
      }
    }
    for (size_t i = 2; i < fds.size();) {
      if (fds[i].revents != 0) {
        const ssize_t got = read(fds[i].fd, buffer, sizeof buffer);
        sockaddr_storage peer{};
        socklen_t size = sizeof peer;
        getpeername(fds[i].fd, reinterpret_cast<sockaddr*>(&peer), &size);
        const std::string answer = answer_to(peer);
        if (got <= 0 || write(fds[i].fd, answer.data(), answer.size()) < 0) {
          close(fds[i].fd);
          fds.erase(fds.begin() + static_cast<long>(i));
          continue;
        }
      }
      ++i;
    }
    if (fds[0].revents != 0) {
      for (int fd = 0; (fd = accept4(tcp, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
        fds.push_back({fd, POLLIN, 0});
      }
    }
  }
}

// --- client -------------------------------------------------------------------------------------

struct Result {
  long requests = 0, failures = 0;
  int64_t longest_gap_ms = 0;  // between two answers
  std::map<std::string, long> answers, errors;
};

bool Wait(int fd, short events) {
  pollfd poll_fd = {fd, events, 0};
  return poll(&poll_fd, 1, kTimeoutMs) == 1;
}

struct Target {
  sockaddr_storage address{};
  socklen_t size = 0;
};

// "10.0.0.1:80" or "[fd00::1]:80"; false for anything else.
bool ParseTarget(const std::string& text, Target* out) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  const auto port = htons(static_cast<uint16_t>(std::atoi(text.c_str() + colon + 1)));
  if (text[0] == '[' && text[colon - 1] == ']') {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out->address);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = port;
    out->size = sizeof v6;
    return inet_pton(AF_INET6, text.substr(1, colon - 2).c_str(), &v6.sin6_addr) == 1;
  }
  auto& v4 = reinterpret_cast<sockaddr_in&>(out->address);
  v4.sin_family = AF_INET;
  v4.sin_port = port;
  out->size = sizeof v4;
  return inet_pton(AF_INET, text.substr(0, colon).c_str(), &v4.sin_addr) == 1;
}

// A connected socket; -1 with `error` set.
int Connect(bool udp, const Target& target, std::string* error) {
  const int fd =
      socket(target.address.ss_family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
  const int one = 1;
  if (!udp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&target.address), target.size) != 0) {
    int problem = errno;
    socklen_t size = sizeof problem;
    if (problem == EINPROGRESS) {
      problem = ETIMEDOUT;
      if (Wait(fd, POLLOUT)) getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    }
    if (problem != 0) {
      *error = std::string("connect: ") + std::strerror(problem);
      close(fd);
      return -1;
    }
  }
  return fd;
}

// One request on a connected socket; empty with `error` set.
std::string Ask(int fd, std::string* error) {
  if (write(fd, "?\n", 2) != 2) {
    *error = std::string("send: ") + std::strerror(errno);
    return "";
  }
  if (!Wait(fd, POLLIN)) {
    *error = "no answer";
    return "";
  }
  char buffer[512];
  const ssize_t got = read(fd, buffer, sizeof buffer);
  if (got <= 0) {
    *error = got == 0 ? "closed by the server" : std::string("receive: ") + std::strerror(errno);
    return "";
  }
  const std::string answer(buffer, static_cast<size_t>(got));
  return answer.substr(0, answer.find('\n'));
}

void Print(const Result& result) {
  std::printf("{\"requests\":%ld,\"failures\":%ld,\"longestGapMs\":%ld,\"answers\":{",
              result.requests, result.failures, static_cast<long>(result.longest_gap_ms));
  const char* separator = "";
  for (const auto& [name, count] : result.answers) {
    std::printf("%s\"%s\":%ld", separator, name.c_str(), count);
    separator = ",";
  }
  std::printf("},\"errors\":{");
  separator = "";
  for (const auto& [error, count] : result.errors) {
    std::printf("%s\"%s\":%ld", separator, error.c_str(), count);
    separator = ",";
  }
  std::printf("}}\n");
  std::fflush(stdout);
}

// An empty line: the first answer has come.
void Tell() {
  std::printf("\n");
  std::fflush(stdout);
}

int Load(const std::string& mode, const std::string& target_text, long count) {
  Target target;
  if (!ParseTarget(target_text, &target)) {
    std::fprintf(stderr, "mesh-load: \"%s\" is neither IP:PORT nor [IPV6]:PORT\n",
                 target_text.c_str());
    return 2;
  }
  const bool udp = mode == "udp" || mode == "hold-udp";
  const bool hold = mode == "hold" || mode == "hold-udp";
  Result result;
  int held = -1;
  int64_t last_answer = NowMs();
  while (count == 0 || result.requests < count) {
    if (count == 0) {
      pollfd input = {0, POLLIN, 0};
      char ignored[64];
      if (poll(&input, 1, 0) == 1 && read(0, ignored, sizeof ignored) <= 0) break;
    }
    ++result.requests;
    std::string error, answer;
    const int fd = held >= 0 ? held : Connect(udp, target, &error);
    if (fd >= 0) {
      answer = Ask(fd, &error);
      if (hold && !answer.empty()) {
        held = fd;
      } else {
        close(fd);
        held = -1;
      }
    }
    if (answer.empty()) {
      ++result.failures;
      ++result.errors[error];
    } else {
      if (count == 0 && result.answers.empty()) Tell();
      ++result.answers[answer];
      const int64_t now = NowMs();
      if (now - last_answer > result.longest_gap_ms) result.longest_gap_ms = now - last_answer;
      last_answer = now;
    }
    poll(nullptr, 0, kPauseUs / 1000);
  }
  Print(result);
  return result.failures == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "serve" && argc == 4) return Serve(std::atoi(argv[2]), argv[3]);
  if (mode == "idle" && argc <= 3) {
    signal(SIGTERM, [](int) { _exit(0); });
    while (true) pause();
  }
  const std::set<std::string> modes = {"tcp", "udp", "hold", "hold-udp"};
  if (modes.count(mode) > 0 && (argc == 3 || argc == 4)) {
    return Load(mode, argv[2], argc == 4 ? std::atol(argv[3]) : 0);
  }
  std::fprintf(
      stderr,
      "usage: mesh-load serve PORT NAME | {tcp|udp|hold|hold-udp} IP:PORT [COUNT] | idle\n");
  return 2;
}
