// SPDX-License-Identifier: Apache-2.0
// The flags of server-side apply, which apply and diff share.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "cli/command.h"
#include "cli/commands/change_object.h"
#include "mesh/v1/control.pb.h"

namespace CLI {
class App;
}

namespace mesh::cli {

struct ServerSideFlags {
  bool server_side = false;
  bool force_conflicts = false;
  std::string manager;  // empty: the server's default
};

void AddServerSideFlags(CLI::App& app, ServerSideFlags* flags);
// What does not go together, in kubectl's words.
absl::Status CheckServerSideFlags(const ServerSideFlags& flags, DryRun dry_run);
void SetServerSide(const ServerSideFlags& flags, v1::ApplyRequest* request);
// The server's answer with what can be done about conflicts, in kubectl's words; any other status
// as it is.
absl::Status WithConflictHelp(const absl::Status& status);

}  // namespace mesh::cli
