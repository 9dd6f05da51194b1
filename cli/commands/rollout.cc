// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/flags.h"
#include "cli/commands/rollout_status.h"
#include "cli/commands/targets.h"
#include "cli/commands/wait_object.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  TargetFlags targets;
  bool watch = true;
  std::string timeout = "0s";
};

// Deployments by name; a type alone stands for all of them.
absl::StatusOr<std::vector<Target>> Deployments(const Flags& flags, Context& context,
                                                ControlClient& client) {
  ASSIGN_OR_RETURN(std::vector<Target> asked, FindTargets(flags.targets, context));
  std::vector<Target> targets;
  for (const Target& target : asked) {
    if (target.type.kind != v1::KIND_DEPLOYMENT) {
      // Files may hold other kinds beside: those have no rollout.
      if (!flags.targets.files.empty()) continue;
      return absl::InvalidArgumentError(
          fmt::format("no rollout for {}; deployments have one", ResourceText(target.type)));
    }
    if (!target.name.empty()) {
      targets.push_back(target);
      continue;
    }
    ASSIGN_OR_RETURN(v1::ListResponse list,
                     ListObjects(target.type.kind, target.ns, flags.targets.selector, client));
    for (const v1::Resource& item : list.items()) {
      targets.push_back(
          {target.type, schema::MetaOf(item).namespace_(), schema::MetaOf(item).name()});
    }
  }
  if (targets.empty()) return absl::NotFoundError("no deployments found");
  return targets;
}

absl::Status WaitForRollout(const Target& target, bool watch, absl::Time deadline,
                            ControlClient& client, Context& context) {
  absl::Status problem;
  std::string last;
  absl::Status status = WaitUntil(target, deadline, client, [&](const v1::Resource* object) {
    if (!object) {
      problem = last.empty()
                    ? ServerError(absl::StatusCode::kNotFound, "NotFound",
                                  fmt::format("deployments.apps \"{}\" not found", target.name))
                    : absl::NotFoundError("object has been deleted");
      return true;
    }
    absl::StatusOr<RolloutState> state = RolloutStatus(object->deployment());
    if (!state.ok()) {
      problem = state.status();
      return true;
    }
    if (state->message != last) {
      context.out << state->message;
      context.out.flush();
      last = state->message;
    }
    return state->done || !watch;
  });
  if (status.code() == absl::StatusCode::kDeadlineExceeded && ServerReason(status).empty()) {
    return absl::DeadlineExceededError("timed out waiting for the condition");
  }
  RETURN_IF_ERROR(status);
  return problem;
}

absl::StatusOr<int> RunStatus(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(absl::Duration timeout, ParseDurationFlag(flags.timeout, "--timeout"));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::vector<Target> targets, Deployments(flags, context, *client));
  const absl::Time deadline =
      timeout > absl::ZeroDuration() ? absl::Now() + timeout : absl::InfiniteFuture();
  for (const Target& target : targets) {
    RETURN_IF_ERROR(WaitForRollout(target, flags.watch, deadline, *client, context));
  }
  return 0;
}

absl::StatusOr<int> RunRestart(const Flags& flags, Context& context) {
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::vector<Target> targets, Deployments(flags, context, *client));
  const std::string now =
      absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", context.now(), absl::UTCTimeZone());
  for (const Target& target : targets) {
    // A controller may write the object between the two calls.
    for (int attempt = 1;; ++attempt) {
      v1::GetRequest get;
      get.mutable_name()->set_kind(target.type.kind);
      get.mutable_name()->set_namespace_(target.ns);
      get.mutable_name()->set_name(target.name);
      ASSIGN_OR_RETURN(v1::Resource object, client->Get(get));
      auto& annotations = *object.mutable_deployment()
                               ->mutable_spec()
                               ->mutable_template_()
                               ->mutable_metadata()
                               ->mutable_annotations();
      annotations["kubectl.kubernetes.io/restartedAt"] = now;
      v1::UpdateRequest update;
      update.set_field_manager("meshctl-rollout");
      *update.mutable_resource() = std::move(object);
      absl::Status status = client->Update(update).status();
      if (status.code() == absl::StatusCode::kAborted && attempt < 5) continue;
      RETURN_IF_ERROR(status);
      break;
    }
    context.out << fmt::format("{}/{} restarted\n", SingularText(target.type), target.name);
  }
  return 0;
}

void AddTargetFlags(CLI::App& app, TargetFlags* targets) {
  app.add_option("resources", targets->args);
  app.add_option("-f,--filename", targets->files, "Files or folders that name the resources")
      ->allow_extra_args(false)
      ->take_all();
  app.add_flag("-R,--recursive", targets->recursive, "Folders of -f with all below");
  app.add_option("-l,--selector", targets->selector, "Label selector");
}

}  // namespace

Command RolloutCommand() {
  Command status = {
      .name = "status",
      .summary = "Show the state of a rollout until it is done",
      .usage = "deployment/NAME... [flags]",
      .examples = "  meshctl rollout status deployment/web --timeout=60s\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto flags = std::make_shared<Flags>();
        AddTargetFlags(app, &flags->targets);
        app.add_flag("-w,--watch", flags->watch, "Until the rollout is done; on by default");
        app.add_option("--timeout", flags->timeout, "How long to wait; 0s waits for ever");
        return [flags, &context] { return RunStatus(*flags, context); };
      }};
  Command restart = {.name = "restart",
                     .summary = "Replace all pods of a deployment, as a rollout",
                     .usage = "deployment/NAME... [flags]",
                     .examples = "  meshctl rollout restart deployment/web\n",
                     .define = [](CLI::App& app, Context& context) -> Action {
                       auto flags = std::make_shared<Flags>();
                       AddTargetFlags(app, &flags->targets);
                       return [flags, &context] { return RunRestart(*flags, context); };
                     }};
  return {.name = "rollout",
          .summary = "Follow and start rollouts of deployments",
          .group = kGroupDeploy,
          .children = {restart, status}};
}

}  // namespace mesh::cli
