// SPDX-License-Identifier: Apache-2.0
// Tells the neighbours on the uplink that an address lives here now. Their questions are answered
// by the BPF program; this is for those who still have another node's answer.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/event_loop.h"
#include "common/ip_address.h"
#include "dataplane/model/state.h"

namespace mesh::agent {

inline constexpr size_t kArpFrameBytes = 42;
// A gratuitous ARP frame (RFC 5227: sender and target protocol address the same) to everybody:
// `reply` false: operation 1, true: operation 2. There are hosts that heed only one of them.
std::array<uint8_t, kArpFrameBytes> GratuitousArp(const dataplane::MacAddress& mac,
                                                  const IpAddress& ip, bool reply);
inline constexpr size_t kNeighborFrameBytes = 86;
// An unsolicited neighbour advertisement (RFC 4861, 7.2.6) of `ip` from its link-layer address, to
// all nodes of the link; it overrides what they have. Its source is `ip` itself.
std::array<uint8_t, kNeighborFrameBytes> NeighborAdvertisement(const dataplane::MacAddress& mac,
                                                               const IpAddress& ip);
// What tells of each address in its family, on `interface`. The first error; UNAVAILABLE when the
// link is not up.
absl::Status SendAnnouncements(const std::string& interface, const std::vector<IpAddress>& ips);

// Each address that appears is told kRounds times, with growing pauses, in batches of at most
// kBatch addresses per kTick, so that a node that takes over thousands drowns nobody.
// Thread: `loop`'s, which must outlive this.
class Announcer {
 public:
  static constexpr int kRounds = 5;
  static constexpr size_t kBatch = 64;
  static constexpr absl::Duration kTick = absl::Milliseconds(10);
  using Send = std::function<absl::Status(const std::vector<IpAddress>&)>;

  Announcer(EventLoop* loop, Send send) : loop_(loop), send_(std::move(send)) {}
  ~Announcer() { loop_->Cancel(timer_); }
  Announcer(const Announcer&) = delete;
  Announcer& operator=(const Announcer&) = delete;

  // Whose word a state is: the agent's own, kept from its last run, or meshd's.
  enum class Word : uint8_t { kKept, kMeshds };
  // What this node announces from now on: the load balancer addresses of `desired`'s announced
  // Services. Heeds DesiredState::changed_services. What was only kept is told to nobody until
  // meshd says so too: while the node was away another one may have taken the addresses, and
  // neighbours that were told would leave it, with the connections that it has.
  void SetState(const dataplane::DesiredState& desired, Word word = Word::kMeshds);

 private:
  struct Address {
    int services = 0;  // that have it
    int rounds_left = kRounds;
    absl::Time due;
  };

  void SetService(const std::string& key, const dataplane::Service* service);
  void Tell();

  EventLoop* loop_;
  const Send send_;
  std::map<std::string, std::vector<IpAddress>> by_service_;
  std::map<IpAddress, Address> addresses_;
  TimerId timer_ = 0;
  bool failing_ = false;
};

}  // namespace mesh::agent
