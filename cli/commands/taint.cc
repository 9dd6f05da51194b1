// SPDX-License-Identifier: Apache-2.0
// taint, cordon and uncordon: which pods a node takes.
#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/change_object.h"
#include "cli/commands/commands.h"
#include "cli/commands/node_taints.h"
#include "cli/commands/targets.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

// Recorded as the owner of what changes.
constexpr char kTaintManager[] = "meshctl-taint";

struct Flags {
  std::vector<std::string> args;
  std::string selector;
  bool all = false;
  bool overwrite = false;
  std::string dry_run = "none";
};

// Nodes by their names, or those of -l or --all.
absl::StatusOr<std::vector<Target>> FindNodes(const std::vector<std::string>& names,
                                              const Flags& flags, ControlClient& client) {
  const TypeRef type{.kind = v1::KIND_NODE};
  std::vector<Target> out;
  for (const std::string& name : names) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos) {
      ASSIGN_OR_RETURN(const TypeRef given, FindType(name.substr(0, slash)));
      if (!(given == type)) {
        return absl::InvalidArgumentError(fmt::format("{} is no node", name));
      }
    }
    out.push_back({type, "", slash == std::string::npos ? name : name.substr(slash + 1)});
  }
  if (!out.empty() || (flags.selector.empty() && !flags.all)) return out;
  ASSIGN_OR_RETURN(const v1::ListResponse list,
                   ListObjects(v1::KIND_NODE, "", flags.selector, client));
  for (const v1::Resource& item : list.items())
    out.push_back({type, "", item.node().metadata().name()});
  return out;
}

// `change` answers what it did: "cordoned".
using Change = std::function<absl::StatusOr<std::string>(v1::Node*)>;

absl::StatusOr<int> ForEach(const std::vector<Target>& nodes, const Change& change, DryRun dry_run,
                            ControlClient& client, Context& context) {
  int exit_code = 0;
  for (const Target& target : nodes) {
    std::string done;
    const auto once = [&](v1::Resource* resource) -> absl::Status {
      ASSIGN_OR_RETURN(done, change(resource->mutable_node()));
      return absl::OkStatus();
    };
    const absl::StatusOr<v1::Resource> written =
        ChangeObject(target, once, dry_run, kTaintManager, client);
    if (written.ok()) {
      context.out << fmt::format("node/{} {}{}\n", target.name, done, DryRunSuffix(dry_run));
    } else {
      context.err << ErrorText(written.status()) << "\n";
      exit_code = 1;
    }
  }
  return exit_code;
}

absl::StatusOr<int> RunTaint(Flags flags, Context& context) {
  ASSIGN_OR_RETURN(const DryRun dry_run, ParseDryRun(flags.dry_run));
  ASSIGN_OR_RETURN(const TaintChanges changes, TakeTaintChanges(&flags.args));
  if (changes.empty()) return UsageError("at least one taint update is required");
  if (flags.args.empty()) return UsageError("one or more resources must be specified: taint node");
  ASSIGN_OR_RETURN(const TypeRef type, FindType(flags.args.front()));
  if (type.kind != v1::KIND_NODE) {
    return absl::InvalidArgumentError(
        fmt::format("invalid resource type {}, only node type is supported", flags.args.front()));
  }
  flags.args.erase(flags.args.begin());
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<Target> nodes, FindNodes(flags.args, flags, *client));
  if (nodes.empty())
    return UsageError("you must specify at least one node name, or use --all or a selector");
  const Change change = [&](v1::Node* node) -> absl::StatusOr<std::string> {
    RETURN_IF_ERROR(ApplyTaintChanges(changes, flags.overwrite, node));
    return changes.Done();
  };
  return ForEach(nodes, change, dry_run, *client, context);
}

absl::StatusOr<int> RunCordon(const Flags& flags, bool cordon, Context& context) {
  ASSIGN_OR_RETURN(const DryRun dry_run, ParseDryRun(flags.dry_run));
  if (flags.args.empty() && flags.selector.empty())
    return UsageError(cordon ? "USAGE: cordon NODE [flags]" : "USAGE: uncordon NODE [flags]");
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::vector<Target> nodes, FindNodes(flags.args, flags, *client));
  const Change change = [&](v1::Node* node) -> absl::StatusOr<std::string> {
    const bool already = node->spec().unschedulable() == cordon;
    node->mutable_spec()->set_unschedulable(cordon);
    return fmt::format("{}{}", already ? "already " : "", cordon ? "cordoned" : "uncordoned");
  };
  return ForEach(nodes, change, dry_run, *client, context);
}

void DefineShared(CLI::App& app, Flags* flags) {
  app.add_option("nodes", flags->args);
  app.add_option("-l,--selector", flags->selector, "Label selector of nodes");
  app.add_option("--dry-run", flags->dry_run,
                 "none, client (only print) or server (check there, write nothing)")
      ->expected(0, 1);
}

Command Cordon(bool cordon) {
  return {.name = cordon ? "cordon" : "uncordon",
          .summary = cordon ? "Let a node take no new pods" : "Let a node take new pods again",
          .group = kGroupCluster,
          .usage = "NODE... | -l SELECTOR [flags]",
          .examples = fmt::format("  meshctl {} n2\n", cordon ? "cordon" : "uncordon"),
          .define = [cordon](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            DefineShared(app, flags.get());
            return [cordon, flags, &context] { return RunCordon(*flags, cordon, context); };
          }};
}

}  // namespace

Command TaintCommand() {
  return {.name = "taint",
          .summary = "Keep pods away from nodes, but those that tolerate it",
          .group = kGroupCluster,
          .usage = "node (NODE... | -l SELECTOR | --all) KEY[=VALUE]:EFFECT... KEY[:EFFECT]-...",
          .examples =
              "  meshctl taint node n2 dedicated=shop:NoSchedule\n"
              "  meshctl taint node n2 maintenance:NoExecute    # pods there go elsewhere\n"
              "  meshctl taint node n2 dedicated-\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            DefineShared(app, flags.get());
            app.add_flag("--all", flags->all, "All nodes");
            app.add_flag("--overwrite", flags->overwrite, "A value that is there may change");
            return [flags, &context] { return RunTaint(*flags, context); };
          }};
}

Command CordonCommand() { return Cordon(true); }
Command UncordonCommand() { return Cordon(false); }

}  // namespace mesh::cli
