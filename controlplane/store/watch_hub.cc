// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/watch_hub.h"

#include <deque>
#include <list>
#include <utility>

#include "absl/synchronization/mutex.h"

namespace mesh::controlplane {
namespace {

struct Watcher {
  std::string prefix;
  std::function<void(const StoreBatch&)> on_batch;
  std::deque<SharedBatch> queue;
  bool running = false;
  bool closed = false;
};

// The part of `batch` under `prefix`; the batch itself when that is all of it, null when none.
SharedBatch Filter(const SharedBatch& batch, std::string_view prefix) {
  size_t count = 0;
  for (const StoreEvent& event : batch->events) {
    count += std::string_view(event.kv.key).starts_with(prefix) ? 1 : 0;
  }
  if (count == 0) return nullptr;
  if (count == batch->events.size()) return batch;
  auto out = std::make_shared<StoreBatch>();
  out->revision = batch->revision;
  for (const StoreEvent& event : batch->events) {
    if (std::string_view(event.kv.key).starts_with(prefix)) out->events.push_back(event);
  }
  return out;
}

}  // namespace

struct WatchHub::Core {
  explicit Core(EventLoop& l) : loop(l) {}

  EventLoop& loop;
  absl::Mutex mutex;
  std::list<std::shared_ptr<Watcher>> watchers;
  bool drain_posted = false;

  void PostDrain(const std::shared_ptr<Core>& self) {
    if (std::exchange(drain_posted, true)) return;
    loop.Post([self] { self->Drain(); });
  }

  void Drain() {
    mutex.Lock();
    drain_posted = false;
    const std::vector<std::shared_ptr<Watcher>> present(watchers.begin(), watchers.end());
    for (const auto& watcher : present) {
      while (!watcher->closed && !watcher->queue.empty()) {
        SharedBatch batch = std::move(watcher->queue.front());
        watcher->queue.pop_front();
        watcher->running = true;
        mutex.Unlock();
        watcher->on_batch(*batch);
        mutex.Lock();
        watcher->running = false;
      }
    }
    mutex.Unlock();
  }
};

class WatchHub::Watch : public StoreWatch {
 public:
  Watch(std::shared_ptr<Core> core, std::shared_ptr<Watcher> watcher)
      : core_(std::move(core)), watcher_(std::move(watcher)) {}

  ~Watch() override {
    absl::MutexLock lock(&core_->mutex);
    watcher_->closed = true;
    core_->watchers.remove(watcher_);
    core_->mutex.Await(absl::Condition(
        +[](Watcher* watcher) { return !watcher->running; }, watcher_.get()));
  }

 private:
  std::shared_ptr<Core> core_;
  std::shared_ptr<Watcher> watcher_;
};

WatchHub::WatchHub(EventLoop& loop) : core_(std::make_shared<Core>(loop)) {}

WatchHub::~WatchHub() {
  absl::MutexLock lock(&core_->mutex);
  for (const auto& watcher : core_->watchers) watcher->closed = true;
}

void WatchHub::Publish(const SharedBatch& batch) {
  absl::MutexLock lock(&core_->mutex);
  bool any = false;
  for (const auto& watcher : core_->watchers) {
    if (SharedBatch part = Filter(batch, watcher->prefix)) {
      watcher->queue.push_back(std::move(part));
      any = true;
    }
  }
  if (any) core_->PostDrain(core_);
}

std::unique_ptr<StoreWatch> WatchHub::Add(std::string_view prefix,
                                          const std::vector<SharedBatch>& backlog,
                                          std::function<void(const StoreBatch&)> on_batch) {
  auto watcher = std::make_shared<Watcher>();
  watcher->prefix = prefix;
  watcher->on_batch = std::move(on_batch);
  for (const SharedBatch& batch : backlog) {
    if (SharedBatch part = Filter(batch, prefix)) watcher->queue.push_back(std::move(part));
  }
  absl::MutexLock lock(&core_->mutex);
  core_->watchers.push_back(watcher);
  if (!watcher->queue.empty()) core_->PostDrain(core_);
  return std::make_unique<Watch>(core_, std::move(watcher));
}

}  // namespace mesh::controlplane
