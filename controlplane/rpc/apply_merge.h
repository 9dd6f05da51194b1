// SPDX-License-Identifier: Apache-2.0
// The two merges of Control.Apply, and who is recorded as the one that wrote. Pure.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/v1/control.pb.h"

namespace mesh::controlplane {

// What `given` names, or the manager that such a write has otherwise.
std::string ManagerOr(const std::string& given, const char* otherwise);

// INVALID_ARGUMENT for options that do not go together.
absl::Status CheckApplyOptions(const v1::ApplyRequest& request);

// The merge of `file` into `current` (null: a new object) as the request wants it, neither
// defaulted nor checked. ABORTED for conflicts (schema/ownership.h).
absl::StatusOr<v1::Resource> ApplyMerge(const v1::ApplyRequest& request, const v1::Resource& file,
                                        const v1::Resource* current, absl::Time now);

// Whom the writer records; empty for a server-side apply, whose merge has done it.
std::string RecordedManager(const v1::ApplyRequest& request);

// Adds the conflicts of one object to those of the request, so that one run tells them all. The
// object is named where there are several.
void AddConflict(const v1::ApplyRequest& request, int index, const absl::Status& conflict,
                 std::string* text);

}  // namespace mesh::controlplane
