// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/commit_queue.h"

#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace mesh::controlplane {
namespace {

class LoopCommitQueue : public CommitQueue {
 public:
  LoopCommitQueue(EventLoop& loop, Store& store) : loop_(loop), store_(store) {}
  ~LoopCommitQueue() override { *alive_ = false; }

  void Commit(Transaction transaction, Done done) override {
    loop_.Post(
        [this, alive = alive_, transaction = std::move(transaction), done = std::move(done)] {
          if (*alive) done(store_.Commit(transaction));
        });
  }

 private:
  EventLoop& loop_;
  Store& store_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class ThreadCommitQueue : public CommitQueue {
 public:
  ThreadCommitQueue(EventLoop& loop, Store& store)
      : loop_(loop), store_(store), thread_([this] { Run(); }) {}

  ~ThreadCommitQueue() override {
    *alive_ = false;
    {
      absl::MutexLock lock(&mutex_);
      stop_ = true;
    }
    thread_.join();
  }

  void Commit(Transaction transaction, Done done) override {
    absl::MutexLock lock(&mutex_);
    transactions_.push_back(std::move(transaction));
    dones_.push_back(std::move(done));
  }

 private:
  // Memory for one batch stays bounded; the rest goes in the next.
  static constexpr size_t kBatchMax = 256;

  void Run() {
    while (true) {
      std::vector<Transaction> transactions;
      std::vector<Done> dones;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(
            +[](ThreadCommitQueue* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
              return self->stop_ || !self->transactions_.empty();
            },
            this));
        if (transactions_.empty()) return;
        const size_t count = std::min(kBatchMax, transactions_.size());
        transactions.assign(std::make_move_iterator(transactions_.begin()),
                            std::make_move_iterator(transactions_.begin() + count));
        dones.assign(std::make_move_iterator(dones_.begin()),
                     std::make_move_iterator(dones_.begin() + count));
        transactions_.erase(transactions_.begin(), transactions_.begin() + count);
        dones_.erase(dones_.begin(), dones_.begin() + count);
      }
      auto results = store_.CommitAll(transactions);
      loop_.Post([alive = alive_, results = std::move(results), dones = std::move(dones)] {
        for (size_t i = 0; i < dones.size() && *alive; ++i) dones[i](results[i]);
      });
    }
  }

  EventLoop& loop_;
  Store& store_;
  // Read and written on the loop only.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Transaction> transactions_ ABSL_GUARDED_BY(mutex_);
  std::vector<Done> dones_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace

std::unique_ptr<CommitQueue> NewLoopCommitQueue(EventLoop& loop, Store& store) {
  return std::make_unique<LoopCommitQueue>(loop, store);
}

std::unique_ptr<CommitQueue> NewThreadCommitQueue(EventLoop& loop, Store& store) {
  return std::make_unique<ThreadCommitQueue>(loop, store);
}

}  // namespace mesh::controlplane
