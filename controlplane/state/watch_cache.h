// SPDX-License-Identifier: Apache-2.0
// Keeps a ClusterState current from a watch of the store, and tells subscribers every change in
// order.
//
// Thread: one event loop owns it; only Read(), Load(), List() and revision() may be called
// elsewhere. Restart: Start() reads everything anew; the store's history fills the ring of recent
// changes, so that a watch resumes across it.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/event_loop.h"
#include "controlplane/controllers/controller.h"
#include "controlplane/state/cluster_state.h"
#include "controlplane/store/store.h"

namespace mesh::controlplane {

// All changes of one revision.
struct ChangeBatch {
  Revision revision = 0;
  std::vector<Change> changes;
};

class WatchCache {
 public:
  struct Options {
    // Changes kept for ChangesAfter(): a client that was away for longer lists again. A revision
    // of a Pod or Node holds some 1 KB as stored, 3 KB in memory; one of a large EndpointSlice
    // fifty times that, so the number of revisions alone would not bound the memory.
    size_t ring_revisions = 4'096;
    size_t ring_bytes = 4 << 20;  // of values as stored
    // As many of the store's history at the start: seconds to minutes of a cluster at rest.
    size_t past_revisions = 1'024;
  };
  using Subscriber = std::function<void(const ChangeBatch&)>;

  // Ends with its destruction. Must be destroyed on the loop, before the cache.
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&& other) noexcept
        : cache_(std::exchange(other.cache_, nullptr)), id_(other.id_) {}
    Subscription& operator=(Subscription&& other) noexcept;
    ~Subscription() { Reset(); }
    void Reset();

   private:
    friend class WatchCache;
    Subscription(WatchCache* cache, uint64_t id) : cache_(cache), id_(id) {}
    WatchCache* cache_ = nullptr;
    uint64_t id_ = 0;
  };

  // Both outlive this.
  WatchCache(EventLoop& loop, Store& store);
  WatchCache(EventLoop& loop, Store& store, Options options);
  // Runs on the loop's thread, after the loop has stopped running tasks or inside one.
  ~WatchCache();
  WatchCache(const WatchCache&) = delete;
  WatchCache& operator=(const WatchCache&) = delete;

  // Reads the store (blocks) and follows it from there. Once, before use. DATA_LOSS when a value
  // does not parse.
  absl::Status Start();

  // Loop only. The reference stays valid; its content changes between tasks.
  const ClusterState& state() const { return state_; }
  // Loop only: ClusterState::heard of the node becomes now.
  void NoteHeard(const std::string& node);
  // Loop only: this process stood still for so long (> 0) and could hear nobody: all were heard so
  // much later, though not later than now.
  void NoteStandstill(absl::Duration lost);
  // Loop only. nullptr when absent.
  std::shared_ptr<const v1::Resource> Find(v1::Kind kind, const ObjectKey& key) const;

  // Thread-safe: calls `read(const ClusterState&)` under a reader lock and returns its result. Keep
  // it short: copy pointers out, work on them after.
  template <typename F>
  auto Read(F read) const {
    absl::ReaderMutexLock lock(&mutex_);
    return read(static_cast<const ClusterState&>(state_));
  }
  // Thread-safe: one object (nullptr when absent), and all objects of a kind in one namespace
  // (empty: in all), by key.
  std::shared_ptr<const v1::Resource> Load(v1::Kind kind, const ObjectKey& key) const;
  struct Listing {
    Revision revision = 0;
    std::vector<std::shared_ptr<const v1::Resource>> items;
  };
  Listing List(v1::Kind kind, const std::string& ns) const;
  // Thread-safe.
  Revision revision() const { return revision_.load(std::memory_order_acquire); }

  // Loop only. Called on the loop after the state has the change, once per revision, in order. A
  // subscriber may unsubscribe itself or others inside the call.
  [[nodiscard]] Subscription Subscribe(Subscriber subscriber);

  // Loop only. Every batch of a revision > `after`. OUT_OF_RANGE when the ring does not reach back
  // that far, or not yet: just after Start() the history is still on its way.
  absl::StatusOr<std::vector<std::shared_ptr<const ChangeBatch>>> ChangesAfter(
      Revision after) const;

  // Loop only. Runs `task` on the loop once revision() >= `revision`; never inside this call.
  void WhenAtLeast(Revision revision, Task task);

 private:
  void OnBatch(const StoreBatch& batch);
  // History, up to and including `started_`.
  void OnPastBatch(const StoreBatch& batch);
  void Remember(std::shared_ptr<const ChangeBatch> changes, const StoreBatch& batch);
  // Every revision above it can be told again.
  Revision floor() const { return revision_past_ < started_ ? started_ : ring_floor_; }
  absl::StatusOr<std::shared_ptr<const v1::Resource>> Decode(const KeyValue& kv) const;

  EventLoop& loop_;
  Store& store_;
  const Options options_;
  // Written on the loop under the lock; read on the loop without, elsewhere with it.
  mutable absl::Mutex mutex_;
  ClusterState state_;
  std::map<std::pair<v1::Kind, ObjectKey>, std::shared_ptr<const v1::Resource>> objects_;
  std::atomic<Revision> revision_ = 0;
  struct Remembered {
    std::shared_ptr<const ChangeBatch> changes;
    size_t bytes = 0;
  };
  Revision started_ = 0;        // what Start() read
  Revision revision_past_ = 0;  // of the history that has arrived
  Revision ring_floor_ = 0;     // every revision above it is in the ring, or will be
  std::deque<Remembered> ring_;
  size_t ring_bytes_ = 0;
  uint64_t next_subscriber_ = 1;
  std::map<uint64_t, std::shared_ptr<Subscriber>> subscribers_;
  std::multimap<Revision, Task> waiting_;
  std::shared_ptr<WatchCache*> self_;  // tasks posted by the watch look here whether we still live
  std::unique_ptr<StoreWatch> watch_;
};

}  // namespace mesh::controlplane
