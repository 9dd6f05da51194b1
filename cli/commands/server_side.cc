// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/server_side.h"

#include <CLI/CLI.hpp>
#include <string_view>

#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr std::string_view kConflictHelp = R"(
Please review the fields above--they currently have other managers. Here
are the ways you can resolve this warning:
* If you intend to manage all of these fields, please re-run the apply
  command with the `--force-conflicts` flag.
* If you do not intend to manage all of the fields, please edit your
  manifest to remove references to the fields that should keep their
  current managers.
* You may co-own fields by updating your manifest to match the existing
  value; in this case, you'll become the manager if the other manager(s)
  stop managing the field (remove it from their configuration).
See https://kubernetes.io/docs/reference/using-api/server-side-apply/#conflicts)";

}  // namespace

void AddServerSideFlags(CLI::App& app, ServerSideFlags* flags) {
  app.add_flag("--server-side", flags->server_side,
               "Merge on the server, by who owns which field; a field that another manager owns "
               "with another value is a conflict");
  app.add_flag("--force-conflicts", flags->force_conflicts,
               "With --server-side: take fields over from other managers");
  app.add_option("--field-manager", flags->manager,
                 "Who is recorded as the owner of what is applied (meshctl)");
}

absl::Status CheckServerSideFlags(const ServerSideFlags& flags, DryRun dry_run) {
  if (flags.force_conflicts && !flags.server_side) {
    return absl::InvalidArgumentError("--force-conflicts only works with --server-side");
  }
  if (flags.server_side && dry_run == DryRun::kClient) {
    return absl::InvalidArgumentError(
        "--dry-run=client doesn't work with --server-side (did you mean --dry-run=server "
        "instead?)");
  }
  return absl::OkStatus();
}

void SetServerSide(const ServerSideFlags& flags, v1::ApplyRequest* request) {
  request->set_server_side(flags.server_side);
  request->set_force_conflicts(flags.force_conflicts);
  request->set_field_manager(flags.manager);
}

absl::Status WithConflictHelp(const absl::Status& status) {
  const std::string_view message(status.message().data(), status.message().size());
  if (!absl::IsAborted(status) || message.find("Apply failed with ") == std::string_view::npos) {
    return status;
  }
  return absl::AbortedError(fmt::format("{}{}", message, kConflictHelp));
}

}  // namespace mesh::cli
