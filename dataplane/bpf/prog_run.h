// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace mesh::dataplane {

struct ProgRunRequest {
  std::string packet;  // an Ethernet frame
  int ifindex = 0;     // it arrives there; an interface of the caller's network namespace
  std::array<uint32_t, 2> cb{};
  uint32_t repeat = 1;  // the packet is not restored between the rounds
  bool xdp = false;     // `ifindex` has an XDP program in its driver; no cb
};

struct ProgRunResult {
  int verdict = 0;  // TC_ACT_*, XDP_*
  std::string packet;
  uint32_t duration_ns = 0;  // of one round
};

// Runs a loaded tc or XDP program on a packet, without a network. Maps change as they would.
absl::StatusOr<ProgRunResult> ProgRun(int program_fd, const ProgRunRequest& request);

}  // namespace mesh::dataplane
