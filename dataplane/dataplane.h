// SPDX-License-Identifier: Apache-2.0
// The packet path of one node, as the agent sees it.
//
// Implementations: KernelDataplane (kernel_dataplane.h), FakeDataplane (fake_dataplane.h).
// Thread: one, the caller's, but for Settle(); calls block on syscalls (microseconds to a few
// milliseconds). Restart: maps and programs are pinned under <pin_root>/mesh/v<ABI>; Open() adopts
// them, so packets flow while no agent lives. Nothing is removed before a complete DesiredState has
// been applied.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/unique_fd.h"
#include "dataplane/flow_events.h"
#include "dataplane/model/state.h"
#include "dataplane/policy/policy_rows.h"
#include "dataplane/trace/trace.h"

namespace mesh::dataplane {

// How a pod's network namespace is to be wired.
struct AttachRequest {
  std::string netns;   // path, for example /proc/123/ns/net or /run/netns/x
  std::string ifname;  // inside, for example "eth0"
  IpAddress ip;        // of the pod; its mask is /32, its gateway NodeConfig::gateway
  uint32_t identity = 0;
  std::string ns, pod, container_id;  // for people and for finding it again
  // Bits a second that the pod may send and receive; 0: no limit.
  uint64_t egress_bandwidth = 0, ingress_bandwidth = 0;
  IpAddress ip6;  // unset: none; else as `ip`, with /128 and NodeConfig::gateway6
};

// An interface that Attach() has made.
struct PodInterface {
  std::string container_id, ifname;
  std::string netns;  // path
};

struct ServiceRow {
  IpAddress vip;  // AnyAddress(): any address of the node
  uint16_t port = 0;
  Protocol protocol = Protocol::kTcp;
  uint32_t service_id = 0;
  std::string ns, name;  // empty when the agent does not know the id
  std::vector<uint32_t> backend_ids;
  FrontendKind kind = FrontendKind::kUnknown;
  bool external = false;  // which of the port's two sets: NodePort and the like, or ClusterIP
  Algorithm algorithm = Algorithm::kRandom;
  uint32_t affinity_seconds = 0;
  bool source_ranges = false;
  bool direct_return = false;
};

struct BackendRow {
  uint32_t backend_id = 0;
  Backend backend;  // scopes: those of the sets it stands in; 0 while it drains
  Protocol protocol = Protocol::kTcp;
  std::string ns, service;
};

struct ConntrackRow {
  Protocol protocol = Protocol::kTcp;
  IpAddress source, destination;  // as the client dialled
  uint16_t source_port = 0, destination_port = 0;
  bool translated = false;
  bool masqueraded = false;  // a pod's, to the outside under the node's address
  bool one_way = false;      // answers do not come by this node (direct return)
  IpAddress backend;
  uint16_t backend_port = 0;
  std::string state;                // see mesh.v1.ConntrackRow.state
  absl::Duration expires_in, idle;  // idle: since its last packet
  uint64_t packets = 0, bytes = 0;  // both directions
};

// Which way the node's own routes take what one of its processes sends.
struct NodeRoute {
  bool served = false;    // to the programs; else past them
  std::string interface;  // "lo": it stays with the node's processes; empty: there is no route
  IpAddress gateway;      // unset: none
};

struct MetricRow {
  std::string reason;     // drop reason in lower case, "forwarded" or "forwarded_xdp"
  std::string direction;  // "egress" (from a pod), "ingress" (to a pod)
  uint64_t packets = 0, bytes = 0;
};

// Flows of the connection table by who answers for them: the pod that began them, else the pod they
// go to.
struct FlowOwner {
  IpAddress ip;  // of the pod in its table; unset: the node itself, and what it forwards
  std::string ns, pod;
  uint32_t flows = 0, limit = 0;  // beyond it new ones are refused; it moves with what is free
};
// Connections through a Service that clients of this node have open.
struct ServiceFlows {
  std::string ns, service;
  uint32_t flows = 0;
};
// What was begun through a Service at this node, since its programs were loaded.
struct ServiceTraffic {
  std::string ns, service;  // host ports have a slash in theirs
  uint64_t connections = 0;
  // TCP: from the first SYN to its first answer, by bucket (mesh/shared/service_traffic_map.h).
  std::vector<uint64_t> handshakes;
  absl::Duration handshake_time;  // of all of them
};
// Packets that no rule of a set allowed, since the set is in the maps.
struct PolicyDrops {
  uint32_t row = 0;  // in the kernel: another one for each time that the set was written
  uint32_t set = 0;  // number in DesiredState::policy_sets
  uint64_t packets = 0;
};
struct FlowUsage {
  uint32_t flows = 0, capacity = 0;
  uint32_t flows6 = 0, capacity6 = 0;  // of the table of IPv6; 0: there is none
  std::vector<FlowOwner> owners;       // those with most flows first
};

// A loaded program of the node.
struct ProgramRow {
  std::string name;                     // "mesh_from_pod"
  std::string hook;                     // "tc", "xdp", "cgroup"
  std::vector<std::string> interfaces;  // it stands at; none: the root of the control groups
  std::string family;                   // "IPv4", "IPv6", "both"
  std::string tag;
  uint32_t id = 0;
  uint32_t instructions = 0, machine_bytes = 0;
  uint64_t memory_bytes = 0;
  uint64_t runs = 0, run_time_ns = 0;  // as far as the kernel has counted: see CountRuns()
  absl::Time loaded;
};

struct MapRow {
  std::string name, type;
  uint32_t key_bytes = 0, value_bytes = 0;
  uint32_t entries = 0, max_entries = 0;
  uint64_t memory_bytes = 0;
  uint32_t id = 0;
};

// A row of a map in words, by the names and types of its fields.
struct MapEntryText {
  std::string key;
  std::vector<std::string> values;  // one per CPU, where each has its own
};
struct MapRows {
  std::vector<MapEntryText> rows;
  bool more = false;  // than the limit
};

// A Service, or a part of it, that a node cannot serve.
struct ServiceProblem {
  std::string ns, service, text;
};

struct MapUsage {
  uint32_t entries = 0, max_entries = 0;
};

class Dataplane {
 public:
  virtual ~Dataplane() = default;

