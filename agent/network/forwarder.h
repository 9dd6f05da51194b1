// SPDX-License-Identifier: Apache-2.0
// Questions about other names than the cluster's, relayed to the node's upstream name servers.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/event_loop.h"
#include "common/ip_address.h"
#include "common/unique_fd.h"

namespace mesh::agent {

struct NameServer {
  IpAddress ip;
  uint16_t port = 53;
  friend bool operator==(const NameServer&, const NameServer&) = default;
};

// The servers of a resolv.conf, in order, at most three (as glibc has it), without `own`.
std::vector<NameServer> ParseResolvConf(std::string_view text, const std::vector<IpAddress>& own);

// Each question travels from a socket of its own (a random port), connected (answers of others do
// not reach it), under a random id; an answer counts when id and question match. A server that is
// silent for `timeout`, cannot be reached (ICMP), or says SERVFAIL or REFUSED makes the next one be
// asked.
// Thread: `loop`'s, which must outlive this.
class Forwarder {
 public:
  static constexpr size_t kMaxInFlight = 1024;
  // Empty: no server gave an answer.
  using Done = std::function<void(std::string response)>;

  explicit Forwarder(EventLoop* loop, absl::Duration timeout = absl::Seconds(2));
  ~Forwarder();
  Forwarder(const Forwarder&) = delete;
  Forwarder& operator=(const Forwarder&) = delete;

  // `done` runs on the loop, possibly before this returns; not after the destructor. The response
  // has the id of `query`.
  //   over_tcp  as the client asked: an answer cut for UDP is relayed as it is, whereupon a client
  //             asks over TCP
  void Forward(std::vector<NameServer> servers, std::string query, bool over_tcp, Done done);
  size_t in_flight() const { return flights_.size(); }

 private:
  struct Flight;

  void AskNext(uint64_t id);
  bool Start(Flight* flight, const NameServer& server);
  void OnDatagram(uint64_t id);
  void OnConnected(uint64_t id);
  void OnStream(uint64_t id);
  void OnAnswer(Flight* flight, std::string response);
  void Release(Flight* flight);
  void Finish(uint64_t id, std::string response);

  EventLoop* loop_;
  absl::Duration timeout_;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<Flight>> flights_;
};

}  // namespace mesh::agent
