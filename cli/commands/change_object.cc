// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/change_object.h"

#include "cli/command.h"
#include "common/status.h"
#include "fmt/format.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::cli {
namespace {

constexpr int kTries = 5;

}  // namespace

absl::StatusOr<DryRun> ParseDryRun(const std::string& text) {
  if (text == "none" || text == "false") return DryRun::kNone;
  if (text == "client" || text == "true" || text.empty()) return DryRun::kClient;
  if (text == "server") return DryRun::kServer;
  return UsageError(fmt::format(
      "invalid dry-run value ({}). Must be \"none\", \"server\", or \"client\".", text));
}

std::string_view DryRunSuffix(DryRun dry_run) {
  switch (dry_run) {
    case DryRun::kClient:
      return " (dry run)";
    case DryRun::kServer:
      return " (server dry run)";
    default:
      return "";
  }
}

absl::StatusOr<v1::Resource> ChangeObject(const Target& target,
                                          const std::function<absl::Status(v1::Resource*)>& change,
                                          DryRun dry_run, const std::string& manager,
                                          ControlClient& client) {
  if (target.type.endpoints) {
    return absl::InvalidArgumentError("endpoints follow from services and pods: change these");
  }
  v1::GetRequest get;
  get.mutable_name()->set_kind(target.type.kind);
  get.mutable_name()->set_namespace_(target.ns);
  get.mutable_name()->set_name(target.name);
  for (int tries = 1;; ++tries) {
    ASSIGN_OR_RETURN(const v1::Resource present, client.Get(get));
    v1::UpdateRequest update;
    update.set_dry_run(dry_run == DryRun::kServer);
    update.set_field_manager(manager);
    *update.mutable_resource() = present;
    RETURN_IF_ERROR(change(update.mutable_resource()));
    const bool same =
        google::protobuf::util::MessageDifferencer::Equals(present, update.resource());
    if (same || dry_run == DryRun::kClient) return update.resource();
    absl::StatusOr<v1::Resource> written = client.Update(update);
    if (written.status().code() != absl::StatusCode::kAborted || tries == kTries) return written;
  }
}

}  // namespace mesh::cli
