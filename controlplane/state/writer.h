// SPDX-License-Identifier: Apache-2.0
// Turns what controllers, the API and the agents want into compare-and-set transactions with the
// API's semantics (object_rules.h, admission.h), and tells the result when the watch cache has it:
// who reads the cache after `done` sees his own write.
//
// Thread: loop only. No threads inside: in production the commit queue has one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "api/schema/ownership.h"
#include "common/event_loop.h"
#include "common/random.h"
#include "controlplane/controllers/controller.h"
#include "controlplane/state/admission.h"
#include "controlplane/state/watch_cache.h"
#include "controlplane/store/commit_queue.h"

namespace mesh::controlplane {

// What shall become of one object.
struct Intent {
  enum class Type : uint8_t { kNothing, kPut, kRemove };
  Type type = Type::kNothing;
  v1::Resource resource;  // kPut
  // More objects to change in the same transaction, each as it is to be stored, with the
  // resource_version it was computed from.
  std::vector<v1::Resource> others;
  // Who is recorded as the owner of what changes, where ownership is kept (schema/ownership.h).
  // Empty: `resource` comes with its managed_fields, of a server-side apply.
  std::string manager = schema::kSystemManager;
};

struct Written {
  // As stored; for a removal the last state; null when there was nothing to remove.
  std::shared_ptr<const v1::Resource> resource;
  bool created = false;
  bool changed = false;  // false: the object was like this already
  bool removed = false;
};

class Writer {
 public:
  struct Options {
    AdmissionOptions admission;
    // Tries of a write that lost a race, each from a newer state. ABORTED afterwards.
    int max_tries = 10;
    // Events of this age go; so do the oldest when there are more than max_events.
    absl::Duration event_ttl = absl::Hours(1);
    size_t max_events = 4096;
  };
  using Done = std::function<void(absl::StatusOr<Written>)>;
  // Decides from the present object (null when absent) what to write; runs again when it lost a
  // race. A new object gets its uid and so on from the writer; a changed one comes whole
  // (object_rules.h).
  using Decide = std::function<absl::StatusOr<Intent>(
      const ClusterState& state, const std::shared_ptr<const v1::Resource>& current)>;

  // All outlive this; `random` makes uids.
  Writer(EventLoop& loop, WatchCache& cache, CommitQueue& commits, Random random, Options options);
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Executes a controller's write. ABORTED: the snapshot it was computed from is stale. NOT_FOUND:
  // the object is gone (done, for kDelete and kRemove: they succeed). `done` may be empty.
  void Submit(Write write, Done done);

  // Records an event: a new object, or one more on the count of the same (object, reason, message).
  void Note(const EventNote& note);

  // The general form, which the API uses. Errors of `decide` come back as they are.
  void Change(v1::Kind kind, const ObjectKey& key, Decide decide, Done done);

  // Creates; ALREADY_EXISTS `pods "x" already exists`.
  void Create(v1::Resource resource, Done done);
  // Graceful delete as the API has it. NOT_FOUND `pods "x" not found`; ABORTED when `uid` is
  // another's.
  struct DeleteOptions {
    std::optional<int64_t> grace_period_seconds;
    std::string uid;
    bool orphan = false;
  };
  void Delete(v1::Kind kind, const ObjectKey& key, DeleteOptions options, Done done);

  // Objects every cluster has: namespaces default and kube-system; and, in a new one, the storage
  // class local-path. `done` runs when they exist.
  void EnsureBaseObjects(Task done);

  Admission& admission() { return admission_; }
  EventLoop& loop() { return loop_; }

 private:
  struct Job;
  void Run(std::shared_ptr<Job> job);
  void Finish(const std::shared_ptr<Job>& job, absl::StatusOr<Written> result);
  void ExpireEvents();
  void FlushNote(const ObjectKey& key);
  std::string NewUid();

  EventLoop& loop_;
  WatchCache& cache_;
  CommitQueue& commits_;
  Random random_;
  const Options options_;
  Admission admission_;
  // Events being counted up, by key of their object: no two writes of one event at a time.
  struct PendingNote {
    EventNote note;
    int count = 0;  // not yet written
    bool writing = false;
  };
  std::map<ObjectKey, PendingNote> notes_;
  TimerId expire_timer_ = 0;
  uint64_t next_job_ = 1;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace mesh::controlplane
