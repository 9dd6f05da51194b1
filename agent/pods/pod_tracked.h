// SPDX-License-Identifier: Apache-2.0
// Private to PodReconciler's .cc files: what it holds of one pod, and one look at the runtime.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/pods/pod_reconciler.h"

namespace mesh::agent {

// The event of an exit comes before the runtime's own books show it: look again that soon, and less
// and less often, for so long (the relist is behind it).
inline constexpr absl::Duration kExitRecheckFirst = absl::Milliseconds(2);
inline constexpr absl::Duration kShownRecheck = absl::Milliseconds(100);
inline constexpr absl::Duration kExitRecheckMax = absl::Milliseconds(250);
inline constexpr absl::Duration kExitRecheckFor = absl::Seconds(10);

// Between tries to make a container from an image that is there; longer and longer, as of pulls.
inline constexpr absl::Duration kCreateDelayFirst = absl::Seconds(1);

// Of an action that starts this container, whatever step it is at.
inline std::string RunKey(const std::string& container) { return "run " + container; }

struct PodReconciler::Tracked {
  std::string uid, ns, name;
  bool desired = false;
  Shared<v1::Pod> pod;  // meaningful when it was desired once
  ObservedPod observed;
  bool observed_once = false;
  bool observing = false, observe_again = false;
  // Actions that have finished, and how many of them `observed` is sure to show: nothing is done on
  // the ground of an observation that may be older than what was done.
  int64_t finished = 0, finished_seen = 0;
  PodMemory memory;
  std::map<std::string, absl::Time> stopping;  // container id -> deadline of the call in flight
  std::set<std::string> in_flight;             // keys of other actions
  std::set<std::string> killing_told;
  absl::Time stopping_since = absl::InfiniteFuture();
  struct Exit {
    absl::Time told_at;
    int exit_code = 0;
    absl::Time exited_at;
  };
  std::map<std::string, Exit> exits;  // by id: told, and not seen yet
  absl::Duration recheck_delay = kExitRecheckFirst;
  TimerId recheck_timer = 0;
  TimerId timer = 0;
  v1::PodStatus status;
  std::string reported;  // serialized
  bool gone_reported = false;
  CriClient::Cancel cancel_pull;
  std::map<std::string, absl::Duration> next_delay;  // by container, of the start in flight

  bool past_deadline = false;  // activeDeadlineSeconds

  bool knows_spec() const { return !pod->metadata().uid().empty(); }
  bool must_stop() const { return !desired || pod->metadata().has_deletion_timestamp(); }
  // Nothing of it is started any more.
  bool ending() const { return must_stop() || past_deadline; }
  bool busy() const { return !in_flight.empty() || !stopping.empty(); }
};

struct PodReconciler::Observation {
  std::vector<cri::PodSandbox> sandboxes;
  std::vector<cri::Container> containers;
  ObservedPod result;
  int64_t finished = 0;  // actions before it began
  int pending = 0;
  absl::Status error;
};

// Puts one more failed try on record: the delay doubles from `first` to `cap`.
inline void NoteFailure(Retry& retry, std::string reason, std::string message, absl::Duration first,
                        absl::Duration cap, absl::Time now) {
  retry.delay = retry.delay == absl::ZeroDuration() ? first : std::min(retry.delay * 2, cap);
  retry.reason = std::move(reason);
  retry.message = std::move(message);
  retry.failed_at = now;
  retry.next_at = now + retry.delay;
}

inline std::string Text(const absl::Status& status) { return std::string(status.message()); }

}  // namespace mesh::agent
