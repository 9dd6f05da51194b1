// SPDX-License-Identifier: Apache-2.0
// The files of `-f` for every command that takes them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/command.h"
#include "cli/manifest/manifest.h"

namespace mesh::cli {

struct ManifestFlags {
  std::vector<std::string> files;
  bool recursive = false;
  // Only kinds and names matter (delete, get): nothing is validated.
  bool identity_only = false;
  // Parts of objects, which are validated where they are merged (server-side apply).
  bool partial = false;
  manifest::DecodeOptions::Unknown unknown = manifest::DecodeOptions::Unknown::kError;
  // Objects come back with the namespace that they say, if any.
  bool keep_namespaces = false;
};

// The value of --validate: strict (true), warn, ignore (false). UsageError in kubectl's words.
absl::StatusOr<manifest::DecodeOptions::Unknown> ParseValidate(std::string_view text);

// Reads files, folders and standard input, and prints everything found wrong with them. Each
// namespaced object comes back with its namespace: its own, or the one of -n. AlreadyPrinted when
// there was an error; `the namespace from the provided object ... does not match ...` when -n says
// another namespace than an object; `no objects passed to COMMAND`.
absl::StatusOr<manifest::Manifest> ReadManifests(const ManifestFlags& flags,
                                                 std::string_view command, Context& context);

// Prints the problems that the server found in `objects` (the payload kValidationPayload of its
// answer) at their places in the files. AlreadyPrinted, or `status` itself when it has no payload.
absl::Status PrintServerProblems(const absl::Status& status,
                                 const std::vector<manifest::Object>& objects, Context& context);

// Prints what only shows when the objects are seen together, those of the server among them where
// it can be asked.
void PrintCrossProblems(const std::vector<manifest::Object>& objects, Context& context);

}  // namespace mesh::cli
