// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <span>
#include <utility>
#include <vector>

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

// Requests on their way at once: as many as the server writes to disk in one go.
constexpr size_t kTogether = 256;

struct Flags {
  TargetFlags targets;
  bool all = false;
  bool wait = true;
  bool force = false;
  bool now = false;
  bool ignore_not_found = false;
  int64_t grace_period = -1;
  std::string cascade = "background";
  std::string timeout = "0s";
  std::string output;
};

// The grace period to ask for; nullopt leaves it to the object. `warning` is for the user.
absl::StatusOr<std::optional<int64_t>> GracePeriod(const Flags& flags, std::string* warning) {
  if (flags.now && flags.grace_period >= 0) {
    return absl::InvalidArgumentError("--now and --grace-period cannot be specified together");
  }
  if (flags.force && flags.grace_period > 0) {
    return absl::InvalidArgumentError(
        "--force and --grace-period greater than 0 cannot be specified together");
  }
  if (flags.now) return 1;
  if (flags.force) {
    *warning =
        "Warning: Immediate deletion does not wait for confirmation that the running resource has "
        "been terminated. The resource may continue to run on the cluster indefinitely.\n";
    return 0;
  }
  // Without --force the least is a second: the agent still confirms.
  if (flags.grace_period == 0) return 1;
  if (flags.grace_period > 0) return flags.grace_period;
  return std::nullopt;
}

struct Doomed {
  Target target;
  std::string uid;
};

// Names of everything to delete; a type alone needs -l or --all.
absl::StatusOr<std::vector<Target>> Expand(const std::vector<Target>& asked, const Flags& flags,
                                           ControlClient& client) {
  std::vector<Target> targets;
  for (const Target& target : asked) {
    if (target.type.endpoints) {
      return absl::InvalidArgumentError(
          "endpoints follow from services and pods and cannot be deleted");
    }
    if (!target.name.empty()) {
      targets.push_back(target);
      continue;
    }
    ASSIGN_OR_RETURN(v1::ListResponse list,
                     ListObjects(target.type.kind, target.ns, flags.targets.selector, client));
    for (const v1::Resource& item : list.items()) {
      const v1::ObjectMeta& meta = schema::MetaOf(item);
      targets.push_back({target.type, meta.namespace_(), meta.name()});
    }
  }
  return targets;
}

v1::DeleteRequest RequestOf(const Target& target, const Flags& flags,
                            const std::optional<int64_t>& grace) {
  v1::DeleteRequest out;
  out.mutable_name()->set_kind(target.type.kind);
  out.mutable_name()->set_namespace_(target.ns);
  out.mutable_name()->set_name(target.name);
  if (grace) out.set_grace_period_seconds(*grace);
  out.set_propagation(flags.cascade);
  return out;
}

// Those that are there yet. One list for all of a type and namespace: a wait for each asks on its
// own.
absl::StatusOr<std::vector<Doomed>> StillThere(const std::vector<Doomed>& doomed,
                                               ControlClient& client) {
  std::map<std::pair<v1::Kind, std::string>, std::set<std::string>> present;  // uids
  std::vector<Doomed> out;
  for (const Doomed& one : doomed) {
    const auto [it, is_new] = present.try_emplace({one.target.type.kind, one.target.ns});
    if (is_new) {
      ASSIGN_OR_RETURN(const v1::ListResponse list,
                       ListObjects(one.target.type.kind, one.target.ns, "", client));
      for (const v1::Resource& item : list.items()) it->second.insert(schema::MetaOf(item).uid());
    }
    if (it->second.contains(one.uid)) out.push_back(one);
  }
  return out;
}

