// SPDX-License-Identifier: Apache-2.0
// Packets through loaded programs by BPF_PROG_TEST_RUN, each repetition with the packet as it
// arrives (progs/front.bpf.c).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace mesh::bench {

enum class Hook : uint8_t { kTc, kXdp };

// How frames come to a program.
struct Arrival {
  Hook hook = Hook::kTc;
  int program_fd = -1;
  int ifindex = 0;  // of the caller's network namespace
  uint32_t vni = 0;
  uint32_t tunnel_peer = 0;       // host order; 0: not out of a tunnel
  uint32_t tunnel_self = 0;       // with it: this node's address
  bool for_another_host = false;  // the frame's destination is not the interface's address
};

struct RunResult {
  int verdict = 0;
  std::string frame;
};

// Thread: one.
class PacketRun {
 public:
  static absl::StatusOr<std::unique_ptr<PacketRun>> Open();
  ~PacketRun();

  // Once. Frames have 96 bytes at least.
  absl::StatusOr<RunResult> Once(const Arrival& arrival, const std::string& frame);

  // Nanoseconds per packet of `repeat` packets, the front's own cost included; `arrival.program_fd`
  // -1 is the front alone.
  absl::StatusOr<double> Time(const Arrival& arrival, const std::vector<std::string>& frames,
                              int repeat);

  // As Time(), each run with an skb of its own, as the kernel hands over a new one for each packet:
  // what it notes of a packet beside the bytes (that it is in a tunnel) no program can take back.
  // `counts` looks at a run's result, after the clock; the median is that of the runs which count.
  struct EachTime {
    double median_ns = 0;
    int runs = 0, counted = 0;
  };
  using Counts = std::function<bool(const RunResult&)>;
  absl::StatusOr<EachTime> TimeEach(const Arrival& arrival, const std::string& frame, int runs,
                                    const Counts& counts);

  // A step of progs/primitives.bpf.c, "hash".
  absl::StatusOr<int> Step(const std::string& name) const;
  static constexpr int kStepRepeats = 8;

 private:
  struct Skeletons;
  explicit PacketRun(std::unique_ptr<Skeletons> skeletons);
  absl::Status Prepare(const Arrival& arrival, const std::vector<std::string>& frames);
  absl::Status SetNext(const Arrival& arrival);

  std::unique_ptr<Skeletons> skeletons_;
};

// The youngest loaded program `name` that uses the map pinned at `map_path`, as it is attached.
// NOT_FOUND: none.
absl::StatusOr<UniqueFd> OpenProgram(const std::string& name, const std::string& map_path);

}  // namespace mesh::bench
