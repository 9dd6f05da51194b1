// SPDX-License-Identifier: Apache-2.0
#include "agent/network/health_server.h"

#include <sys/socket.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "agent/network/service_translation.h"
#include "common/log.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::agent {
namespace {

constexpr std::string_view kHeadEnd = "\r\n\r\n";

// "GET /healthz HTTP/1.1": a method, a target and a version of HTTP 1.
bool IsRequestLine(std::string_view head) {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const size_t first = line.find(' '), last = line.rfind(' ');
  return first != std::string_view::npos && first != 0 && last > first + 1 &&
         line.substr(last + 1).starts_with("HTTP/1.");
}

std::string Response(std::string_view status, std::string_view headers, std::string_view body,
                     bool with_body) {
  return fmt::format("HTTP/1.1 {}\r\n{}Content-Length: {}\r\nConnection: close\r\n\r\n{}", status,
                     headers, body.size(), with_body ? body : "");
}

}  // namespace

HealthServer::~HealthServer() {
  loop_->Cancel(retry_);
  for (const auto& [place, listener] : listeners_) loop_->Unwatch(listener.fd.get());
  while (!connections_.empty()) Close(connections_.begin()->first);
}

void HealthServer::SetState(NodeStatePtr state) {
  static const NodeState kNothing;
  const NodeStatePtr before = std::exchange(state_, std::move(state));
  const NodeState& last = before == nullptr ? kNothing : *before;
  last.services.ForEachChangeTo(state_->services,
                                [this](const std::string& key, const auto*, const auto* service) {
                                  SetService(key, service == nullptr ? nullptr : &**service);
                                });
  Listen();
}

void HealthServer::SetService(const std::string& key, const v1::ServiceState* service) {
  if (service == nullptr || service->health_check_node_port() == 0 ||
      service->health_check_node_port() > 65535) {
    services_.erase(key);
    return;
  }
  services_[key] = {.ns = service->namespace_(),
                    .name = service->name(),
                    .port = static_cast<uint16_t>(service->health_check_node_port()),
                    .local_endpoints = CountLocalEndpoints(*service, state_->config.node_name())};
}

// Opens what is missing and closes what nobody wants any more.
void HealthServer::Listen() {
  loop_->Cancel(retry_);
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    const auto service = services_.find(it->second.key);
    if (service != services_.end() && service->second.port == it->first.first) {
      ++it;
      continue;
    }
    loop_->Unwatch(it->second.fd.get());
    it = listeners_.erase(it);
  }
  std::map<std::string, std::string> failures;
  for (const auto& [key, service] : services_) {
    for (const IpAddress& address : addresses_) {
      const Place place(service.port, address);
      const auto taken = listeners_.find(place);
      absl::Status status;
      if (taken == listeners_.end()) {
        status = Open(place, key);
      } else if (taken->second.key != key) {
        status = absl::AlreadyExistsError(fmt::format("service {} has it", taken->second.key));
      }
      if (status.ok()) continue;
      failures[fmt::format("{} {}", key, address.ToString())] =
          fmt::format("service {}: healthCheckNodePort {} of {}: {}", key, service.port,
                      address.ToString(), std::string(status.message()));
    }
  }
  for (const auto& [key, line] : failures) {
    const auto told = failures_.find(key);
    if (told == failures_.end() || told->second != line) spdlog::error("network: {}", line);
  }
  failures_ = std::move(failures);
  if (!failures_.empty()) retry_ = loop_->RunAfter(kRetryInterval, [this] { Listen(); });
}

absl::Status HealthServer::Open(const Place& place, const std::string& key) {
  const auto& [port, address] = place;
  const SocketAddress to(address, port);
  UniqueFd fd(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus(errno, "cannot make a socket");
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), to.get(), to.length()) != 0) return ErrnoStatus(errno, "cannot bind");
  if (::listen(fd.get(), 128) != 0) return ErrnoStatus(errno, "cannot listen");
  loop_->WatchReadable(fd.get(), [this, place] { OnAccept(place); });
  listeners_[place] = {std::move(fd), key};
  return absl::OkStatus();
}

void HealthServer::OnAccept(const Place& place) {
  const auto listener = listeners_.find(place);
  if (listener == listeners_.end()) return;
  while (true) {
    UniqueFd fd(
        ::accept4(listener->second.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (connections_.size() >= kMaxConnections) Close(connections_.begin()->first);
    const uint64_t id = next_connection_++;
    loop_->WatchReadable(fd.get(), [this, id] { OnRequest(id); });
    const TimerId timer = loop_->RunAfter(kTimeout, [this, id] { Close(id); });
    connections_.emplace(
        id, Connection{
                .fd = std::move(fd), .key = listener->second.key, .received = "", .timer = timer});
  }
}

void HealthServer::Close(uint64_t id) {
  auto node = connections_.extract(id);
  if (node.empty()) return;
  loop_->Cancel(node.mapped().timer);
  loop_->Unwatch(node.mapped().fd.get());
}

void HealthServer::OnRequest(uint64_t id) {
  const auto it = connections_.find(id);
  if (it == connections_.end()) return;
  Connection& connection = it->second;
  char buffer[kMaxRequestBytes];
  const ssize_t n = ::recv(connection.fd.get(), buffer, sizeof buffer, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return Close(id);
  connection.received.append(buffer, static_cast<size_t>(n));
  const bool whole = connection.received.find(kHeadEnd) != std::string::npos;
  if (!whole && connection.received.size() < kMaxRequestBytes) return;

  const std::string response =
      whole && IsRequestLine(connection.received)
          ? Answer(connection.key, !connection.received.starts_with("HEAD "))
          : Response("400 Bad Request", "", "", false);
  // Far smaller than the empty send buffer of a new connection.
  (void)::send(connection.fd.get(), response.data(), response.size(), MSG_NOSIGNAL);
  ::shutdown(connection.fd.get(), SHUT_WR);
  Close(id);
}

std::string HealthServer::Answer(const std::string& key, bool with_body) const {
  const auto it = services_.find(key);
  if (it == services_.end()) return Response("404 Not Found", "", "", with_body);
  const Service& service = it->second;
  nlohmann::ordered_json body;
  body["service"]["namespace"] = service.ns;
  body["service"]["name"] = service.name;
  body["localEndpoints"] = service.local_endpoints;
  body["serviceProxyHealthy"] = healthy_;
  const bool serves = healthy_ && service.local_endpoints > 0;
  return Response(serves ? "200 OK" : "503 Service Unavailable",
                  fmt::format("Content-Type: application/json\r\n"
                              "X-Content-Type-Options: nosniff\r\n"
                              "X-Load-Balancing-Endpoint-Weight: {}\r\n",
                              service.local_endpoints),
                  body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace),
                  with_body);
}

}  // namespace mesh::agent
