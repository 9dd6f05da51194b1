// SPDX-License-Identifier: Apache-2.0
// The store of tests and of the simulator: the same contract, nothing on disk.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "controlplane/store/lease_table.h"
#include "controlplane/store/store.h"
#include "controlplane/store/store_thread.h"
#include "controlplane/store/watch_hub.h"

namespace mesh::controlplane {

class MemoryStore : public Store {
 public:
  struct Options {
    // Delivers watches and ends leases as tasks of this loop, which outlives the store:
    // deterministic on a SimLoop. Null: on a thread of its own.
    EventLoop* loop = nullptr;
    Revision keep_revisions = 10'000;
  };
  MemoryStore() : MemoryStore(Options()) {}
  explicit MemoryStore(Options options);
  ~MemoryStore() override;

  std::vector<absl::StatusOr<CommitResult>> CommitAll(
      const std::vector<Transaction>& transactions) override;
  absl::StatusOr<RangeResult> Range(std::string_view prefix) const override;
  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(
      std::string_view prefix, Revision after,
      std::function<void(const StoreBatch&)> on_batch) override;
  absl::Status Compact(Revision revision) override;
  absl::StatusOr<LeaseId> Grant(absl::Duration ttl) override;
  absl::Status KeepAlive(LeaseId lease) override;
  absl::Status Revoke(LeaseId lease) override;
  Revision CurrentRevision() const override;

 private:
  absl::StatusOr<CommitResult> CommitLocked(const Transaction& transaction)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndLeaseLocked(LeaseId lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ExpireLeases();
  void ArmExpiry();

  const Options options_;
  mutable absl::Mutex mutex_;
  Revision revision_ ABSL_GUARDED_BY(mutex_) = 0;
  Revision compacted_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::string, KeyValue, std::less<>> items_ ABSL_GUARDED_BY(mutex_);
  std::deque<SharedBatch> history_ ABSL_GUARDED_BY(mutex_);
  LeaseTable leases_ ABSL_GUARDED_BY(mutex_);
  LeaseId next_lease_ ABSL_GUARDED_BY(mutex_) = 1;
  TimerId expiry_timer_ = 0;            // store loop only
  std::shared_ptr<MemoryStore*> self_;  // timers on a given loop may outlive us
  StoreThread thread_;
  WatchHub hub_;
};

// What CommitAll refuses before it looks at anything: a key in two operations.
absl::Status CheckShape(const Transaction& transaction);

}  // namespace mesh::controlplane
