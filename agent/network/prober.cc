// SPDX-License-Identifier: Apache-2.0
#include "agent/network/prober.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "agent/network/dns_message.h"
#include "common/ip_address.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

using Outcome = v1::ProbeResponse;

constexpr size_t kDatagramMax = 65'536;
constexpr uint16_t kDnsPort = 53;

int Milliseconds(absl::Duration left) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 0, 1'000'000));
}

// Readable (or `events`) before the deadline.
bool Await(int fd, short events, absl::Time deadline) {
  while (true) {
    pollfd entry{.fd = fd, .events = events, .revents = 0};
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    const int n = poll(&entry, 1, Milliseconds(left));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
  }
}

v1::ProbeResponse::Outcome OutcomeOf(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ECONNRESET:
      return Outcome::REFUSED;
    case EMSGSIZE:
      return Outcome::TOO_BIG;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EACCES:
    case EPERM:
    case EADDRNOTAVAIL:
      return Outcome::UNREACHABLE;
    default:
      return Outcome::TIMED_OUT;
  }
}

// The first line.
std::string NameIn(const std::string& answer) { return answer.substr(0, answer.find('\n')); }

void DialTcp(int fd, const SocketAddress& to, absl::Time deadline, v1::ProbeResponse* out) {
  if (connect(fd, to.get(), to.length()) != 0 && errno != EINPROGRESS)
    return out->set_outcome(OutcomeOf(errno));
  if (!Await(fd, POLLOUT, deadline)) return out->set_outcome(Outcome::TIMED_OUT);
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) return out->set_outcome(OutcomeOf(error));
  std::string answer;
  char buffer[512];
  while (answer.size() < sizeof buffer) {
    if (!Await(fd, POLLIN, deadline)) return out->set_outcome(Outcome::TIMED_OUT);
    const ssize_t n = read(fd, buffer, sizeof buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n < 0) return out->set_outcome(OutcomeOf(errno));
    if (n == 0) break;
    answer.append(buffer, static_cast<size_t>(n));
  }
  out->set_outcome(Outcome::ANSWERED);
  out->set_answered_by(NameIn(answer));
}

// Bytes of headers before the payload of a datagram.
size_t HeaderBytes(bool v4) { return (v4 ? 20 : 40) + 8; }

void ForbidFragments(int fd, bool v4) {
  const int how = v4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
  setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, &how,
             sizeof how);
}

// One datagram and its answer, three tries.
std::optional<std::string> Exchange(int fd, std::string_view payload, absl::Time deadline,
                                    v1::ProbeResponse* out) {
  const absl::Duration pause = (deadline - absl::Now()) / 3;
  std::string answer(kDatagramMax, '\0');
  for (int attempt = 1; attempt <= 3; ++attempt) {
    if (send(fd, payload.data(), payload.size(), 0) < 0) {
      out->set_outcome(OutcomeOf(errno));
      return std::nullopt;
    }
    const absl::Time until = attempt == 3 ? deadline : absl::Now() + pause;
    if (!Await(fd, POLLIN, until)) continue;
    const ssize_t n = recv(fd, answer.data(), answer.size(), 0);
    if (n < 0) {
      out->set_outcome(OutcomeOf(errno));
      return std::nullopt;
    }
    answer.resize(static_cast<size_t>(n));
    out->set_outcome(Outcome::ANSWERED);
    return answer;
  }
  out->set_outcome(Outcome::TIMED_OUT);
  return std::nullopt;
}

void DialUdp(int fd, bool v4, bool full_size, const SocketAddress& to, absl::Time deadline,
             v1::ProbeResponse* out) {
  if (connect(fd, to.get(), to.length()) != 0) return out->set_outcome(OutcomeOf(errno));
  std::string payload = "probe";
  if (full_size) {
    ForbidFragments(fd, v4);
    int mtu = 0;
    socklen_t size = sizeof mtu;
    if (getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_MTU : IPV6_MTU, &mtu, &size) != 0)
      return out->set_outcome(OutcomeOf(errno));
    payload.resize(static_cast<size_t>(mtu) - HeaderBytes(v4));
    out->set_packet_bytes(static_cast<uint32_t>(mtu));
  }
  const auto answer = Exchange(fd, payload, deadline, out);
  if (!answer) return;
  if (full_size && answer->size() != payload.size()) return out->set_outcome(Outcome::TOO_BIG);
  out->set_answered_by(NameIn(*answer));
}

