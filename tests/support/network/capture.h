// SPDX-License-Identifier: Apache-2.0
// What comes in by some interfaces during a test, judged by a program that knows nothing of ours:
// tshark decodes every packet and checks every checksum.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"
#include "tests/support/network/network.h"

namespace mesh::testing {

// Thread: calls of one thread; a thread of its own writes. The file has no name unless something
// is wrong with it.
class Capture {
 public:
  static absl::StatusOr<std::unique_ptr<Capture>> Make();
  ~Capture();

  // Takes down what `interface` receives from now on, but what is addressed to another machine. A
  // checksum that is left to a card is filled in, as the card would.
  absl::Status Tap(const Netns& netns, const std::string& interface);
  // REQUIRES: all taps are there.
  void Begin();

  uint64_t packets() const { return packets_; }  // so far

  // Ends the capture. OK: nothing is malformed and every checksum is right. DATA_LOSS names the
  // file and shows the first packets that are not. UNAVAILABLE: there is no tshark.
  enum class Keep { kNever, kWhenBad };
  absl::Status Judge(Keep keep = Keep::kWhenBad);

 private:
  Capture() = default;
  void Run();
  void Drain(int tap);
  void End();

  std::string path_;
  UniqueFd file_, end_;
  std::vector<UniqueFd> taps_;
  std::vector<char> buffer_;
  std::atomic<uint64_t> packets_ = 0;
  std::string error_;
  std::thread thread_;
};

}  // namespace mesh::testing
