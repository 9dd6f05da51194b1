// SPDX-License-Identifier: Apache-2.0
// What the programs tell of flows as they are opened, closed and refused. Header only;
// dataplane/kernel_flow_events.h reads the kernel's ring.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/ip_address.h"

namespace mesh::dataplane {

struct FlowEvent {
  enum class Kind : uint8_t { kOpened = 1, kClosed = 2, kDropped = 3, kRefused = 4 };
  Kind kind = Kind::kOpened;
  int64_t time_ns = 0;  // of CLOCK_MONOTONIC
  // As it was sent; unset ("::") where the packet was not read.
  IpAddress source, destination;
  uint16_t source_port = 0, destination_port = 0;
  uint8_t protocol = 0;
  // As it leaves, and who serves it; unset: not decided.
  IpAddress translated_source, server;
  uint16_t translated_source_port = 0, server_port = 0;
  uint32_t service_id = 0;  // 0: of no Service here
  uint8_t target = 0;       // MESH_TARGET_*
  uint8_t reason = 0;       // MESH_REASON_*; of what was dropped
  bool to_pod = false;      // of what was dropped: the receiver's side, not the sender's
  uint8_t tcp_flags = 0;
  uint32_t source_identity = 0, server_identity = 0, rule = 0;  // 0: not known
  uint64_t packets = 0, bytes = 0;
};

// Since the maps were made; all CPUs.
struct FlowLoss {
  uint64_t ring = 0;        // no room for a record
  uint64_t suppressed = 0;  // drops beyond what a CPU tells
  friend bool operator==(const FlowLoss&, const FlowLoss&) = default;
};

// Lives on, with the maps of the dataplane it is of, when that one is gone.
class FlowEvents {
 public:
  virtual ~FlowEvents() = default;
  // From now on the programs tell of drops, of flows, of both or of nothing. Thread-safe.
  virtual absl::Status Listen(bool drops, bool flows) = 0;
  // Waits until there is something or Wake() was called; after `gather`, in which more may come,
  // hands over what is there. One thread.
  virtual absl::Status Read(absl::Duration gather,
                            const std::function<void(const FlowEvent&)>& visit) = 0;
  // Ends the wait of this Read() or the next. Thread-safe.
  virtual void Wake() = 0;
  // Thread-safe.
  virtual absl::StatusOr<FlowLoss> Loss() const = 0;
};

}  // namespace mesh::dataplane
