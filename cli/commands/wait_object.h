// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/commands/targets.h"

namespace mesh::cli {

// Shows `done` the object as it is (null: absent), then after every change, until it answers true.
// The first look is taken whatever the deadline. DEADLINE_EXCEEDED, without a server's reason, when
// `deadline` passes. REQUIRES: target.name is set.
absl::Status WaitUntil(const Target& target, absl::Time deadline, ControlClient& client,
                       const std::function<bool(const v1::Resource*)>& done);

// Waits until the object is absent, or another one has its name (when `uid` is given).
absl::Status WaitUntilGone(const Target& target, const std::string& uid, absl::Time deadline,
                           ControlClient& client);

}  // namespace mesh::cli
