// SPDX-License-Identifier: Apache-2.0
#include "agent/network/resolver.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/network/dns_message.h"
#include "agent/network/files.h"
#include "common/check.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kIdleLimit = absl::Seconds(10);
constexpr absl::Duration kResolvConfAge = absl::Seconds(1);
constexpr int kDatagramsPerWakeup = 64;
constexpr size_t kMaxTcpBytes = 65535;

absl::StatusOr<UniqueFd> Bind(const IpAddress& address, uint16_t port, int type) {
  SocketAddress to(address, port);
  UniqueFd fd(::socket(to.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const char* name = type == SOCK_STREAM ? "TCP" : "UDP";
  if (!fd) return ErrnoStatus(errno, fmt::format("cannot make a {} socket", name));
  const int on = 1;
  // For TCP only: connections of a former agent in TIME_WAIT do not block the port. For UDP it
  // would let two agents share it.
  if (type == SOCK_STREAM) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), to.get(), to.length()) != 0)
    return ErrnoStatus(errno, fmt::format("resolver: cannot bind {} {}", name, to.ToString()));
  return fd;
}

void ShuffleAddresses(std::vector<dns::Record>* records, Random* random) {
  const auto first = std::find_if(records->begin(), records->end(),
                                  [](const dns::Record& r) { return r.type != dns::kCname; });
  for (auto left = static_cast<uint64_t>(records->end() - first); left > 1; --left)
    std::swap(first[static_cast<long>(left) - 1], first[static_cast<long>(random->Below(left))]);
}

}  // namespace

struct Resolver::Connection {
  UniqueFd fd;
  std::string received;
  TimerId idle_timer = 0;
};

absl::StatusOr<std::unique_ptr<Resolver>> Resolver::Listen(EventLoop* loop,
                                                           std::vector<IpAddress> addresses,
                                                           uint16_t port, std::string resolv_conf) {
  MESH_CHECK(!addresses.empty()) << "nowhere to listen";
  std::vector<Sockets> sockets;
  for (const IpAddress& address : addresses) {
    ASSIGN_OR_RETURN(UniqueFd tcp, Bind(address, port, SOCK_STREAM));
    if (::listen(tcp.get(), 128) != 0) return ErrnoStatus(errno, "resolver: cannot listen");
    SocketAddress bound;
    if (::getsockname(tcp.get(), bound.get(), bound.room()) != 0)
      return ErrnoStatus(errno, "resolver: cannot read the bound address");
    port = bound.port();
    ASSIGN_OR_RETURN(UniqueFd udp, Bind(address, port, SOCK_DGRAM));
    sockets.push_back({.udp = std::move(udp), .tcp = std::move(tcp)});
  }
  return std::unique_ptr<Resolver>(
      new Resolver(loop, std::move(addresses), port, std::move(resolv_conf), std::move(sockets)));
}

Resolver::Resolver(EventLoop* loop, std::vector<IpAddress> addresses, uint16_t port,
                   std::string resolv_conf, std::vector<Sockets> sockets)
    : loop_(loop),
      addresses_(std::move(addresses)),
      port_(port),
      resolv_conf_(std::move(resolv_conf)),
      sockets_(std::move(sockets)),
      zone_(nullptr),
      forwarder_(loop) {
  for (const Sockets& sockets_here : sockets_) {
    const int udp = sockets_here.udp.get(), tcp = sockets_here.tcp.get();
    loop_->WatchReadable(udp, [this, udp] { OnDatagrams(udp); });
    loop_->WatchReadable(tcp, [this, tcp] { OnAccept(tcp); });
  }
}

Resolver::~Resolver() {
  for (const Sockets& sockets_here : sockets_) {
    loop_->Unwatch(sockets_here.udp.get());
    loop_->Unwatch(sockets_here.tcp.get());
  }
  while (!connections_.empty()) CloseConnection(connections_.begin()->first);
}

void Resolver::SetState(NodeStatePtr state) { zone_ = ClusterZone(std::move(state)); }

void Resolver::SetUpstreams(std::vector<NameServer> servers) {
  upstreams_ = std::move(servers);
  upstreams_fixed_ = true;
}

const std::vector<NameServer>& Resolver::Upstreams() {
  if (upstreams_fixed_ || loop_->Now() - upstreams_checked_ < kResolvConfAge) return upstreams_;
  upstreams_checked_ = loop_->Now();
  auto text = ReadWholeFile(resolv_conf_);
  upstreams_ = text.ok() ? ParseResolvConf(*text, addresses_) : std::vector<NameServer>();
  return upstreams_;
}

void Resolver::Count(const dns::Answer& answer) {
  if (answer.rcode == dns::kNxDomain) {
    ++counters_.nxdomain;
  } else if (answer.rcode == dns::kRefused) {
    ++counters_.refused;
  } else if (answer.rcode != dns::kNoError) {
    ++counters_.failed;
  } else if (answer.answers.empty()) {
    ++counters_.no_data;
  } else {
    ++counters_.answered;
  }
}

void Resolver::CountForwarded(const std::string& response) {
  ++(response.empty() ? counters_.upstream_failed : counters_.upstream_answered);
}

