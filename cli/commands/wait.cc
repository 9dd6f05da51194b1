// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/flags.h"
#include "cli/commands/targets.h"
#include "cli/commands/wait_condition.h"
#include "cli/commands/wait_object.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  TargetFlags targets;
  bool all = false;
  std::string condition;
  std::string timeout = "30s";
};

absl::Status TimedOut(const Target& target) {
  return absl::DeadlineExceededError(fmt::format("timed out waiting for the condition on {}/{}",
                                                 ResourceText(target.type), target.name));
}

// Waits for one object. NOT_FOUND when it does not exist or goes away while it is waited for.
absl::Status WaitFor(const WaitCondition& condition, const Target& target, absl::Time deadline,
                     ControlClient& client) {
  switch (condition.kind) {
    case WaitCondition::Kind::kDelete:
      return WaitUntilGone(target, /*uid=*/"", deadline, client);
    case WaitCondition::Kind::kCreate:
      return WaitUntil(target, deadline, client,
                       [](const v1::Resource* object) { return object != nullptr; });
    default:
      break;
  }
  absl::Status problem;
  RETURN_IF_ERROR(WaitUntil(target, deadline, client, [&](const v1::Resource* object) {
    if (!object) {
      problem =
          ServerError(absl::StatusCode::kNotFound, "NotFound",
                      fmt::format("{} \"{}\" not found", PluralText(target.type), target.name));
      return true;
    }
    absl::StatusOr<bool> met = IsMet(condition, *object);
    if (!met.ok()) problem = met.status();
    return !met.ok() || *met;
  }));
  return problem;
}

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (flags.condition.empty()) {
    return UsageError("required flag(s) \"for\" not set");
  }
  ASSIGN_OR_RETURN(WaitCondition condition, ParseWaitCondition(flags.condition));
  ASSIGN_OR_RETURN(absl::Duration timeout, ParseDurationFlag(flags.timeout, "--timeout"));
  ASSIGN_OR_RETURN(std::vector<Target> asked, FindTargets(flags.targets, context));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  const absl::Time deadline = DeadlineAfter(timeout, absl::Now());

  std::vector<Target> targets;
  for (const Target& target : asked) {
    if (target.type.endpoints) {
      return absl::InvalidArgumentError("cannot wait for endpoints; wait for their pods");
    }
    if (!target.name.empty()) {
      targets.push_back(target);
      continue;
    }
    if (flags.targets.selector.empty() && !flags.all) {
      return absl::InvalidArgumentError(
          "resource(s) were provided, but no name, label selector, or --all flag specified");
    }
    ASSIGN_OR_RETURN(v1::ListResponse list,
                     ListObjects(target.type.kind, target.ns, flags.targets.selector, *client));
    for (const v1::Resource& item : list.items()) {
      const v1::ObjectMeta& meta = schema::MetaOf(item);
      targets.push_back({target.type, meta.namespace_(), meta.name()});
    }
  }
  if (targets.empty()) {
    if (condition.kind == WaitCondition::Kind::kDelete) return 0;
    context.err << "error: no matching resources found\n";
    return 1;
  }
  int exit_code = 0;
  for (const Target& target : targets) {
    absl::Status status = WaitFor(condition, target, deadline, *client);
    if (status.code() == absl::StatusCode::kDeadlineExceeded && ServerReason(status).empty()) {
      status = TimedOut(target);
    }
    if (status.ok()) {
      context.out << fmt::format("{}/{} condition met\n", SingularText(target.type), target.name);
      context.out.flush();
    } else {
      context.err << ErrorText(status) << "\n";
      exit_code = 1;
    }
  }
  return exit_code;
}

}  // namespace

Command WaitCommand() {
  return {.name = "wait",
          .summary = "Wait for a condition on one or many resources",
          .group = kGroupTroubleshoot,
          .usage = "TYPE/NAME... | TYPE [NAME...] (-l SELECTOR | --all) --for=CONDITION [flags]",
          .examples =
              "  meshctl wait --for=condition=Ready pod/web-1\n"
              "  meshctl wait --for=condition=Available deployment/web --timeout=60s\n"
              "  meshctl wait --for=jsonpath='{.status.phase}'=Running pods -l app=web\n"
              "  meshctl wait --for=delete pod/web-1\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("resources", flags->targets.args);
            app.add_option("--for", flags->condition,
                           "condition=TYPE[=STATUS], jsonpath={...}[=VALUE], create or delete");
            app.add_option("--timeout", flags->timeout,
                           "How long; 0 checks once, negative means a week. 30s by default");
            app.add_option("-l,--selector", flags->targets.selector, "Label selector");
            app.add_flag("--all", flags->all, "All resources of the type in the namespace");
            app.add_flag("-A,--all-namespaces", flags->targets.all_namespaces,
                         "Resources of all namespaces");
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
