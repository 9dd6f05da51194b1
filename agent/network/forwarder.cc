// SPDX-License-Identifier: Apache-2.0
#include "agent/network/forwarder.h"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "agent/network/dns_message.h"
#include "common/socket_address.h"

namespace mesh::agent {
namespace {

constexpr size_t kMaxServers = 3;

// A guessable id would let anybody who can spoof a source address answer.
uint16_t UnguessableId() {
  uint16_t id = 0;
  while (::getrandom(&id, sizeof id, 0) != sizeof id) {
  }
  return id;
}

}  // namespace

std::vector<NameServer> ParseResolvConf(std::string_view text, const std::vector<IpAddress>& own) {
  constexpr std::string_view kBlank = " \t\r";
  std::vector<NameServer> out;
  while (!text.empty() && out.size() < kMaxServers) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == std::string_view::npos ? "" : text.substr(end + 1);
    constexpr std::string_view kKeyword = "nameserver";
    if (!line.starts_with(kKeyword)) continue;
    line.remove_prefix(kKeyword.size());
    const size_t start = line.find_first_not_of(kBlank);
    if (start == 0 || start == std::string_view::npos) continue;
    line = line.substr(start);
    line = line.substr(0, line.find_first_of(kBlank));
    // Asking ourselves would go round in circles.
    if (auto ip = IpAddress::Parse(line);
        ip.ok() && std::find(own.begin(), own.end(), *ip) == own.end())
      out.push_back({*ip, 53});
  }
  return out;
}

struct Forwarder::Flight {
  uint64_t id = 0;
  std::vector<NameServer> servers;
  size_t next_server = 0;
  std::string query;  // under `wire_id`
  uint16_t client_id = 0;
  bool over_tcp = false;
  Done done;
  UniqueFd fd;
  // The loop watches for reading only; an epoll of its own tells that `fd` can be written.
  UniqueFd writable;
  std::string received;
  TimerId timer = 0;
  // Of a server that answered with a refusal, in case no other does better.
  std::string fallback;
};

Forwarder::Forwarder(EventLoop* loop, absl::Duration timeout) : loop_(loop), timeout_(timeout) {}

Forwarder::~Forwarder() {
  for (auto& [id, flight] : flights_) Release(flight.get());
}

void Forwarder::Forward(std::vector<NameServer> servers, std::string query, bool over_tcp,
                        Done done) {
  if (servers.empty() || flights_.size() >= kMaxInFlight || query.size() < dns::kHeaderBytes)
    return done("");
  auto flight = std::make_unique<Flight>();
  const uint64_t id = next_id_++;
  flight->id = id;
  flight->servers = std::move(servers);
  flight->client_id = dns::IdOf(query);
  flight->query = std::move(query);
  flight->over_tcp = over_tcp;
  flight->done = std::move(done);
  flights_.emplace(id, std::move(flight));
  AskNext(id);
}

void Forwarder::Release(Flight* flight) {
  loop_->Cancel(flight->timer);
  if (flight->writable) loop_->Unwatch(flight->writable.get());
  if (flight->fd) loop_->Unwatch(flight->fd.get());
  flight->writable.reset();
  flight->fd.reset();
  flight->received.clear();
}

void Forwarder::Finish(uint64_t id, std::string response) {
  auto node = flights_.extract(id);
  if (node.empty()) return;
  Flight& flight = *node.mapped();
  Release(&flight);
  if (response.size() >= dns::kHeaderBytes) dns::SetId(&response, flight.client_id);
  flight.done(std::move(response));
}

void Forwarder::AskNext(uint64_t id) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight* flight = it->second.get();
  Release(flight);
  while (flight->next_server < flight->servers.size()) {
    const NameServer server = flight->servers[flight->next_server++];
    dns::SetId(&flight->query, UnguessableId());
    if (!Start(flight, server)) {
      Release(flight);
      continue;
    }
    flight->timer = loop_->RunAfter(timeout_, [this, id] { AskNext(id); });
    return;
  }
  Finish(id, std::move(flight->fallback));
}

