// SPDX-License-Identifier: Apache-2.0
// healthCheckNodePort: an outside load balancer asks each node over HTTP whether it has endpoints
// of a Service with externalTrafficPolicy Local.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/state/node_state.h"
#include "common/event_loop.h"
#include "common/ip_address.h"
#include "common/unique_fd.h"

namespace mesh::agent {

// Answers any request to such a port of the node's addresses with kube-proxy's words: 200 when the
// node has endpoints and its dataplane is programmed, 503 otherwise. One request per connection, of
// at most kMaxRequestBytes within kTimeout; at most kMaxConnections, the oldest makes room. A port
// that cannot be had is tried again every kRetryInterval.
// Thread: `loop`'s, which must outlive this.
class HealthServer {
 public:
  static constexpr size_t kMaxConnections = 256;
  static constexpr size_t kMaxRequestBytes = 4096;
  static constexpr absl::Duration kTimeout = absl::Seconds(5);
  static constexpr absl::Duration kRetryInterval = absl::Seconds(2);

  // At least one address.
  HealthServer(EventLoop* loop, std::vector<IpAddress> addresses)
      : loop_(loop), addresses_(std::move(addresses)) {}
  ~HealthServer();
  HealthServer(const HealthServer&) = delete;
  HealthServer& operator=(const HealthServer&) = delete;

  // Answers speak of `state` from now on. Cost: one pass over pointers and what has changed.
  void SetState(NodeStatePtr state);
  void SetHealthy(bool healthy) { healthy_ = healthy; }

 private:
  struct Service {
    std::string ns, name;
    uint16_t port = 0;
    int local_endpoints = 0;
  };
  struct Listener {
    UniqueFd fd;
    std::string key;  // of the service
  };
  // Each stands or fails on its own: an address that is not there yet takes no other along.
  using Place = std::pair<uint16_t, IpAddress>;
  struct Connection {
    UniqueFd fd;
    std::string key;
    std::string received;
    TimerId timer = 0;
  };

  void SetService(const std::string& key, const v1::ServiceState* service);
  void Listen();
  absl::Status Open(const Place& place, const std::string& key);
  void OnAccept(const Place& place);
  void OnRequest(uint64_t id);
  void Close(uint64_t id);
  std::string Answer(const std::string& key, bool with_body) const;

  EventLoop* loop_;
  const std::vector<IpAddress> addresses_;
  NodeStatePtr state_;
  bool healthy_ = false;
  std::map<std::string, Service> services_;  // those with such a port
  std::map<Place, Listener> listeners_;
  std::map<std::string, std::string> failures_;  // told already, by service and address
  TimerId retry_ = 0;
  uint64_t next_connection_ = 1;
  std::map<uint64_t, Connection> connections_;
};

}  // namespace mesh::agent
