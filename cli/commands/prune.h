// SPDX-License-Identifier: Apache-2.0
// apply --prune: what apply has made before and the files have no more goes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/schema/ownership.h"
#include "cli/command.h"
#include "cli/manifest/manifest.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::cli {

struct PruneFlags {
  bool prune = false;
  bool all = false;
  // "apps/v1/Deployment", "core/v1/ConfigMap"; empty: kubectl's own list.
  std::vector<std::string> allowlist;
  // Whose server-side applies count as made by apply, beside all of client-side apply.
  std::string manager = schema::kDefaultManager;
};

// --prune needs -l or --all, and not both.
absl::Status CheckPruneFlags(const PruneFlags& flags, const std::string& selector);

// The kinds that are looked at. INVALID_ARGUMENT for an entry that names none.
absl::StatusOr<std::vector<v1::Kind>> PruneKinds(const std::vector<std::string>& allowlist);

// Deletes every object of these kinds that was made by apply, matches `selector` and is not among
// `applied`: in the namespaces of those, and, when -n was not given, of kinds without a namespace.
// With a `suffix` (a dry run) they are only named. Answers the exit code.
absl::StatusOr<int> Prune(const PruneFlags& flags, const std::string& selector,
                          const std::vector<manifest::Object>& applied, std::string_view suffix,
                          const std::string& output, Context& context);

}  // namespace mesh::cli
