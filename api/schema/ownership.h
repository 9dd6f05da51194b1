// SPDX-License-Identifier: Apache-2.0
// Server-side apply: who has set which field (ObjectMeta.managed_fields), what an apply may change,
// and what goes when its manager says it no more. Kubernetes' rules and words.
//
// Ownership is kept from the first server-side apply of an object on. Until then nobody is recorded
// (writes of controllers stay as cheap as they are); what the object has by then belongs
//   - to kClientSideManager: what client-side apply wrote last, with its defaults, where nobody has
//     changed it since,
//   - to kBeforeFirstApply: all else,
// both as "Update". Fields that the system writes, name, namespace and status belong to nobody.
//
// Pure.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "api/schema/field_set.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

inline constexpr char kDefaultManager[] = "meshctl";
inline constexpr char kClientSideManager[] = "meshctl-client-side-apply";
inline constexpr char kBeforeFirstApply[] = "before-first-apply";
// What the control plane itself writes.
inline constexpr char kSystemManager[] = "meshd";
inline constexpr size_t kMaxManagerLength = 128;
// More entries of "Update" than these become one of kAncientManager, the oldest first.
inline constexpr int kMaxUpdateManagers = 10;
inline constexpr char kAncientManager[] = "ancient-changes";

struct ServerSideOptions {
  // As CheckManager has it.
  std::string manager = kDefaultManager;
  // Takes fields over from others.
  bool force = false;
  google::protobuf::Timestamp now;
};

// OK, or INVALID_ARGUMENT in Kubernetes' words.
absl::Status CheckManager(std::string_view manager);

// What the object becomes when `options.manager` applies `file`, which is all that this manager has
// to say of it; with managed_fields, before defaults and validation. `live` null: a new object.
//   - Every field of the file is set, and belongs to the manager from then on. Others that want the
//     same value share it; one with another value is a conflict: ABORTED `Apply failed with 1
//     conflict: conflict with "NAME": .spec.replicas`, or, with `force`, loses the field.
//   - A field that the manager owned, that the file has no more and nobody else owns is removed.
//   - kDefaultManager first takes over all of kClientSideManager, as kubectl's migration does.
// INVALID_ARGUMENT when two elements of a list of the file have one key.
// REQUIRES: same kind; `file` as in the manifest, without defaults.
absl::StatusOr<v1::Resource> ServerSideApply(const v1::Resource& file, const v1::Resource* live,
                                             const ServerSideOptions& options);

// Sets managed_fields of `after`, which another verb of `manager` has made of `before`: what it
// changed is its own now, and nobody's what it removed. Nothing is recorded of an object that was
// never applied on the server's side.
void RecordUpdate(const v1::Resource& before, std::string_view manager,
                  const google::protobuf::Timestamp& now, v1::Resource* after);

// The object has an entry of this manager's applies.
bool IsAppliedBy(const v1::ObjectMeta& meta, std::string_view manager);

}  // namespace mesh::schema