absl::StatusOr<UniqueFd> OpenSocket(int netns, int family, int type) {
  UniqueFd fd;
  RETURN_IF_ERROR(dataplane::InNetns(netns, [&] {
    fd = UniqueFd(socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return fd ? absl::OkStatus() : ErrnoStatus(errno, "open a socket in the pod's network");
  }));
  return fd;
}

absl::StatusOr<absl::Duration> TimeoutOf(uint32_t timeout_ms) {
  if (timeout_ms == 0 || timeout_ms > kProbeTimeoutMsMax)
    return absl::InvalidArgumentError(
        fmt::format("timeout_ms: {} is not in 1..{}", timeout_ms, kProbeTimeoutMsMax));
  return absl::Milliseconds(timeout_ms);
}

absl::StatusOr<v1::ProbeResponse> Dial(int netns, const v1::ProbeDial& dial) {
  ASSIGN_OR_RETURN(const IpAddress ip, IpAddress::Parse(dial.address()));
  ASSIGN_OR_RETURN(const absl::Duration timeout, TimeoutOf(dial.timeout_ms()));
  if (dial.port() == 0 || dial.port() > 65535)
    return absl::InvalidArgumentError(fmt::format("port: {} is not in 1..65535", dial.port()));
  const bool tcp = dial.protocol() == "TCP";
  if (!tcp && dial.protocol() != "UDP")
    return absl::InvalidArgumentError(
        fmt::format("protocol: \"{}\" is neither TCP nor UDP", dial.protocol()));
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenSocket(netns, ip.is_v4() ? AF_INET : AF_INET6,
                                                 tcp ? SOCK_STREAM : SOCK_DGRAM));
  v1::ProbeResponse out;
  const SocketAddress to(ip, static_cast<uint16_t>(dial.port()));
  const absl::Time deadline = absl::Now() + timeout;
  if (tcp) {
    DialTcp(fd.get(), to, deadline, &out);
  } else {
    DialUdp(fd.get(), ip.is_v4(), dial.full_size(), to, deadline, &out);
  }
  return out;
}

absl::StatusOr<v1::ProbeResponse> Resolve(int netns, const std::string& server,
                                          const v1::ProbeResolve& resolve) {
  ASSIGN_OR_RETURN(const absl::Duration timeout, TimeoutOf(resolve.timeout_ms()));
  const auto ip = IpAddress::Parse(server);
  if (!ip.ok()) return absl::UnavailableError("the node has no name server for pods yet");
  const absl::Time deadline = absl::Now() + timeout;
  v1::ProbeResponse out;
  std::set<std::string> addresses;
  uint16_t id = static_cast<uint16_t>(absl::ToUnixNanos(absl::Now()) >> 8);
  for (const uint16_t type : {dns::kA, dns::kAaaa}) {
    dns::Query query;
    query.id = ++id;
    query.type = type;
    query.qclass = dns::kClassIn;
    const std::string packet = dns::BuildQuery(query, resolve.name());
    if (packet.empty())
      return absl::InvalidArgumentError(fmt::format("name: \"{}\" is none", resolve.name()));
    ASSIGN_OR_RETURN(const UniqueFd fd,
                     OpenSocket(netns, ip->is_v4() ? AF_INET : AF_INET6, SOCK_DGRAM));
    const SocketAddress to(*ip, kDnsPort);
    if (connect(fd.get(), to.get(), to.length()) != 0) {
      out.set_outcome(OutcomeOf(errno));
      return out;
    }
    const auto answer = Exchange(fd.get(), packet, deadline, &out);
    if (!answer) return out;
    if (answer->size() < dns::kHeaderBytes)
      return absl::InternalError("an answer that is too short");
    if (dns::RcodeOf(*answer) == dns::kNxDomain) {
      out.set_outcome(Outcome::NO_SUCH_NAME);
      return out;
    }
    if ((static_cast<uint8_t>((*answer)[2]) & 0x02) != 0) out.set_truncated(true);
    for (const dns::Record& record : dns::ReadAnswers(*answer)) {
      std::array<uint8_t, 16> bytes{};
      if (record.type == dns::kAaaa && record.data.size() == 16) {
        std::memcpy(bytes.data(), record.data.data(), 16);
        addresses.insert(IpAddress::FromBytes(bytes).ToString());
      } else if (record.type == dns::kA && record.data.size() == 4) {
        uint32_t value = 0;
        std::memcpy(&value, record.data.data(), 4);
        addresses.insert(IpAddress::V4(ntohl(value)).ToString());
      }
    }
  }
  for (const std::string& address : addresses) out.add_addresses(address);
  return out;
}

