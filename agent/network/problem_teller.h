// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/network/desired_state.h"
#include "agent/network/warning.h"
#include "dataplane/dataplane.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// What does not hold on this node: host ports and Services that cannot be served, and the policies
// of `refusal`.
std::set<NetworkWarning> ProblemsOf(const DesiredStateBuilder& builder,
                                    const dataplane::Dataplane& dataplane,
                                    const std::optional<v1::PolicyRefusal>& refusal);

// Tells of problems once each while they hold, and again after some time, because events do not
// last for ever. Thread-safe; calls whom it tells under its lock.
class ProblemTeller {
 public:
  using Told = std::function<void(const NetworkWarning&)>;

  // Null: nobody any more, from when this returns.
  void SetTold(Told told);
  // All that hold now.
  void Tell(const std::set<NetworkWarning>& now);
  // Told at once, each time.
  void TellOne(const NetworkWarning& warning);

 private:
  absl::Mutex mutex_;
  Told tell_ ABSL_GUARDED_BY(mutex_);
  std::map<NetworkWarning, absl::Time> told_ ABSL_GUARDED_BY(mutex_);  // and when
};

}  // namespace mesh::agent
