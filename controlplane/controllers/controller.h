// SPDX-License-Identifier: Apache-2.0
// The shape of every controller: a pure function from a snapshot to writes.
//
// 1. Level-triggered: a change only marks keys dirty; Reconcile reads the whole state anew.
// 2. Fixpoint: after its writes are applied, Reconcile of the same key writes nothing.
// 3. Idempotent: each write is safe to repeat; the runtime commits each with the resource_version
// it
//    was computed from, and reconciles again when that is stale.
// 4. No I/O, clock, randomness or unordered iteration inside. Names that must be unique derive from
//    the inputs (owner uid, ordinal, template hash), never from a generator.
// 5. Bounded: at most kMaxWritesPerStep writes; the rest follows in the next step.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

inline constexpr int kMaxWritesPerStep = 500;

struct Write {
  enum class Type : uint8_t {
    kCreate,        // ALREADY_EXISTS counts as done
    kUpdate,        // whole object but status
    kUpdateStatus,  // status only
    kDelete,        // graceful, as a user's delete would be
    kRemove,        // out of the store at once (the pod is known to be gone)
    kBind,  // pod: spec.node_name, status.pod_ip, status.identity and condition PodScheduled
  };
  Type type = Type::kCreate;
  // Carries metadata.resource_version of the snapshot for all but kCreate.
  v1::Resource resource;
  // kDelete: absent means the object's own.
  std::optional<int64_t> grace_period_seconds;
};

// Becomes a core/v1 Event; equal ones are counted up instead of repeated.
struct EventNote {
  v1::ObjectReference object;
  std::string type;    // Normal, Warning
  std::string reason;  // CamelCase
  std::string message;
};

struct ReconcileResult {
  std::vector<Write> writes;
  std::vector<EventNote> events;
  // Look at this key again at this time even if nothing changes.
  std::optional<absl::Time> requeue_at;
};

// One change of the state: what was, what is; either may be null, not both.
struct Change {
  std::shared_ptr<const v1::Resource> before;
  std::shared_ptr<const v1::Resource> after;
};

class Controller {
 public:
  virtual ~Controller() = default;
  virtual std::string_view name() const = 0;
  // Keys that a change may concern, for example the ReplicaSet that owns a pod. May be generous.
  virtual std::vector<ObjectKey> Affected(const ClusterState& state,
                                          const Change& change) const = 0;
  virtual ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                                    absl::Time now) const = 0;
};

}  // namespace mesh::controlplane
