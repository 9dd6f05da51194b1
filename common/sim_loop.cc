// SPDX-License-Identifier: Apache-2.0
#include "common/sim_loop.h"

#include <algorithm>

#include "common/check.h"

namespace mesh {

bool SimLoop::Step() {
  if (tasks_.empty()) return false;
  auto node = tasks_.extract(tasks_.begin());
  times_.erase(node.key().second);
  now_ = std::max(now_, node.key().first);
  node.mapped()();
  return true;
}

void SimLoop::RunFor(absl::Duration duration) {
  const absl::Time end = now_ + duration;
  while (!tasks_.empty() && tasks_.begin()->first.first <= end) Step();
  now_ = end;
}

bool SimLoop::RunUntil(const std::function<bool()>& done, absl::Duration limit) {
  const absl::Time end = now_ + limit;
  while (!done()) {
    if (tasks_.empty() || tasks_.begin()->first.first > end) return false;
    Step();
  }
  return true;
}

void SimLoop::Post(Task task) { RunAt(now_, std::move(task)); }

TimerId SimLoop::RunAt(absl::Time when, Task task) {
  const TimerId id = next_++;
  when = std::max(when, now_);
  tasks_.emplace(std::make_pair(when, id), std::move(task));
  times_.emplace(id, when);
  return id;
}

void SimLoop::Cancel(TimerId id) {
  auto it = times_.find(id);
  if (it == times_.end()) return;
  tasks_.erase({it->second, id});
  times_.erase(it);
}

void SimLoop::WatchReadable(int, Task) { MESH_CHECK(false) << "no file events in the simulation"; }
void SimLoop::Unwatch(int) { MESH_CHECK(false) << "no file events in the simulation"; }

}  // namespace mesh
