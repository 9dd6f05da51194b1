// SPDX-License-Identifier: Apache-2.0
// Follows the MTU of the node's uplink, which may change under what runs.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/event_loop.h"

namespace mesh::agent {

// Thread: the loop's.
class UplinkWatch {
 public:
  struct Hooks {
    // The MTU of the uplink as it is; an error: there is none at the moment.
    std::function<absl::StatusOr<int>()> read;
    // See Dataplane::SetUplinkMtu().
    std::function<absl::Status(int mtu)> apply;
    // What is not as it should be, with the way out, each time that it changes; empty: nothing.
    std::function<void(const std::string& trouble)> tell;
  };

  // Applies what it finds first, also to what an agent before this one has made. `name`: of the
  // uplink, for people.
  UplinkWatch(EventLoop* loop, std::string name, Hooks hooks);
  ~UplinkWatch();
  UplinkWatch(const UplinkWatch&) = delete;
  UplinkWatch& operator=(const UplinkWatch&) = delete;

  // When a link of the node may have changed.
  void Look();

 private:
  void SetTrouble(std::string trouble);

  EventLoop* const loop_;
  const std::string name_;
  const Hooks hooks_;
  std::optional<int> in_force_;  // unset: not known, or only in part
  std::string trouble_;
  TimerId retry_ = 0;
};

}  // namespace mesh::agent
