// SPDX-License-Identifier: Apache-2.0
// What `apply` does to an object that exists.
//
// The order for a server, per object:
//   1. file copy -> ApplyDefaults -> Validate                (nothing is written when one fails)
//   2. merged = ThreeWayMerge(last applied or null, file, live)
//   3. ApplyDefaults(&merged); Validate(merged); ValidateUpdate(live, merged)
//   4. merged.metadata.last_applied = EncodeLastApplied(file)
//   5. unchanged when SameIntent(live, merged) (write all the same if last_applied differs);
//      generation + 1 when !SameSpec(live, merged)
// An object that does not exist: file copy with last_applied and defaults.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema {

// The live object with every field of `file` set and every field removed that `last_applied` has
// and `file` has not.
//   - Scalars replace; messages recurse; maps merge by key.
//   - Lists with (merge_key) merge by element, in the file's order, elements of others after them;
//     a key field that is absent counts as its default. (merge_set) lists merge as sets. Other
//     lists are replaced.
//   - Fields that the system writes, internal fields, and immutable fields that the file leaves out
//     stay as in `live`.
//   - DeploymentStrategy keeps only the members that the file gives (Kubernetes' "retainKeys"), so
//     that a change of type leaves no rollingUpdate behind.
//   - policyTypes of a NetworkPolicy that neither the file nor anybody else has given are left out,
//     to follow from the rules.
// A scalar without presence in the proto that the file sets to zero counts as left out.
// `last_applied` may be null (the object was not made by apply): nothing is removed then.
// REQUIRES: same kind; `file` as in the manifest, without defaults.
v1::Resource ThreeWayMerge(const v1::Resource* last_applied, const v1::Resource& file,
                           const v1::Resource& live);

// The live object with every field of `file` set; lists merge as above. What another has set beside
// it stays, also where ThreeWayMerge drops it with a change of type: removal is a matter of
// ownership then (ownership.h).
v1::Resource Overlaid(const v1::Resource& file, const v1::Resource& live);

// Equal in everything that a user can say: all but status, system and internal fields, and where in
// its file a policy stands. The order of maps does not count.
bool SameIntent(const v1::Resource& a, const v1::Resource& b);
// Equal in `spec` alone.
bool SameSpec(const v1::Resource& a, const v1::Resource& b);

// The bytes of ObjectMeta.last_applied for what the manifest had (system fields and last_applied
// itself left out); deterministic.
std::string EncodeLastApplied(const v1::Resource& file);
// DATA_LOSS when the bytes are not of EncodeLastApplied.
absl::StatusOr<v1::Resource> DecodeLastApplied(std::string_view bytes);

}  // namespace mesh::schema
