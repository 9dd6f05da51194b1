// SPDX-License-Identifier: Apache-2.0
// The node's network as the rest of the agent sees it: the dataplane, the CNI server and the
// resolver, on a thread of their own ("net").
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/network/warning.h"
#include "agent/state/node_state.h"
#include "common/metrics.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// Whether established flows from outside are forwarded by XDP on the uplink. kAuto: where the
// driver is one of a device, and not of a software interface.
enum class XdpMode : uint8_t { kAuto, kOn, kOff };

struct NetworkOptions {
  std::string node_name;
  std::string node_ip;   // tunnel source, an address of this network namespace
  std::string node_ip6;  // beside it on the uplink; empty: none
  std::string run_dir;   // <run_dir>/cni.sock (0600), kept attachments
  std::string bpf_root = "/sys/fs/bpf";
  std::string cni_bin_dir = "/opt/cni/bin";
  std::string cni_conf_dir = "/etc/cni/net.d";
  std::string cni_binary;  // the mesh-cni to install; empty: beside this executable
  std::string resolv_conf = "/etc/resolv.conf";  // for upstream name servers
  XdpMode xdp = XdpMode::kAuto;
  std::set<uint16_t> own_ports;  // as NodeConfig has them
  // Between looks at who has all it may have, and at who listens on the node.
  absl::Duration quota_interval = absl::Seconds(5);
  // A dataplane that fails for longer holds no pod back any more: revisions count as reached, with
  // the error, while it is tried again. A pod without a network of its own is refused by ADD, and
  // one whose namespace's isolation is not in the maps.
  absl::Duration pods_wait = absl::Seconds(10);
};

// What the node's network counts.
struct NetworkFigures {
  bool ready = false;
  // metrics, maps, dns_counters and, of the connection tables, entries and max_entries.
  v1::DataplaneNode rows;
  // What meshd has sent and what the maps hold.
  int64_t newest_revision = 0, applied_revision = 0;
  // When the maps were last brought to a state; InfinitePast: never.
  absl::Time applied_at = absl::InfinitePast();
  uint64_t applies = 0, failed_applies = 0;
  absl::Duration apply_time;  // of all of them
  // Connections that clients of this node have open, those with most first.
  struct ServiceConnections {
    std::string ns, service;
    uint32_t connections = 0;
  };
  std::vector<ServiceConnections> services;
  // What was begun through Services at this node, those with most first.
  struct ServiceTraffic {
    std::string ns, service;
    uint64_t connections = 0;
    DurationHistogram handshakes;  // of TCP: from the first SYN to its first answer
  };
  std::vector<ServiceTraffic> traffic;
  // Packets that no rule of the policies allowed that select a pod, those with most first.
  struct PolicyDrops {
    std::string ns, policies;  // "allow-web,default-deny"
    bool egress = false;
    uint64_t packets = 0;
  };
  std::vector<PolicyDrops> policy_drops;
};

// Thread-safe. Pods of the node keep their network when this is destroyed.
class Network {
 public:
  // Starts the thread and the CNI server at once (STATUS answers 50 until the first Apply). With a
  // checkpointed state given, the dataplane is brought up from it before this returns; afterwards,
  // where an agent before this one has left a network that goes on without (see TakingOver()).
  // FAILED_PRECONDITION names the missing kernel feature or privilege and the way out.
  static absl::StatusOr<std::unique_ptr<Network>> Start(NetworkOptions options,
                                                        NodeStatePtr initial);
  // Takes all of it away from the node: interfaces (also those of pods, which are cut off),
  // programs, maps, routes and routing rules. FAILED_PRECONDITION: an agent with this run folder
  // runs; of one with another folder nothing is known here.
  static absl::Status Remove(const std::string& run_dir, const std::string& bpf_root);
  virtual ~Network() = default;

  // Programs the maps and the resolver with `state` (states that arrive while one is being applied
  // are coalesced to the newest). `done` runs on the net thread with the revision the maps then
  // hold (but see NetworkOptions::pods_wait) and what of `state` could not be programmed. After an
  // error that may pass the state is tried again with growing delays, and the newest `done` runs
  // after each try until one succeeds.
  virtual void Apply(NodeStatePtr state,
                     std::function<void(int64_t revision, absl::Status)> done) = 0;

  // Name server address for pods (the gateway); empty until configured.
  virtual std::string PodNameServer() const = 0;
  // True when CNI ADD can be served.
  virtual bool Ready() const = 0;
  // True until the network that an agent before this one has left is taken over, which takes the
  // verifier's time, or cannot be: packets are forwarded as it was last told.
  virtual bool TakingOver() const { return false; }
  // What the node cannot do for want of something on this machine, for people; empty: nothing.
  virtual std::string Shortfall() const { return {}; }
  // Why the node does not follow the MTU of its uplink, and the way out; empty: it does.
  virtual std::string UplinkTrouble() const { return {}; }
  // What of the policies is not in force, why, and what holds instead; empty: all are.
  virtual std::string PolicyTrouble() const { return {}; }
  // Who is told, on the net thread, of what pods of this node and Services run into. Nobody at
  // first; null: nobody any more, from when this returns.
  virtual void OnWarning(std::function<void(const NetworkWarning&)>) {}
  // Blocks for some milliseconds, and for as long as it takes to count the rows of large maps, up
  // to a tenth of a second; nothing waits for that but the caller.
  virtual NetworkFigures Figures() { return {}; }
  // The network namespace of a pod of this node, as the container runtime gave it. NOT_FOUND: it
  // has none (yet).
  virtual absl::StatusOr<std::string> PodNetns(const std::string& ns, const std::string& pod) {
    return absl::NotFoundError("pod " + ns + "/" + pod + " has no network on this node");
  }
  // Rows of the kernel maps, with the names known from the state. Blocks up to some milliseconds.
  virtual v1::DataplaneNode ListDataplane(const v1::ListDataplaneRequest& request) = 0;
  // What becomes of a packet here. FAILED_PRECONDITION until the dataplane is set up; NOT_FOUND: no
  // such pod on this node. Blocks for milliseconds, the first time for the verifier's time.
  virtual absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest&) {
    return absl::UnimplementedError("this network cannot trace packets");
  }
  // Flows for people: see flow_stream.h. Blocks until `cancelled`, or until all is told.
  // FAILED_PRECONDITION until the dataplane is set up.
  virtual absl::Status Flows(const v1::FlowsRequest&,
                             const std::function<bool(const v1::FlowsChunk&)>& /*write*/,
                             const std::function<bool()>& /*cancelled*/) {
    return absl::UnimplementedError("this network cannot tell flows");
  }
};

}  // namespace mesh::agent
