// SPDX-License-Identifier: Apache-2.0
// Pods that have taken more of the node's disk than they may.
#include <utility>
#include <vector>

#include "agent/pods/disk_watch.h"
#include "agent/pods/pod_reconciler.h"
#include "agent/pods/pod_tracked.h"
#include "common/log.h"

namespace mesh::agent {

void PodReconciler::MeasureDisks() {
  std::vector<DiskLimit> limits;
  for (const auto& [uid, t] : pods_) {
    const std::string& phase = t->pod->status().phase();
    if (!t->desired || t->must_stop() || !t->memory.evicted.empty()) continue;
    if (phase == "Succeeded" || phase == "Failed") continue;
    for (DiskLimit& limit : DiskLimitsOf(*t->pod, options_.config.files_root)) {
      limits.push_back(std::move(limit));
    }
  }
  if (limits.empty()) return;
  disks_.Measure(std::move(limits), [this](std::vector<DiskLimit> over) {
    loop_->Post([this, over = std::move(over)] {
      for (const DiskLimit& limit : over) Evict(limit.uid, EvictionMessage(limit));
    });
  });
}

void PodReconciler::Evict(const std::string& uid, const std::string& why) {
  Tracked* t = Find(uid);
  if (t == nullptr || t->must_stop() || !t->memory.evicted.empty()) return;
  spdlog::warn("pod {}/{} is evicted: {}", t->ns, t->name, why);
  t->memory.evicted = why;
  Emit(*t, "Warning", "Evicted", why);
  Step(*t);
}

}  // namespace mesh::agent
