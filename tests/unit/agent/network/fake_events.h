// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "dataplane/flow_events.h"

namespace mesh::agent {

// What the kernel's ring is in the product.
struct FakeRing {
  absl::Mutex mutex;
  std::vector<dataplane::FlowEvent> events;
  dataplane::FlowLoss loss;
  absl::Status broken;
  bool woken = false, drops = false, flows = false;

  void Tell(std::vector<dataplane::FlowEvent> more) {
    absl::MutexLock lock(&mutex);
    events.insert(events.end(), more.begin(), more.end());
  }
  bool Due() const { return woken || !events.empty() || !broken.ok(); }
  bool Listens(bool to_flows) {
    absl::MutexLock lock(&mutex);
    return drops && flows == to_flows;
  }
};

class FakeEvents : public dataplane::FlowEvents {
 public:
  explicit FakeEvents(FakeRing* ring) : ring_(ring) {}
  absl::Status Listen(bool drops, bool flows) override {
    absl::MutexLock lock(&ring_->mutex);
    ring_->drops = drops;
    ring_->flows = flows;
    return absl::OkStatus();
  }
  absl::Status Read(absl::Duration,
                    const std::function<void(const dataplane::FlowEvent&)>& visit) override {
    std::vector<dataplane::FlowEvent> some;
    {
      absl::MutexLock lock(&ring_->mutex);
      ring_->mutex.Await(absl::Condition(ring_, &FakeRing::Due));
      ring_->woken = false;
      some.swap(ring_->events);
      if (!ring_->broken.ok()) return ring_->broken;
    }
    for (const dataplane::FlowEvent& event : some) visit(event);
    return absl::OkStatus();
  }
  void Wake() override {
    absl::MutexLock lock(&ring_->mutex);
    ring_->woken = true;
  }
  absl::StatusOr<dataplane::FlowLoss> Loss() const override {
    absl::MutexLock lock(&ring_->mutex);
    return ring_->loss;
  }

 private:
  FakeRing* const ring_;
};

}  // namespace mesh::agent
