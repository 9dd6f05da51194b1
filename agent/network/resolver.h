// SPDX-License-Identifier: Apache-2.0
// The name server of the node's pods: UDP and TCP, on one address of each family.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/network/cluster_zone.h"
#include "agent/network/dns_message.h"
#include "agent/network/forwarder.h"
#include "common/event_loop.h"
#include "common/random.h"
#include "common/unique_fd.h"

namespace mesh::agent {

// Names of the cluster come from the newest state; others go to the servers in `resolv_conf`, which
// is read again when it changes. Without a server they are REFUSED, without an answer SERVFAIL.
// At most kMaxConnections TCP clients; one that is silent for 10 s is closed.
// Thread: `loop`'s, which must outlive this.
class Resolver {
 public:
  static constexpr size_t kMaxConnections = 128;

  // Port 0 takes a free one, the same at all addresses. The status names address and port when they
  // cannot be had. REQUIRES: an address.
  static absl::StatusOr<std::unique_ptr<Resolver>> Listen(EventLoop* loop,
                                                          std::vector<IpAddress> addresses,
                                                          uint16_t port, std::string resolv_conf);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void SetState(NodeStatePtr state);
  // What stands in the zone: see ClusterZone::Records.
  const ClusterZone& zone() const { return zone_; }
  // Questions since the start, and what became of them.
  struct Counters {
    uint64_t queries = 0, queries_tcp = 0;  // of all, over TCP
    // By itself; those that are malformed are refused or failed.
    uint64_t answered = 0, no_data = 0, nxdomain = 0, refused = 0, failed = 0;
    uint64_t forwarded = 0, upstream_answered = 0, upstream_failed = 0;
  };
  const Counters& counters() const { return counters_; }
  // For name servers on other ports than 53; instead of those in resolv.conf.
  void SetUpstreams(std::vector<NameServer> servers);
  uint16_t port() const { return port_; }

 private:
  struct Connection;
  // At one address.
  struct Sockets {
    UniqueFd udp, tcp;
  };
  using Reply = std::function<void(std::string response)>;

  Resolver(EventLoop* loop, std::vector<IpAddress> addresses, uint16_t port,
           std::string resolv_conf, std::vector<Sockets> sockets);
  void OnDatagrams(int fd);
  void OnAccept(int fd);
  void OnStream(uint64_t id);
  void CloseConnection(uint64_t id);
  // `reply` may run later, with an empty string for no reply at all.
  void Resolve(std::string_view packet, bool over_tcp, Reply reply);
  // `answer` ends in a CNAME to a name outside the cluster: adds what stands there. `reply` as in
  // Resolve.
  void Continue(const dns::Query& query, std::string packet, dns::Answer answer, size_t limit,
                bool over_tcp, Reply reply);
  const std::vector<NameServer>& Upstreams();
  void Count(const dns::Answer& answer);
  void CountForwarded(const std::string& response);

  EventLoop* loop_;
  std::vector<IpAddress> addresses_;
  uint16_t port_;
  std::string resolv_conf_;
  std::vector<Sockets> sockets_;
  ClusterZone zone_;
  Counters counters_;
  Forwarder forwarder_;
  Random random_ = Random::FromEntropy();
  std::vector<NameServer> upstreams_;
  bool upstreams_fixed_ = false;
  absl::Time upstreams_checked_ = absl::InfinitePast();
  uint64_t next_connection_ = 1;
  std::map<uint64_t, std::unique_ptr<Connection>> connections_;
};

}  // namespace mesh::agent
