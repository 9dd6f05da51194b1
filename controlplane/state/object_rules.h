// SPDX-License-Identifier: Apache-2.0
// What happens to an object's metadata when it is created, replaced or deleted. Pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "controlplane/state/cluster_state.h"
#include "google/protobuf/timestamp.pb.h"

namespace mesh::controlplane {

google::protobuf::Timestamp TimestampOf(absl::Time time);  // whole seconds, as the API has them

// `pods "x" not found`, `deployments.apps "x" already exists`.
absl::Status NotFoundFor(v1::Kind kind, const std::string& name);
absl::Status AlreadyExistsFor(v1::Kind kind, const std::string& name);
// ABORTED, in Kubernetes' words for a lost race.
absl::Status ConflictFor(v1::Kind kind, const std::string& name);

// Sets uid, creation time and generation 1; clears what only the system may set.
void InitNew(v1::Resource* resource, std::string uid, absl::Time now);

// `next` replaces `current`: identity, creation and deletion metadata stay as they are, status too;
// the generation grows when the spec differs. Labels, annotations, finalizers, owner references,
// last_applied and spec come from `next`.
void CarryIntoUpdate(const v1::Resource& current, v1::Resource* next);

// `current` with the status of `from`, nothing else.
v1::Resource WithStatusOf(const v1::Resource& current, const v1::Resource& from);

// `current` bound as `from` says (Write::Type::kBind). ABORTED when it is bound already or
// terminating.
absl::StatusOr<v1::Resource> Bound(const v1::Resource& current, const v1::Resource& from,
                                   absl::Time now);

// Notes what `manager` has changed between `current` (null: nothing) and `next`, where ownership is
// kept; an empty manager has noted it already (schema/ownership.h).
void RecordManager(const v1::Resource* current, std::string_view manager,
                   const google::protobuf::Timestamp& now, v1::Resource* next);

// The outcome of a delete at `now`.
struct Deletion {
  bool remove = false;
  bool changed = false;
  v1::Resource marked;  // when it stays: with deletion timestamp; a Namespace is Terminating
};
// Pods that run somewhere stay for their grace period, Namespaces until they are empty, all else
// only for its finalizers. A second delete can only shorten the time.
Deletion Deleted(const v1::Resource& current, std::optional<int64_t> grace_period_seconds,
                 absl::Time now);

// A marked object that nothing holds any more: the last finalizer went.
bool HeldByNothing(const v1::Resource& resource);

// Equal but for the resource_version.
bool EqualObjects(const v1::Resource& a, const v1::Resource& b);

}  // namespace mesh::controlplane
