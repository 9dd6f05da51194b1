// SPDX-License-Identifier: Apache-2.0
// What becomes of one packet at one node, without sending it: asked of the real programs and the
// live maps. Headers only; dataplane/trace/kernel_tracer.h asks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh::dataplane {

// A packet as it comes to the programs.
struct TracePacket {
  enum class Hook : uint8_t { kFromPod, kNode, kOverlay, kUplink };
  Hook hook = Hook::kFromPod;
  int ifindex = 0;    // kFromPod: the host side of the pod's veth
  std::string frame;  // Ethernet; of kOverlay the inner one
  uint32_t vni = 0;   // kOverlay
  IpAddress peer;     // kOverlay: the node that sent it
};

// One decision: a number of mesh_trace_step and what it is about (mesh/shared/trace.h).
struct TraceNote {
  uint32_t step = 0, a = 0, b = 0, c = 0;
};

// How the packet leaves.
struct TraceWay {
  uint8_t target = 0;  // MESH_TARGET_*; 0: it does not
  IpAddress source, destination;
  uint16_t source_port = 0, destination_port = 0;
  uint32_t ifindex = 0;
  IpAddress peer;  // the node that gets it; unset: none
  uint32_t vni = 0;
  uint32_t service_id = 0, backend_id = 0;
  uint8_t flags = 0;  // MESH_FLOW_*
};

struct TraceBackend {
  IpAddress ip;
  uint16_t port = 0;
};

struct TraceOutcome {
  int verdict = 0;  // TC_ACT_*
  std::vector<TraceNote> notes;
  TraceWay way;
  std::map<uint32_t, TraceBackend> backends;  // those that notes are about, by number
  std::string frame;                          // as it leaves, without the tunnel's headers
};

// Thread-safe. Lives on, with the maps of the dataplane it is of, when that one is gone.
class Tracer {
 public:
  virtual ~Tracer() = default;
  // The maps are afterwards as they were. The first packet of a hook costs the verifier's time.
  // INVALID_ARGUMENT: no such interface, or IPv6 on a node without.
  virtual absl::StatusOr<TraceOutcome> Trace(const TracePacket& packet) = 0;
  // Spends that time now, for pods' packets and those of other nodes. Thread-safe.
  virtual absl::Status Prepare() { return absl::OkStatus(); }
};

}  // namespace mesh::dataplane