absl::StatusOr<int> Run(Flags flags, Context& context) {
  std::string warning;
  ASSIGN_OR_RETURN(std::optional<int64_t> grace, GracePeriod(flags, &warning));
  ASSIGN_OR_RETURN(absl::Duration timeout, ParseDurationFlag(flags.timeout, "--timeout"));
  if (flags.cascade != "background" && flags.cascade != "orphan" && flags.cascade != "foreground") {
    return absl::InvalidArgumentError(fmt::format(
        "invalid cascade value ({}). Must be \"background\", \"foreground\", or \"orphan\"",
        flags.cascade));
  }
  if (flags.cascade == "foreground") {
    return absl::InvalidArgumentError(
        "--cascade=foreground is not supported yet; use background or orphan");
  }
  if (!flags.output.empty() && flags.output != "name") {
    return absl::InvalidArgumentError(
        fmt::format("unexpected -o output mode: {}. We only support '-o name'", flags.output));
  }
  if (flags.all && !flags.targets.selector.empty()) {
    return absl::InvalidArgumentError("cannot set --all and --selector at the same time");
  }
  ASSIGN_OR_RETURN(std::vector<Target> asked, FindTargets(flags.targets, context));
  const bool by_type = std::any_of(asked.begin(), asked.end(),
                                   [](const Target& target) { return target.name.empty(); });
  if (by_type && flags.targets.selector.empty() && !flags.all) {
    return absl::InvalidArgumentError("resource(s) were provided, but no name was specified");
  }
  if (!by_type && flags.all) {
    return absl::InvalidArgumentError("name cannot be provided when --all is specified");
  }
  if (!by_type && !flags.targets.selector.empty()) {
    return absl::InvalidArgumentError("name cannot be provided when a selector is specified");
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(std::vector<Target> targets, Expand(asked, flags, *client));
  if (targets.empty()) {
    if (!flags.targets.all_namespaces) {
      context.err << fmt::format("No resources found in {} namespace.\n", context.ns());
    } else {
      context.err << "No resources found\n";
    }
    return 0;
  }
  context.err << warning;
  // What is gone by the time it is reached was deleted together with its owner.
  const bool ignore_missing = flags.ignore_not_found || by_type;
  int exit_code = 0;
  std::vector<Doomed> doomed;
  for (size_t begin = 0; begin < targets.size(); begin += kTogether) {
    const auto some =
        std::span(targets).subspan(begin, std::min(kTogether, targets.size() - begin));
    std::vector<v1::DeleteRequest> requests;
    for (const Target& target : some) requests.push_back(RequestOf(target, flags, grace));
    const std::vector<absl::StatusOr<v1::Resource>> answers = client->DeleteAll(requests);
    for (size_t i = 0; i < some.size(); ++i) {
      const Target& target = some[i];
      const absl::StatusOr<v1::Resource>& deleted = answers[i];
      if (!deleted.ok()) {
        if (ignore_missing && IsServerNotFound(deleted.status())) continue;
        if (ServerReason(deleted.status()).empty()) return deleted.status();
        context.err << ErrorText(deleted.status()) << "\n";
        exit_code = 1;
        continue;
      }
      if (flags.output == "name") {
        context.out << fmt::format("{}/{}\n", SingularText(target.type), target.name);
      } else {
        context.out << fmt::format("{} \"{}\" {}\n", SingularText(target.type), target.name,
                                   flags.force ? "force deleted" : "deleted");
      }
      doomed.push_back({target, schema::MetaOf(*deleted).uid()});
    }
    context.out.flush();
  }
  if (!flags.wait) return exit_code;
  const absl::Time deadline =
      timeout == absl::ZeroDuration() ? absl::InfiniteFuture() : absl::Now() + timeout;
  ASSIGN_OR_RETURN(const std::vector<Doomed> there, StillThere(doomed, *client));
  for (const Doomed& one : there) {
    absl::Status status = WaitUntilGone(one.target, one.uid, deadline, *client);
    if (status.code() == absl::StatusCode::kDeadlineExceeded && ServerReason(status).empty()) {
      return absl::DeadlineExceededError(fmt::format("timed out waiting for the condition on {}/{}",
                                                     ResourceText(one.target.type),
                                                     one.target.name));
    }
    RETURN_IF_ERROR(status);
  }
  return exit_code;
}

}  // namespace

Command DeleteCommand() {
  return {
      .name = "delete",
      .summary = "Delete resources by file name, name, or type and label selector",
      .group = kGroupBasic,
      .usage = "TYPE (NAME... | -l SELECTOR | --all) | TYPE/NAME... | -f FILE... [flags]",
      .examples =
          "  meshctl delete pod web-1\n"
          "  meshctl delete deployment,service -l app=web\n"
          "  meshctl delete -f examples/guestbook\n",
      .define = [](CLI::App& app, Context& context) -> Action {
        auto flags = std::make_shared<Flags>();
        app.add_option("resources", flags->targets.args);
        app.add_option("-f,--filename", flags->targets.files,
                       "Files or folders with the resources; - reads standard input")
            ->allow_extra_args(false)
            ->take_all();
        app.add_flag("-R,--recursive", flags->targets.recursive, "Folders of -f with all below");
        app.add_option("-l,--selector", flags->targets.selector, "Label selector");
        app.add_flag("--all", flags->all, "All resources of the type in the namespace");
        app.add_flag("-A,--all-namespaces", flags->targets.all_namespaces,
                     "Resources of all namespaces");
        app.add_flag("--wait", flags->wait, "Wait until the resources are gone; on by default");
        app.add_option("--timeout", flags->timeout, "How long to wait; 0s waits for ever");
        app.add_option("--grace-period", flags->grace_period,
                       "Seconds that the resource gets to end; its own when negative");
        app.add_flag("--now", flags->now, "The same as --grace-period=1");
        app.add_flag("--force", flags->force, "Remove at once, without the node's confirmation");
        app.add_flag("--ignore-not-found", flags->ignore_not_found,
                     "A resource that does not exist is no error");
        app.add_option("--cascade", flags->cascade,
                       "What becomes of dependents: background (they follow) or orphan");
        app.add_option("-o,--output", flags->output, "name: print TYPE/NAME only");
        return [flags, &context] { return Run(*flags, context); };
      }};
}

}  // namespace mesh::cli
