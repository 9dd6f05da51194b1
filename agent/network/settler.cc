// SPDX-License-Identifier: Apache-2.0
#include "agent/network/settler.h"

#include <algorithm>
#include <string>

#include "common/log.h"

namespace mesh::agent {

void Settler::Attached() {
  if (!due_) since_ = loop_->Now();
  due_ = true;
  Touch();
}

void Settler::Touch() {
  touched_ = loop_->Now();
  Plan();
}

void Settler::Plan() {
  loop_->Cancel(timer_);
  if (!due_ || running_) return;
  const absl::Time quiet = std::min(touched_ + kQuiet, since_ + kLatest);
  timer_ = loop_->RunAt(std::max({quiet, not_before_, loop_->Now()}), [this] { Settle(); });
}

void Settler::Settle() {
  running_ = true;
  due_ = false;  // whoever comes from here on says so
  settle_([this](absl::StatusOr<bool> more) { Settled(more); });
}

void Settler::Settled(const absl::StatusOr<bool>& more) {
  running_ = false;
  if (!more.ok() && more.status() != last_status_)
    spdlog::warn("network: a pod's programs stay where they are slower: {}",
                 std::string(more.status().message()));
  last_status_ = more.status();
  not_before_ = loop_->Now() + (more.ok() ? kPause : kRetry);
  // `since_` stays: those left over have waited as long.
  due_ = due_ || !more.ok() || *more;
  Plan();
}

}  // namespace mesh::agent