  // Brings the maps to `desired`. Safe to repeat; referents are written before references and
  // removed after. On error the rest is still applied and the first error returned:
  // INVALID_ARGUMENT for what cannot be programmed as it is, others for what may work later.
  // Cost follows `desired.changed_services`; when it is unset, or the maps are not as they were
  // left, everything is looked at.
  virtual absl::Status Apply(const DesiredState& desired) = 0;

  // What the last Apply() has left undone, beside its answer:
  // Namespaces whose isolation could not be written: in the maps they have another, or it is not
  // known which. No pod of theirs should begin.
  virtual std::set<std::string> UnwrittenNamespaces() const { return {}; }
  // Services that cannot be served as they are, by name; host ports have a slash in theirs.
  virtual std::vector<ServiceProblem> ServiceProblems() const { return {}; }
  // Of the last Apply().
  virtual RefusedPolicies PolicyProblems() const { return {}; }

  // Creates the veth pair, moves one end into the namespace, sets addresses, routes and neighbours,
  // attaches the programs and enters the endpoint. The pod can send when it returns.
  // ALREADY_EXISTS: the interface name is taken there. Costs less than 5 ms; Settle() does the
  // rest.
  virtual absl::StatusOr<Endpoint> Attach(const AttachRequest& request) = 0;
  // Makes the way of one pod's packets shorter, which Attach() leaves for later because the kernel
  // holds its lock of all links meanwhile, some 10 ms for each family. Packets flow on. True while
  // there are more such pods. An error says why one has to be tried again. What an agent has not
  // done, Open() of the next one does. Thread-safe, beside other calls too.
  virtual absl::StatusOr<bool> Settle() { return false; }
  // Idempotent: removes endpoint, flows of its address and veth, whatever of them still exists.
  virtual absl::Status Detach(const std::string& container_id, const std::string& ifname) = 0;
  // The uplink carries IP packets of `uplink_mtu` bytes from now on. `pods`, those of this node,
  // pods to come, the node's own links, the tunnel and the programs follow, while packets flow.
  // When it is another one programs are loaded anew, which costs as much as an agent's start, and
  // an Apply() has to follow. Idempotent. INVALID_ARGUMENT: too
  // small for what the node carries; nothing is changed. Other errors: the first of what could not
  // follow.
  virtual absl::Status SetUplinkMtu(int uplink_mtu, const std::vector<PodInterface>& pods) = 0;
  // That of the programs.
  virtual int uplink_mtu() const = 0;
  // Compares interface, address, routes, programs and map entry with what Attach made.
  virtual absl::Status Check(const AttachRequest& request) = 0;

