// SPDX-License-Identifier: Apache-2.0
// What must become of a packet, said a second time in plain C++: parse, select, translate, resolve,
// judge. It knows nothing of maps, checksums and verifiers; the programs know nothing of it.
//
// Where the programs may choose (a backend at random, a free port), it lists every outcome that is
// right, and learns from the one that came. Time is the caller's.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "dataplane/model/state.h"
#include "tests/support/packet/packet.h"

namespace mesh::dataplane::testing {

// Addresses and ports as the sender writes them. ICMP echo: the id is the asking side's port.
struct Tuple {
  IpAddress source, destination;
  uint16_t source_port = 0, destination_port = 0;
  uint8_t protocol = 0;

  Tuple Reversed() const;
  friend auto operator<=>(const Tuple&, const Tuple&) = default;
};

// Where packets come from and go to.
struct Side {
  enum class Kind : uint8_t { kNone, kPod, kNode, kPeer, kUplink };
  Kind kind = Kind::kNone;
  IpAddress ip;  // of the pod whose interface it is; of the peer
  friend auto operator<=>(const Side&, const Side&) = default;
};

struct OraclePacket {
  Side from;
  mesh::testing::Packet packet;
  // From a peer.
  uint32_t identity = 0;
  bool through_service = false;
  uint32_t service_identity = 0;
  // With native routing neither is told but by one bit, and `from` has no address.
  // An ICMP error: the packet it is about, as its sender was given it.
  std::optional<mesh::testing::Packet> about;
};

// One outcome that is right.
struct Expectation {
  std::string reason;
  Side to;  // when forwarded
  mesh::testing::Packet packet;
  // The programs draw a source port (ICMP: id) of these; 0, 0: none. Where several senders share an
  // address, only those that this one may have.
  uint16_t first_port = 0, last_port = 0;
  std::function<bool(uint16_t port)> may_have;
  bool early = false;  // by XDP, before the tc program sees it
  std::function<void(const mesh::testing::Packet& out)> learn;
};
std::ostream& operator<<(std::ostream& out, const Expectation& expectation);

class Oracle {
 public:
  struct Backend {
    uint32_t service_id = 0;
    mesh::testing::Place place;
    BackendState state = BackendState::kActive;
    uint8_t scopes = kScopeBoth;
  };
  struct Set {
    bool maglev = false;
    std::vector<uint32_t> slots;
    std::vector<uint32_t> table;  // Maglev
  };
  struct Frontend {
    uint32_t service_id = 0;
    int scope = 0;
    bool external = false;
    bool source_ranges = false;
    uint32_t affinity_s = 0;
    uint32_t identity = 0;
  };
  struct Dialled {
    IpAddress vip;
    uint16_t port = 0;
    uint8_t protocol = 0;
    friend auto operator<=>(const Dialled&, const Dialled&) = default;
  };

  // The world; whoever changes it calls JudgeAgain() as the agent does.
  IpAddress node_ip, gateway;
  bool has_uplink = false;
  bool native = false;
  std::map<IpAddress, uint32_t> identities;  // native: of what other nodes have
  IpPrefix elsewhere;                        // the one range that the uplink does not lead to
  IpPrefix pod_cidr, cluster_cidr, service_cidr;
  std::map<IpAddress, uint32_t> pods;  // address -> identity
  std::map<IpPrefix, IpAddress> peers;
  std::map<uint32_t, Isolation> namespaces;
  std::map<Dialled, Frontend> frontends;
  std::map<std::pair<uint32_t, int>, Set> sets;  // by service id and scope
  std::map<uint32_t, Backend> backends;
  std::set<std::pair<uint32_t, IpPrefix>> ranges;
  void JudgeAgain() { ++generation_; }
  void Age(double seconds);
  void AgeAffinity(double seconds);

  // Which side a packet counts to: with native routing its addresses say so where it came by the
  // uplink.
  Side SideOf(const OraclePacket& packet) const;
  // Empty: too close to the end of some time to say.
  std::vector<Expectation> Expect(const OraclePacket& packet, double now_s);

  // A packet of a flow that is known, and where it would come from; nullopt: none is.
  std::optional<std::pair<Side, Tuple>> Pick(uint64_t random) const;
  // One from outside to another node.
  std::optional<std::pair<Side, Tuple>> PickPassing(uint64_t random) const;
  // How the packets of a known direction leave.
  const Tuple* Leaving(const Tuple& tuple) const;
  size_t flows() const { return table_.size() / 2; }

 private:
  using Packet = mesh::testing::Packet;
  // One direction of a flow.
  struct Entry {
    Tuple out;
    Side in, to;
    bool reply = false, through_service = false;
    uint32_t service_id = 0, backend_id = 0, service_identity = 0;
    uint32_t identity = 0;  // of who began it
    uint64_t generation = 0;
    double last_seen_s = 0;
    uint64_t packets = 0;
    bool fin = false, rst = false, data = false;
  };
  struct Affinity {
    std::set<uint32_t> backend_ids;  // one of them
    double last_seen_s = 0;
  };
  struct Resolved {
    std::string reason;  // empty: `to`
    Side to;
    uint32_t identity = 0;
    bool outside = false;  // of the cluster
  };
  struct Selected {
    std::string reason;  // empty: `backend_ids`
    const Frontend* frontend = nullptr;
    std::set<uint32_t> backend_ids;
  };
  std::vector<Expectation> Forward(const OraclePacket& packet, const Tuple& key);
  std::string CheckSource(const OraclePacket& packet, uint32_t* identity) const;
  // Empty: keep the entry; "again"; or a reason.
  std::string Review(const OraclePacket& packet, const Tuple& key, uint32_t identity);
  std::string JudgeAnswered(const Tuple& key, const Entry& answer) const;
  bool TellsAnother(const OraclePacket& packet, const Entry& entry) const;
  std::vector<Expectation> Begin(const OraclePacket& packet, const Tuple& key, uint32_t identity);
  std::optional<Selected> Select(const OraclePacket& packet, const Tuple& key) const;
  // `service`: of a flow through one.
  Resolved Resolve(const Side& from, const IpAddress& destination, bool service) const;
  Resolved ResolveOutside(const Side& from, const IpAddress& destination, bool service) const;
  // Empty, or a reason. Native: the sending node judges whose Service it was.
  std::string Vouch(Entry& entry, const Resolved& resolved) const;
  Packet Leaves(const Packet& packet, const Entry& entry, bool error) const;
  Side NodeOf(const IpAddress& pod) const;
  bool Admits(const Side& from, uint32_t identity, uint32_t source, bool through_service) const;
  void Enter(const Tuple& key, const Entry& forward, double now_s);
  void Delete(const Tuple& key);
  bool After(double last_seen_s, double seconds) const;
  bool Over(const Entry& entry) const;
  bool Finished(const Entry& entry) const;

  uint64_t generation_ = 0;
  double now_s_ = 0;
  mutable bool undecided_ = false;
  std::map<Tuple, Entry> table_;
  std::map<std::pair<uint32_t, IpAddress>, Affinity> affinity_;
};

}  // namespace mesh::dataplane::testing