bool Forwarder::Start(Flight* flight, const NameServer& server) {
  const uint64_t id = flight->id;
  const SocketAddress address(server.ip, server.port);
  const int type = flight->over_tcp ? SOCK_STREAM : SOCK_DGRAM;
  flight->fd.reset(::socket(address.family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!flight->fd) return false;
  // "No way there" by ICMP from a router, too, ends the wait: without this a socket is told only
  // that nobody listens.
  const int on = 1;
  if (server.ip.is_v4()) {
    ::setsockopt(flight->fd.get(), IPPROTO_IP, IP_RECVERR, &on, sizeof on);
  } else {
    ::setsockopt(flight->fd.get(), IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on);
  }
  const int connected = ::connect(flight->fd.get(), address.get(), address.length());
  if (!flight->over_tcp) {
    if (connected != 0 ||
        ::send(flight->fd.get(), flight->query.data(), flight->query.size(), MSG_NOSIGNAL) < 0)
      return false;
    loop_->WatchReadable(flight->fd.get(), [this, id] { OnDatagram(id); });
    return true;
  }
  if (connected != 0 && errno != EINPROGRESS) return false;
  flight->writable.reset(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{.events = EPOLLOUT, .data = {.fd = flight->fd.get()}};
  if (!flight->writable ||
      ::epoll_ctl(flight->writable.get(), EPOLL_CTL_ADD, flight->fd.get(), &event) != 0)
    return false;
  loop_->WatchReadable(flight->writable.get(), [this, id] { OnConnected(id); });
  return true;
}

void Forwarder::OnDatagram(uint64_t id) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight* flight = it->second.get();
  char buffer[65536];
  const ssize_t n = ::recv(flight->fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0) return AskNext(id);  // nobody listens there (ECONNREFUSED), no route
  OnAnswer(flight, std::string(buffer, static_cast<size_t>(n)));
}

void Forwarder::OnConnected(uint64_t id) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight* flight = it->second.get();
  loop_->Unwatch(flight->writable.get());
  flight->writable.reset();
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(flight->fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  std::string framed;
  framed.push_back(static_cast<char>(flight->query.size() >> 8));
  framed.push_back(static_cast<char>(flight->query.size()));
  framed += flight->query;
  // A question is far smaller than the empty send buffer of a new connection.
  if (error != 0 || ::send(flight->fd.get(), framed.data(), framed.size(), MSG_NOSIGNAL) !=
                        static_cast<ssize_t>(framed.size()))
    return AskNext(id);
  loop_->WatchReadable(flight->fd.get(), [this, id] { OnStream(id); });
}

void Forwarder::OnStream(uint64_t id) {
  const auto it = flights_.find(id);
  if (it == flights_.end()) return;
  Flight* flight = it->second.get();
  char buffer[16384];
  const ssize_t n = ::recv(flight->fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return AskNext(id);
  flight->received.append(buffer, static_cast<size_t>(n));
  if (flight->received.size() < 2) return;
  const size_t length = dns::IdOf(flight->received);  // the length field has the same form
  if (flight->received.size() < 2 + length) return;
  std::string response = flight->received.substr(2, length);
  flight->received.erase(0, 2 + length);
  OnAnswer(flight, std::move(response));
}

void Forwarder::OnAnswer(Flight* flight, std::string response) {
  // Anything else than the answer is not even an end: the right one may still come.
  if (!dns::Answers(response, flight->query)) return;
  const uint8_t rcode = dns::RcodeOf(response);
  if (rcode == dns::kServFail || rcode == dns::kRefused) {
    flight->fallback = std::move(response);
    return AskNext(flight->id);
  }
  Finish(flight->id, std::move(response));
}

}  // namespace mesh::agent