void Resolver::Resolve(std::string_view packet, bool over_tcp, Reply reply) {
  ++counters_.queries;
  if (over_tcp) ++counters_.queries_tcp;
  const dns::ParsedQuery parsed = dns::ParseQuery(packet);
  if (!parsed.query) {
    ++counters_.failed;
    reply(parsed.refusal ? dns::BuildRefusal(packet, *parsed.refusal) : "");
    return;
  }
  const dns::Query& query = *parsed.query;
  const size_t limit = over_tcp ? kMaxTcpBytes : query.udp_bytes;
  if (query.edns && query.edns_version != 0) {
    dns::Answer answer;
    answer.rcode = dns::kBadVersion;
    Count(answer);
    return reply(dns::BuildResponse(packet, query, answer, limit));
  }
  if (auto answer = zone_.Answer(query)) {
    // The backends of a headless Service share the clients that take the first address.
    ShuffleAddresses(&answer->answers, &random_);
    Count(*answer);
    if (!answer->continues_at.empty())
      return Continue(query, std::string(packet), *std::move(answer), limit, over_tcp,
                      std::move(reply));
    return reply(dns::BuildResponse(packet, query, *answer, limit));
  }
  const std::vector<NameServer>& upstreams = Upstreams();
  if (upstreams.empty()) {
    dns::Answer answer;
    answer.rcode = dns::kRefused;
    Count(answer);
    return reply(dns::BuildResponse(packet, query, answer, limit));
  }
  ++counters_.forwarded;
  forwarder_.Forward(upstreams, std::string(packet), over_tcp,
                     [this, query, limit, original = std::string(packet),
                      reply = std::move(reply)](std::string response) {
                       CountForwarded(response);
                       if (response.empty()) {
                         dns::Answer answer;
                         answer.rcode = dns::kServFail;
                         response = dns::BuildResponse(original, query, answer, limit);
                       }
                       reply(std::move(response));
                     });
}

void Resolver::Continue(const dns::Query& query, std::string packet, dns::Answer answer,
                        size_t limit, bool over_tcp, Reply reply) {
  const std::vector<NameServer>& upstreams = Upstreams();
  std::string next = dns::BuildQuery(query, answer.continues_at);
  // The CNAME alone is right as well; a client that resolves by itself goes on from it.
  if (upstreams.empty() || next.empty())
    return reply(dns::BuildResponse(packet, query, answer, limit));
  ++counters_.forwarded;
  forwarder_.Forward(
      upstreams, std::move(next), over_tcp,
      [this, query, limit, over_tcp, packet = std::move(packet), answer = std::move(answer),
       reply = std::move(reply)](std::string response) mutable {
        CountForwarded(response);
        // Too long for one datagram: the rest is worth a connection.
        if (dns::IsTruncated(response) && !over_tcp)
          return Continue(query, std::move(packet), std::move(answer), limit, /*over_tcp=*/true,
                          std::move(reply));
        answer.rcode = dns::RcodeOf(response);
        for (dns::Record& record : dns::ReadAnswers(response))
          answer.answers.push_back(std::move(record));
        reply(dns::BuildResponse(packet, query, answer, limit));
      });
}

// A reply goes out where its question came in: the client expects that address.
void Resolver::OnDatagrams(int fd) {
  for (int i = 0; i < kDatagramsPerWakeup; ++i) {
    char buffer[65536];
    SocketAddress from;
    const ssize_t n = ::recvfrom(fd, buffer, sizeof buffer, 0, from.get(), from.room());
    if (n < 0) return;
    Resolve(std::string_view(buffer, static_cast<size_t>(n)), /*over_tcp=*/false,
            [fd, from](std::string response) {
              if (response.empty()) return;
              // What does not fit into the socket's buffer is lost, as any datagram may be.
              (void)::sendto(fd, response.data(), response.size(), MSG_NOSIGNAL, from.get(),
                             from.length());
            });
  }
}

void Resolver::OnAccept(int listener) {
  while (true) {
    UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    // The oldest makes room: a client that keeps connections open must not lock others out.
    if (connections_.size() >= kMaxConnections) CloseConnection(connections_.begin()->first);
    const uint64_t id = next_connection_++;
    auto connection = std::make_unique<Connection>();
    connection->idle_timer = loop_->RunAfter(kIdleLimit, [this, id] { CloseConnection(id); });
    loop_->WatchReadable(fd.get(), [this, id] { OnStream(id); });
    connection->fd = std::move(fd);
    connections_.emplace(id, std::move(connection));
  }
}

void Resolver::CloseConnection(uint64_t id) {
  auto node = connections_.extract(id);
  if (node.empty()) return;
  loop_->Cancel(node.mapped()->idle_timer);
  loop_->Unwatch(node.mapped()->fd.get());
}

void Resolver::OnStream(uint64_t id) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Connection* connection = it->second.get();
  char buffer[16384];
  const ssize_t n = ::recv(connection->fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return CloseConnection(id);
  connection->received.append(buffer, static_cast<size_t>(n));
  loop_->Cancel(connection->idle_timer);
  connection->idle_timer = loop_->RunAfter(kIdleLimit, [this, id] { CloseConnection(id); });

  while (true) {
    // A reply may have closed the connection.
    const auto again = connections_.find(id);
    if (again == connections_.end()) return;
    std::string& received = again->second->received;
    if (received.size() < 2) return;
    const size_t length = dns::IdOf(received);  // the length field has the form of an id
    if (received.size() < 2 + length) return;
    const std::string packet = received.substr(2, length);
    received.erase(0, 2 + length);
    Resolve(packet, /*over_tcp=*/true, [this, id](std::string response) {
      const auto to = connections_.find(id);
      if (to == connections_.end()) return;
      if (response.empty()) return CloseConnection(id);
      std::string framed;
      framed.push_back(static_cast<char>(response.size() >> 8));
      framed.push_back(static_cast<char>(response.size()));
      framed += response;
      // A client that lets its answers pile up until the buffer is full is cut off.
      if (::send(to->second->fd.get(), framed.data(), framed.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(framed.size()))
        CloseConnection(id);
    });
  }
}

}  // namespace mesh::agent
