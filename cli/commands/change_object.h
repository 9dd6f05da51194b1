// SPDX-License-Identifier: Apache-2.0
// Read, change, write: for commands that change a part of an object.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/commands/targets.h"

namespace mesh::cli {

// What --dry-run says; UsageError in kubectl's words.
enum class DryRun : uint8_t { kNone, kClient, kServer };
absl::StatusOr<DryRun> ParseDryRun(const std::string& text);
// "", " (dry run)" or " (server dry run)": what follows the outcome.
std::string_view DryRunSuffix(DryRun dry_run);

// Lets `change` work on the present object and writes it back unless it stayed the same; again, on
// a newer one, when somebody else was faster (five times at most). Answers the object as it is
// then. `manager` is recorded as the owner of what changes. REQUIRES: the target has a name.
absl::StatusOr<v1::Resource> ChangeObject(const Target& target,
                                          const std::function<absl::Status(v1::Resource*)>& change,
                                          DryRun dry_run, const std::string& manager,
                                          ControlClient& client);

}  // namespace mesh::cli
