// SPDX-License-Identifier: Apache-2.0
// One node with real programs, tables and links for packets that BPF_PROG_TEST_RUN sends, and the
// ways that established flows take through it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "dataplane/model/state.h"
#include "tests/bench/node.h"
#include "tests/bench/packet_run.h"
#include "tests/bench/topology.h"
#include "tests/support/packet/packet.h"

namespace mesh::bench {

// What a node is measured with.
struct Kind {
  dataplane::Family family = dataplane::Family::kV4;
  dataplane::Routing routing = dataplane::Routing::kVxlan;
  bool is_v4() const { return family == dataplane::Family::kV4; }
  bool is_native() const { return routing == dataplane::Routing::kNative; }
};

// One node with two pods, and a neighbour that is only an entry in its tables.
struct PacketNode {
  Kind kind;
  BenchNode node;
  dataplane::Endpoint client, server;
  UniqueFd from_pod, overlay, uplink;
  UniqueFd uplink_xdp;  // -1: there is none
  int vxlan_ifindex = 0, uplink_ifindex = 0;
  UniqueFd flows;  // the map
};

// Namespaces and pins are named `name`. `others` Services of `endpoints` backends stand beside
// those that are dialled.
absl::StatusOr<PacketNode> MakePacketNode(Namespaces& spaces, const std::string& bpf_root,
                                          const std::string& name, const Kind& kind, int others,
                                          int endpoints);

// How a packet leaves.
enum class Form : uint8_t {
  kPlain,
  // In a tunnel whose headers the program wrote. The first packet of each second of a flow goes
  // plain to the kernel's tunnel, which looks after the next hop (bpf/lib/encap.h).
  kTunnelled,
};

// A packet of an established flow and what must become of it.
struct Trip {
  std::string name;
  Arrival arrival;
  mesh::testing::Packet in, out;
  int verdict = 0;
  Form form = Form::kPlain;
};

// Packets are those of IPv4 in all kinds: the frames are translated
// (tests/support/packet/family.h).
std::string FrameOf(const Kind& kind, const mesh::testing::Packet& packet);

// What became of a frame of `in_bytes`. DATA_LOSS names the length or checksum that is wrong,
// inside or outside.
struct Outcome {
  Form form = Form::kPlain;
  mesh::testing::Packet packet;
};
absl::StatusOr<Outcome> OutcomeOf(const std::string& frame, size_t in_bytes);

// Whether a frame that was `in_bytes` long has got a tunnel's headers; cheap, checks nothing else.
bool IsTunnelled(const std::string& frame, size_t in_bytes);

// Runs the packet of `trip` once and compares. `form` says how it came out: the one it should, or
// for kTunnelled also plain. Caller is in the node's namespace.
absl::StatusOr<Form> CheckTrip(PacketRun& run, const Kind& kind, const Trip& trip);

// Every way of an established flow, whose handshake has been made by sending it through the
// programs. Caller is in the node's namespace.
absl::StatusOr<std::vector<Trip>> MakeTrips(PacketRun& run, const PacketNode& node);

}  // namespace mesh::bench
