// SPDX-License-Identifier: Apache-2.0
// The control plane's only memory: an ordered key space with one global revision, shaped after etcd
// v3 so that etcd can stand behind it. Keys are "/mesh/<kind>/[<namespace>/]<name>"
// (controlplane/store/keys.h), values are serialized mesh.v1.Resource without resource_version,
// which is the mod_revision.
//
// Every implementation passes tests/unit/controlplane/store/store_contract.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace mesh::controlplane {

using Revision = int64_t;  // > 0; grows by one with every committed transaction that writes
using LeaseId = int64_t;   // 0: none

struct KeyValue {
  std::string key;
  std::string value;
  Revision create_revision = 0;
  Revision mod_revision = 0;
  int64_t version = 0;  // writes since creation, 1 for the first
  LeaseId lease = 0;
};

// Holds when the key's mod_revision is exactly this; 0 means "does not exist".
struct Compare {
  std::string key;
  Revision mod_revision = 0;
};

struct Operation {
  enum class Type : uint8_t { kPut, kDelete };
  Type type = Type::kPut;
  std::string key;
  std::string value;  // kPut
  LeaseId lease = 0;  // kPut: the key goes when the lease does
};

// All compares hold and all operations happen at one revision, or nothing does. A key appears in at
// most one operation.
struct Transaction {
  std::vector<Compare> compares;
  std::vector<Operation> operations;
};

struct CommitResult {
  bool succeeded = false;  // false: a compare did not hold
  Revision revision = 0;   // of this commit, or the current one when not succeeded
};

struct RangeResult {
  std::vector<KeyValue> items;  // by key
  Revision revision = 0;        // of the store when it was read
};

struct StoreEvent {
  enum class Type : uint8_t { kPut, kDelete };
  Type type = Type::kPut;
  KeyValue kv;                       // kDelete: key and mod_revision of the delete
  std::optional<KeyValue> previous;  // before this change, when it existed
};

// The events of one revision, all of them.
struct StoreBatch {
  Revision revision = 0;
  std::vector<StoreEvent> events;
};

// Calls stop when this is destroyed; the destructor waits for a running call, so it must not run
// inside one.
class StoreWatch {
 public:
  virtual ~StoreWatch() = default;
};

// Thread-safe. Calls block on I/O: not for event loops.
class Store {
 public:
  virtual ~Store() = default;

  // Durable when it returns. UNAVAILABLE: nothing is known about the outcome; read and compare.
  // INVALID_ARGUMENT: a key in two operations; NOT_FOUND: a lease that has ended.
  // A transaction that changes nothing (no operation, or only deletes of absent keys) succeeds at
  // the current revision.
  absl::StatusOr<CommitResult> Commit(const Transaction& transaction) {
    return CommitAll({transaction})[0];
  }

  // Each transaction for itself, in order, every one that writes at a revision of its own; the
  // whole costs one wait for the disk. An entry fails alone when it is invalid, all fail when the
  // disk does.
  virtual std::vector<absl::StatusOr<CommitResult>> CommitAll(
      const std::vector<Transaction>& transactions) = 0;

  // Keys that start with `prefix` (a whole key names one). NOT_FOUND is not an error here.
  virtual absl::StatusOr<RangeResult> Range(std::string_view prefix) const = 0;

  // Calls `on_batch` for every revision > `after` that touches the prefix, in order, without gap,
  // on a thread of the store. OUT_OF_RANGE when `after` is older than the compacted revision.
  virtual absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(
      std::string_view prefix, Revision after, std::function<void(const StoreBatch&)> on_batch) = 0;

  // Forgets history up to and including `revision`; present values stay.
  virtual absl::Status Compact(Revision revision) = 0;

  // Leases end `ttl` after the last KeepAlive; their keys are then deleted in one revision.
  virtual absl::StatusOr<LeaseId> Grant(absl::Duration ttl) = 0;
  // NOT_FOUND when it has ended.
  virtual absl::Status KeepAlive(LeaseId lease) = 0;
  virtual absl::Status Revoke(LeaseId lease) = 0;

  virtual Revision CurrentRevision() const = 0;
};

}  // namespace mesh::controlplane
