// SPDX-License-Identifier: Apache-2.0
#include "agent/network/resolver.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/network/dns_message.h"
#include "agent/network/files.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kIdleLimit = absl::Seconds(10);
constexpr absl::Duration kResolvConfAge = absl::Seconds(1);
constexpr int kDatagramsPerWakeup = 64;
constexpr size_t kMaxTcpBytes = 65535;

sockaddr_in ToSockaddr(const IpAddress& address, uint16_t port) {
  sockaddr_in out{};
  out.sin_family = AF_INET;
  out.sin_port = htons(port);
  out.sin_addr.s_addr = htonl(address.v4());
  return out;
}

absl::StatusOr<UniqueFd> Bind(const IpAddress& address, uint16_t port, int type) {
  UniqueFd fd(::socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const char* name = type == SOCK_STREAM ? "TCP" : "UDP";
  if (!fd) return ErrnoStatus(errno, fmt::format("cannot make a {} socket", name));
  const int on = 1;
  // For TCP only: connections of a former agent in TIME_WAIT do not block the port. For UDP it
  // would let two agents share it.
  if (type == SOCK_STREAM) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in to = ToSockaddr(address, port);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    return ErrnoStatus(
        errno, fmt::format("resolver: cannot bind {} {}:{}", name, address.ToString(), port));
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
                                                           const IpAddress& address, uint16_t port,
                                                           std::string resolv_conf) {
  ASSIGN_OR_RETURN(UniqueFd tcp, Bind(address, port, SOCK_STREAM));
  if (::listen(tcp.get(), 128) != 0) return ErrnoStatus(errno, "resolver: cannot listen");
  sockaddr_in bound{};
  socklen_t length = sizeof bound;
  if (::getsockname(tcp.get(), reinterpret_cast<sockaddr*>(&bound), &length) != 0)
    return ErrnoStatus(errno, "resolver: cannot read the bound address");
  ASSIGN_OR_RETURN(UniqueFd udp, Bind(address, ntohs(bound.sin_port), SOCK_DGRAM));
  return std::unique_ptr<Resolver>(new Resolver(loop, address, ntohs(bound.sin_port),
                                                std::move(resolv_conf), std::move(udp),
                                                std::move(tcp)));
}

Resolver::Resolver(EventLoop* loop, const IpAddress& address, uint16_t port,
                   std::string resolv_conf, UniqueFd udp, UniqueFd tcp)
    : loop_(loop),
      address_(address),
      port_(port),
      resolv_conf_(std::move(resolv_conf)),
      udp_(std::move(udp)),
      tcp_(std::move(tcp)),
      zone_(nullptr),
      forwarder_(loop) {
  loop_->WatchReadable(udp_.get(), [this] { OnDatagrams(); });
  loop_->WatchReadable(tcp_.get(), [this] { OnAccept(); });
}

Resolver::~Resolver() {
  loop_->Unwatch(udp_.get());
  loop_->Unwatch(tcp_.get());
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
  upstreams_ = text.ok() ? ParseResolvConf(*text, address_) : std::vector<NameServer>();
  return upstreams_;
}

void Resolver::Resolve(std::string_view packet, bool over_tcp, Reply reply) {
  const dns::ParsedQuery parsed = dns::ParseQuery(packet);
  if (!parsed.query) {
    reply(parsed.refusal ? dns::BuildRefusal(packet, *parsed.refusal) : "");
    return;
  }
  const dns::Query& query = *parsed.query;
  const size_t limit = over_tcp ? kMaxTcpBytes : query.udp_bytes;
  if (query.edns && query.edns_version != 0) {
    dns::Answer answer;
    answer.rcode = dns::kBadVersion;
    return reply(dns::BuildResponse(packet, query, answer, limit));
  }
  if (auto answer = zone_.Answer(query)) {
    // The backends of a headless Service share the clients that take the first address.
    ShuffleAddresses(&answer->answers, &random_);
    if (!answer->continues_at.empty())
      return Continue(query, std::string(packet), *std::move(answer), limit, over_tcp,
                      std::move(reply));
    return reply(dns::BuildResponse(packet, query, *answer, limit));
  }
  const std::vector<NameServer>& upstreams = Upstreams();
  if (upstreams.empty()) {
    dns::Answer answer;
    answer.rcode = dns::kRefused;
    return reply(dns::BuildResponse(packet, query, answer, limit));
  }
  forwarder_.Forward(upstreams, std::string(packet), over_tcp,
                     [query, limit, original = std::string(packet),
                      reply = std::move(reply)](std::string response) {
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
  forwarder_.Forward(
      upstreams, std::move(next), over_tcp,
      [this, query, limit, over_tcp, packet = std::move(packet), answer = std::move(answer),
       reply = std::move(reply)](std::string response) mutable {
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

void Resolver::OnDatagrams() {
  for (int i = 0; i < kDatagramsPerWakeup; ++i) {
    char buffer[65536];
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t n = ::recvfrom(udp_.get(), buffer, sizeof buffer, 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0) return;
    Resolve(std::string_view(buffer, static_cast<size_t>(n)), /*over_tcp=*/false,
            [this, from](std::string response) {
              if (response.empty()) return;
              // What does not fit into the socket's buffer is lost, as any datagram may be.
              (void)::sendto(udp_.get(), response.data(), response.size(), MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&from), sizeof from);
            });
  }
}

void Resolver::OnAccept() {
  while (true) {
    UniqueFd fd(::accept4(tcp_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
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