  // Read from the kernel, not from memory.
  virtual absl::StatusOr<std::vector<Endpoint>> Endpoints() const = 0;
  virtual absl::StatusOr<std::vector<ServiceRow>> Services() const = 0;
  virtual absl::StatusOr<std::vector<BackendRow>> Backends() const = 0;
  // Any thread: a full table takes a while, in which nobody else waits.
  virtual absl::StatusOr<std::vector<ConntrackRow>> Conntrack() const = 0;
  virtual absl::StatusOr<std::vector<Peer>> Tunnels() const = 0;
  // Of the sets that pods of this node have, by set and class.
  virtual absl::StatusOr<std::vector<PolicyClassRow>> Policies() const = 0;
  // How packets go to the nodes of Tunnels().
  virtual Routing routing() const = 0;
  // Of pods and gateways of other nodes; none where packets carry them.
  virtual absl::StatusOr<std::map<IpAddress, uint32_t>> Identities() const = 0;
  virtual absl::StatusOr<std::vector<ProgramRow>> LoadedPrograms() const = 0;
  // The kernel counts runs and their time, of all programs of the machine, while the answer lives.
  virtual absl::StatusOr<UniqueFd> CountRuns() const = 0;
  // Counts the rows: a tenth of a second for 10,000 Services with 10 backends each. Thread-safe,
  // beside other calls too.
  virtual absl::StatusOr<std::vector<MapRow>> LoadedMaps() const = 0;
  // NOT_FOUND names the maps there are.
  virtual absl::StatusOr<MapRows> RowsOf(const std::string& map, uint32_t limit) const = 0;
  virtual absl::StatusOr<std::vector<MetricRow>> Metrics() const = 0;
  virtual absl::StatusOr<FlowUsage> FlowOwners() const = 0;
  // Those with most first, as they were found a second ago, or some for tables of hundreds of
  // thousands.
  virtual std::vector<ServiceFlows> FlowsOfServices() const { return {}; }
  // Those with most connections first; none of Services that were never dialled.
  virtual absl::StatusOr<std::vector<ServiceTraffic>> TrafficOfServices() const {
    return std::vector<ServiceTraffic>();
  }
  // Of the sets that are in force; none of those that have dropped nothing.
  virtual absl::StatusOr<std::vector<PolicyDrops>> DropsOfPolicies() const {
    return std::vector<PolicyDrops>();
  }
  // NOT_FOUND: a table of IPv6 on a node without.
  enum class Table : uint8_t {
    kService,
    kBackend,
    kConntrack,
    kEndpoint,
    kTunnel,
    kService6,
    kBackend6,
    kConntrack6,
    kEndpoint6,
    kTunnel6,
  };
  // Any thread.
  virtual absl::StatusOr<MapUsage> Usage(Table table) const = 0;

  // What this node cannot do, in a sentence for people; empty: nothing. Fixed from the beginning.
  virtual std::string Shortfall() const { return {}; }

  // For questions about single packets. UNIMPLEMENTED: this dataplane cannot answer them.
  virtual absl::StatusOr<std::shared_ptr<Tracer>> PacketTracer() {
    return absl::UnimplementedError("this dataplane cannot trace packets");
  }

  // Of what goes to a port there; IPPROTO_* and port may be 0. Any thread.
  virtual absl::StatusOr<NodeRoute> RouteOf(const IpAddress& /*destination*/, uint8_t /*protocol*/,
                                            uint16_t /*port*/) const {
    return absl::UnimplementedError("this dataplane knows no routes");
  }

  // What the programs tell of flows. One at a time. UNIMPLEMENTED: they tell nothing.
  virtual absl::StatusOr<std::unique_ptr<FlowEvents>> OpenEvents() {
    return absl::UnimplementedError("this dataplane tells nothing of flows");
  }

  // Ends flows whose time is over; call it every second. Returns how many went.
  virtual absl::StatusOr<int> CollectGarbage() = 0;
};

}  // namespace mesh::dataplane
