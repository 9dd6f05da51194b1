// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/flags.h"
#include "cli/commands/targets.h"
#include "cli/commands/wait_object.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  TargetFlags targets;
  int replicas = -1;
  int current_replicas = -1;
  bool all = false;
  std::string timeout = "0s";
};

// Replicas that run, once the controller has seen the new size; -1 before.
int ObservedReplicas(const v1::Resource& object) {
  const bool deployment = object.has_deployment();
  const int64_t observed = deployment ? object.deployment().status().observed_generation()
                                      : object.replica_set().status().observed_generation();
  if (observed < schema::MetaOf(object).generation()) return -1;
  return deployment ? object.deployment().status().replicas()
                    : object.replica_set().status().replicas();
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (flags.replicas < 0) {
    return UsageError(
        "The --replicas=COUNT flag is required, and COUNT must be greater than or "
        "equal to 0");
  }
  ASSIGN_OR_RETURN(absl::Duration timeout, ParseDurationFlag(flags.timeout, "--timeout"));
  ASSIGN_OR_RETURN(std::vector<Target> asked, FindTargets(flags.targets, context));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::vector<Target> targets;
  for (const Target& target : asked) {
    if (target.type.kind != v1::KIND_DEPLOYMENT && target.type.kind != v1::KIND_REPLICA_SET) {
      return absl::InvalidArgumentError(fmt::format(
          "{} cannot be scaled; deployments and replicasets can", ResourceText(target.type)));
    }
    if (!target.name.empty()) {
      targets.push_back(target);
      continue;
    }
    if (!flags.all && flags.targets.selector.empty()) {
      return absl::InvalidArgumentError("resource(s) were provided, but no name was specified");
    }
    ASSIGN_OR_RETURN(v1::ListResponse list,
                     ListObjects(target.type.kind, target.ns, flags.targets.selector, *client));
    for (const v1::Resource& item : list.items()) {
      targets.push_back(
          {target.type, schema::MetaOf(item).namespace_(), schema::MetaOf(item).name()});
    }
  }
  if (targets.empty()) return absl::NotFoundError("no objects passed to scale");
  int exit_code = 0;
  for (const Target& target : targets) {
    v1::ScaleRequest request;
    request.mutable_name()->set_kind(target.type.kind);
    request.mutable_name()->set_namespace_(target.ns);
    request.mutable_name()->set_name(target.name);
    request.set_replicas(flags.replicas);
    if (flags.current_replicas >= 0) request.set_current_replicas(flags.current_replicas);
    absl::StatusOr<v1::Resource> scaled = client->Scale(request);
    if (!scaled.ok()) {
      if (ServerReason(scaled.status()).empty()) return scaled.status();
      context.err << ErrorText(scaled.status()) << "\n";
      exit_code = 1;
      continue;
    }
    if (timeout > absl::ZeroDuration()) {
      absl::Status status =
          WaitUntil(target, absl::Now() + timeout, *client, [&](const v1::Resource* object) {
            return !object || ObservedReplicas(*object) == flags.replicas;
          });
      if (!status.ok()) {
        context.err << ErrorText(absl::DeadlineExceededError(
                           fmt::format("timed out waiting for \"{}\" to be synced", target.name)))
                    << "\n";
        exit_code = 1;
        continue;
      }
    }
    context.out << fmt::format("{}/{} scaled\n", SingularText(target.type), target.name);
  }
  return exit_code;
}

}  // namespace

Command ScaleCommand() {
  return {.name = "scale",
          .summary = "Set a new size for a deployment or replica set",
          .group = kGroupDeploy,
          .usage = "--replicas=COUNT (TYPE NAME... | TYPE/NAME... | -f FILE) [flags]",
          .examples =
              "  meshctl scale --replicas=3 deployment/web\n"
              "  meshctl scale --current-replicas=2 --replicas=3 deployment/web\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("resources", flags->targets.args);
            app.add_option("--replicas", flags->replicas, "The new number of replicas");
            app.add_option("--current-replicas", flags->current_replicas,
                           "Scale only when this is the present number");
            app.add_option("--timeout", flags->timeout,
                           "Wait this long for the replicas; 0s does not wait");
            app.add_option("-l,--selector", flags->targets.selector, "Label selector");
            app.add_flag("--all", flags->all, "All resources of the type in the namespace");
            app.add_option("-f,--filename", flags->targets.files,
                           "Files or folders that name the resources")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->targets.recursive,
                         "Folders of -f with all below");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
