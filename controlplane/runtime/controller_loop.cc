// SPDX-License-Identifier: Apache-2.0
#include "controlplane/runtime/controller_loop.h"

#include <algorithm>
#include <string>
#include <utility>

#include "common/log.h"
#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {
namespace {

// Whose object a write creates; without a kind where that is nobody's.
v1::ObjectReference CreatorOf(const Write& write) {
  if (write.type != Write::Type::kCreate) return {};
  const v1::ObjectMeta& meta = MetaOf(write.resource);
  const v1::OwnerReference* owner = ControllerOf(meta);
  if (owner == nullptr) return {};
  v1::ObjectReference out;
  out.set_api_version(owner->api_version());
  out.set_kind(owner->kind());
  out.set_name(owner->name());
  out.set_uid(owner->uid());
  out.set_namespace_(meta.namespace_());
  return out;
}

}  // namespace

// A step whose writes are on their way.
struct ControllerLoop::StepState {
  ObjectKey key;
  ReconcileResult result;
  std::vector<Write> last;  // status writes, after all others
  int open = 0;
  absl::Status status;  // first failure
};

ControllerLoop::ControllerLoop(EventLoop& loop, const WatchCache& cache, Writer& writer,
                               const Controller& controller, Random random,
                               ControllerLoopOptions options)
    : loop_(loop),
      cache_(cache),
      writer_(writer),
      controller_(controller),
      random_(random),
      options_(options) {}

ControllerLoop::~ControllerLoop() {
  *alive_ = false;
  for (auto& [key, state] : keys_)
    if (state.timer != 0) loop_.Cancel(state.timer);
}

void ControllerLoop::OnChange(const Change& change) {
  for (const ObjectKey& key : controller_.Affected(cache_.state(), change)) MarkDirty(key);
}

void ControllerLoop::MarkDirty(const ObjectKey& key) {
  KeyState& state = keys_.try_emplace(key, options_.backoff).first->second;
  if (state.running) {
    state.dirty = true;
    return;
  }
  if (state.queued) return;
  state.queued = true;
  queue_.push_back(key);
  Schedule();
}

void ControllerLoop::Schedule() {
  if (scheduled_) return;
  scheduled_ = true;
  loop_.Post([this, alive = alive_] {
    if (*alive) Turn();
  });
}

void ControllerLoop::Turn() {
  scheduled_ = false;
  for (int i = 0; i < options_.keys_per_turn && HasRoom() && !queue_.empty(); ++i) {
    const ObjectKey key = std::move(queue_.front());
    queue_.pop_front();
    KeyState& state = keys_.at(key);
    state.queued = false;
    Step(key, &state);
  }
  // Otherwise the next step that ends goes on.
  if (HasRoom() && !queue_.empty()) Schedule();
}

void ControllerLoop::Step(const ObjectKey& key, KeyState* key_state) {
  if (key_state->timer != 0) loop_.Cancel(std::exchange(key_state->timer, 0));
  ++stats_.steps;
  auto step = std::make_shared<StepState>();
  step->key = key;
  step->result = controller_.Reconcile(cache_.state(), key, loop_.Now());
  key_state->running = true;
  ++running_;
  std::vector<Write> first;
  for (Write& write : step->result.writes) {
    auto& order = write.type == Write::Type::kUpdateStatus ? step->last : first;
    order.push_back(std::move(write));
  }
  step->result.writes.clear();
  if (first.empty()) std::swap(first, step->last);
  SubmitAll(step, std::move(first));
}

void ControllerLoop::SubmitAll(const std::shared_ptr<StepState>& step, std::vector<Write> writes) {
  if (writes.empty()) return Finish(step);
  step->open = static_cast<int>(writes.size());
  stats_.writes += step->open;
  for (Write& write : writes) {
    const v1::ObjectReference creator = CreatorOf(write);
    writer_.Submit(std::move(write), [this, alive = alive_, step, creator](auto written) {
      if (!*alive) return;
      if (absl::IsPermissionDenied(written.status()) && !creator.kind().empty()) {
        writer_.Note({creator, "Warning", "FailedCreate",
                      "Error creating: " + std::string(written.status().message())});
      }
      OnWritten(step, written.status());
    });
  }
}

void ControllerLoop::OnWritten(const std::shared_ptr<StepState>& step, const absl::Status& status) {
  if (!status.ok() && !absl::IsAlreadyExists(status) && step->status.ok()) step->status = status;
  if (--step->open > 0) return;
  if (!step->status.ok() || step->last.empty()) return Finish(step);
  SubmitAll(step, std::exchange(step->last, {}));
}

void ControllerLoop::Finish(const std::shared_ptr<StepState>& step) {
  KeyState& state = keys_.at(step->key);
  state.running = false;
  --running_;
  if (!queue_.empty()) Schedule();
  const bool dirty = std::exchange(state.dirty, false);
  if (!step->status.ok()) {
    ++stats_.failed_steps;
    // Stale snapshots are part of life; anything else is worth a line.
    if (absl::IsAborted(step->status) || absl::IsNotFound(step->status))
      spdlog::debug("{} {}: {}", controller_.name(), step->key.ToString(),
                    std::string(step->status.message()));
    else
      spdlog::warn("{} {}: {}", controller_.name(), step->key.ToString(),
                   std::string(step->status.message()));
    LookAgain(step->key, &state, loop_.Now() + state.backoff.Next(random_));
    return;
  }
  state.backoff.Reset();
  for (const EventNote& note : step->result.events) writer_.Note(note);
  if (dirty) return MarkDirty(step->key);
  if (!step->result.requeue_at.has_value()) return Forget(step->key);
  if (*step->result.requeue_at <= loop_.Now()) return MarkDirty(step->key);
  LookAgain(step->key, &state, *step->result.requeue_at);
}

void ControllerLoop::LookAgain(const ObjectKey& key, KeyState* key_state, absl::Time when,
                               bool caught_up) {
  key_state->timer = loop_.RunAt(when, [this, alive = alive_, key, when, caught_up] {
    if (!*alive) return;
    auto it = keys_.find(key);
    if (it == keys_.end()) return;
    it->second.timer = 0;
    // The loop stood still: what others sent meanwhile (heartbeats!) waits in the queues and goes
    // first.
    if (const absl::Duration late = loop_.Now() - when; late > options_.late && !caught_up) {
      const absl::Time again = loop_.Now() + std::min(late, options_.catch_up_max);
      return LookAgain(key, &it->second, again, true);
    }
    MarkDirty(key);
  });
}

void ControllerLoop::Forget(const ObjectKey& key) { keys_.erase(key); }

}  // namespace mesh::controlplane
