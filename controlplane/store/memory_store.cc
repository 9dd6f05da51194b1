// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/memory_store.h"

#include <set>
#include <utility>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::controlplane {

absl::Status CheckShape(const Transaction& transaction) {
  std::set<std::string_view> seen;
  for (const Operation& operation : transaction.operations) {
    if (!seen.insert(operation.key).second) {
      return absl::InvalidArgumentError(
          fmt::format("transaction: key \"{}\" is in two operations", operation.key));
    }
  }
  return absl::OkStatus();
}

MemoryStore::MemoryStore(Options options)
    : options_(options),
      self_(std::make_shared<MemoryStore*>(this)),
      thread_(options.loop),
      hub_(thread_.loop()) {}

MemoryStore::~MemoryStore() {
  thread_.Stop();
  *self_ = nullptr;
}

std::vector<absl::StatusOr<CommitResult>> MemoryStore::CommitAll(
    const std::vector<Transaction>& transactions) {
  std::vector<absl::StatusOr<CommitResult>> out;
  out.reserve(transactions.size());
  absl::MutexLock lock(&mutex_);
  for (const Transaction& transaction : transactions) out.push_back(CommitLocked(transaction));
  return out;
}

absl::StatusOr<CommitResult> MemoryStore::CommitLocked(const Transaction& transaction) {
  RETURN_IF_ERROR(CheckShape(transaction));
  for (const Operation& operation : transaction.operations) {
    if (operation.lease != 0 && !leases_.Contains(operation.lease)) {
      return absl::NotFoundError(fmt::format("lease {} not found", operation.lease));
    }
  }
  for (const Compare& compare : transaction.compares) {
    auto it = items_.find(compare.key);
    const Revision present = it == items_.end() ? 0 : it->second.mod_revision;
    if (present != compare.mod_revision) {
      return CommitResult{.succeeded = false, .revision = revision_};
    }
  }

  auto batch = std::make_shared<StoreBatch>();
  batch->revision = revision_ + 1;
  for (const Operation& operation : transaction.operations) {
    auto it = items_.find(operation.key);
    StoreEvent event;
    if (it != items_.end()) event.previous = it->second;
    if (operation.type == Operation::Type::kDelete) {
      if (it == items_.end()) continue;
      event.type = StoreEvent::Type::kDelete;
      event.kv = {.key = operation.key, .value = {}, .mod_revision = batch->revision};
      leases_.Attach(operation.key, 0);
      items_.erase(it);
    } else {
      event.kv = {
          .key = operation.key,
          .value = operation.value,
          .create_revision = event.previous ? event.previous->create_revision : batch->revision,
          .mod_revision = batch->revision,
          .version = event.previous ? event.previous->version + 1 : 1,
          .lease = operation.lease};
      leases_.Attach(operation.key, operation.lease);
      items_[operation.key] = event.kv;
    }
    batch->events.push_back(std::move(event));
  }
  if (batch->events.empty()) return CommitResult{.succeeded = true, .revision = revision_};

  revision_ = batch->revision;
  history_.push_back(batch);
  while (history_.size() > static_cast<size_t>(options_.keep_revisions)) {
    compacted_ = history_.front()->revision;
    history_.pop_front();
  }
  hub_.Publish(batch);
  return CommitResult{.succeeded = true, .revision = revision_};
}

absl::StatusOr<RangeResult> MemoryStore::Range(std::string_view prefix) const {
  absl::MutexLock lock(&mutex_);
  RangeResult out{.items = {}, .revision = revision_};
  for (auto it = items_.lower_bound(prefix);
       it != items_.end() && std::string_view(it->first).starts_with(prefix); ++it) {
    out.items.push_back(it->second);
  }
  return out;
}

absl::StatusOr<std::unique_ptr<StoreWatch>> MemoryStore::Watch(
    std::string_view prefix, Revision after, std::function<void(const StoreBatch&)> on_batch) {
  absl::MutexLock lock(&mutex_);
  if (after < compacted_) {
    return absl::OutOfRangeError(
        fmt::format("watch after revision {}: history up to revision {} is compacted; list again",
                    after, compacted_));
  }
  std::vector<SharedBatch> backlog;
  for (const SharedBatch& batch : history_) {
    if (batch->revision > after) backlog.push_back(batch);
  }
  return hub_.Add(prefix, backlog, std::move(on_batch));
}

absl::Status MemoryStore::Compact(Revision revision) {
  absl::MutexLock lock(&mutex_);
  if (revision > revision_) {
    return absl::OutOfRangeError(
        fmt::format("compact revision {}: the store is at {}", revision, revision_));
  }
  if (revision <= compacted_) return absl::OkStatus();
  while (!history_.empty() && history_.front()->revision <= revision) history_.pop_front();
  compacted_ = revision;
  return absl::OkStatus();
}

absl::StatusOr<LeaseId> MemoryStore::Grant(absl::Duration ttl) {
  LeaseId lease;
  {
    absl::MutexLock lock(&mutex_);
    lease = next_lease_++;
    leases_.Grant(lease, ttl, thread_.loop().Now());
  }
  ArmExpiry();
  return lease;
}

absl::Status MemoryStore::KeepAlive(LeaseId lease) {
  absl::MutexLock lock(&mutex_);
  if (leases_.KeepAlive(lease, thread_.loop().Now())) return absl::OkStatus();
  return absl::NotFoundError(fmt::format("lease {} not found", lease));
}

absl::Status MemoryStore::Revoke(LeaseId lease) {
  absl::MutexLock lock(&mutex_);
  if (!leases_.Contains(lease)) {
    return absl::NotFoundError(fmt::format("lease {} not found", lease));
  }
  EndLeaseLocked(lease);
  return absl::OkStatus();
}

void MemoryStore::EndLeaseLocked(LeaseId lease) {
  Transaction transaction;
  for (std::string& key : leases_.KeysOf(lease)) {
    transaction.operations.push_back({.type = Operation::Type::kDelete, .key = std::move(key)});
  }
  CommitLocked(transaction).status().IgnoreError();  // deletes without compares cannot fail
  leases_.Remove(lease);
}

// One timer at a time, for the lease that ends first; a lease kept alive since then only moves it.
void MemoryStore::ArmExpiry() {
  thread_.loop().Post([self = self_] {
    if (*self != nullptr) (*self)->ExpireLeases();
  });
}

void MemoryStore::ExpireLeases() {
  EventLoop& loop = thread_.loop();
  std::optional<absl::Time> next;
  {
    absl::MutexLock lock(&mutex_);
    for (const LeaseId lease : leases_.Expired(loop.Now())) EndLeaseLocked(lease);
    next = leases_.NextExpiry();
  }
  loop.Cancel(expiry_timer_);
  if (!next) return;
  expiry_timer_ = loop.RunAt(*next, [self = self_] {
    if (*self != nullptr) (*self)->ExpireLeases();
  });
}

Revision MemoryStore::CurrentRevision() const {
  absl::MutexLock lock(&mutex_);
  return revision_;
}

}  // namespace mesh::controlplane