// Bound to the port in both families, or in IPv4 where there is no other.
absl::StatusOr<UniqueFd> Listen(int netns, int type, uint16_t port) {
  for (const bool v4 : {false, true}) {
    absl::StatusOr<UniqueFd> fd = OpenSocket(netns, v4 ? AF_INET : AF_INET6, type);
    if (!fd.ok()) {
      if (v4) return fd.status();
      continue;
    }
    const int yes = 1, no = 0;
    setsockopt(fd->get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (!v4) setsockopt(fd->get(), IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
    if (type == SOCK_DGRAM) {
      ForbidFragments(fd->get(), true);
      if (!v4) ForbidFragments(fd->get(), false);
    }
    const SocketAddress any(v4 ? IpAddress::V4(0) : IpAddress(), port);
    if (bind(fd->get(), any.get(), any.length()) != 0) {
      if (!v4 && errno == EADDRNOTAVAIL) continue;
      return ErrnoStatus(errno, fmt::format("bind port {} in the pod's network", port));
    }
    if (type == SOCK_STREAM && listen(fd->get(), 128) != 0)
      return ErrnoStatus(errno, fmt::format("listen on port {} in the pod's network", port));
    return fd;
  }
  return absl::InternalError("no family to listen in");
}

}  // namespace

// Answers with its name until its lease is over.
class Prober::Server {
 public:
  static absl::StatusOr<std::unique_ptr<Server>> Start(int netns, const std::string& name,
                                                       uint16_t port, absl::Duration lease) {
    auto out = std::unique_ptr<Server>(new Server(name, absl::Now() + lease));
    ASSIGN_OR_RETURN(out->tcp_, Listen(netns, SOCK_STREAM, port));
    ASSIGN_OR_RETURN(out->udp_, Listen(netns, SOCK_DGRAM, port));
    out->stop_ = UniqueFd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!out->stop_) return ErrnoStatus(errno, "eventfd");
    out->thread_ = std::thread([server = out.get()] { server->Run(); });
    return out;
  }
  ~Server() {
    if (!thread_.joinable()) return;
    const uint64_t one = 1;
    // Cannot fail: the counter of an eventfd has room for one.
    (void)!write(stop_.get(), &one, sizeof one);
    thread_.join();
  }
  bool over() const { return over_; }

 private:
  Server(const std::string& name, absl::Time until) : line_(name + "\n"), until_(until) {}

  void Run() {
    while (absl::Now() < until_) {
      pollfd entries[] = {
          {stop_.get(), POLLIN, 0}, {tcp_.get(), POLLIN, 0}, {udp_.get(), POLLIN, 0}};
      if (poll(entries, 3, Milliseconds(until_ - absl::Now())) < 0 && errno != EINTR) break;
      if (entries[0].revents != 0) break;
      if (entries[1].revents != 0) AnswerStream();
      if (entries[2].revents != 0) AnswerDatagram();
    }
    tcp_.reset();
    udp_.reset();
    over_ = true;
  }

  // A line fits into an empty socket: this never waits for the peer.
  void AnswerStream() {
    const UniqueFd peer(accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!peer) return;
    (void)!send(peer.get(), line_.data(), line_.size(), MSG_NOSIGNAL);
    shutdown(peer.get(), SHUT_WR);
  }

  // As long as what came.
  void AnswerDatagram() {
    SocketAddress peer;
    const ssize_t n =
        recvfrom(udp_.get(), buffer_.data(), buffer_.size(), 0, peer.get(), peer.room());
    if (n < 0) return;
    std::string answer = line_;
    answer.resize(std::max(answer.size(), static_cast<size_t>(n)), '\0');
    (void)!sendto(udp_.get(), answer.data(), answer.size(), 0, peer.get(), peer.length());
  }

  const std::string line_;
  const absl::Time until_;
  UniqueFd tcp_, udp_, stop_;
  std::vector<char> buffer_ = std::vector<char>(kDatagramMax);
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

Prober::Prober(Hooks hooks) : hooks_(std::move(hooks)) {}
Prober::~Prober() = default;

absl::StatusOr<v1::ProbeResponse> Prober::Run(const v1::ProbeRequest& request) {
  if (request.has_serve()) return Serve(request);
  if (!request.has_dial() && !request.has_resolve())
    return absl::InvalidArgumentError("step: Required value");
  ASSIGN_OR_RETURN(const std::string path, hooks_.netns(request.namespace_(), request.pod()));
  ASSIGN_OR_RETURN(const UniqueFd netns, dataplane::OpenNetns(path));
  if (request.has_dial()) return Dial(netns.get(), request.dial());
  return Resolve(netns.get(), hooks_.name_server(), request.resolve());
}

absl::StatusOr<v1::ProbeResponse> Prober::Serve(const v1::ProbeRequest& request) {
  const v1::ProbeServe& serve = request.serve();
  if (serve.lease_seconds() > kProbeLeaseSecondsMax)
    return absl::InvalidArgumentError(fmt::format("serve.lease_seconds: {} is more than {}",
                                                  serve.lease_seconds(), kProbeLeaseSecondsMax));
  absl::MutexLock lock(&mutex_);
  std::erase_if(servers_, [](const auto& entry) { return entry.second->over(); });
  const std::pair key(request.namespace_(), request.pod());
  servers_.erase(key);
  v1::ProbeResponse out;
  out.set_outcome(Outcome::ANSWERED);
  if (serve.lease_seconds() == 0) return out;
  if (serve.port() == 0 || serve.port() > 65535)
    return absl::InvalidArgumentError(
        fmt::format("serve.port: {} is not in 1..65535", serve.port()));
  if (servers_.size() >= kProbeServersMax)
    return absl::ResourceExhaustedError(fmt::format(
        "{} probes are served on this node already, as many as may be", servers_.size()));
  ASSIGN_OR_RETURN(const std::string path, hooks_.netns(request.namespace_(), request.pod()));
  ASSIGN_OR_RETURN(const UniqueFd netns, dataplane::OpenNetns(path));
  ASSIGN_OR_RETURN(servers_[key],
                   Server::Start(netns.get(), request.pod(), static_cast<uint16_t>(serve.port()),
                                 absl::Seconds(serve.lease_seconds())));
  return out;
}

}  // namespace mesh::agent
