// SPDX-License-Identifier: Apache-2.0
// label and annotate: one map of the metadata each.
#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "api/schema/schema.h"
#include "api/schema/validate.h"
#include "cli/client.h"
#include "cli/commands/change_object.h"
#include "cli/commands/commands.h"
#include "cli/commands/targets.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

using Strings = google::protobuf::Map<std::string, std::string>;

// What the two commands differ in.
struct Verb {
  bool labels;
  std::string_view noun;  // "label"
  std::string_view done;  // "labeled"
};
constexpr Verb kLabel = {true, "label", "labeled"};
constexpr Verb kAnnotate = {false, "annotation", "annotated"};

struct Flags {
  TargetFlags targets;
  bool all = false;
  bool overwrite = false;
  std::string dry_run = "none";
  std::string manager;
};

struct Changes {
  std::map<std::string, std::string> set;
  std::set<std::string> removed;
};

// "app=web" and "tier-" among the arguments; the others stay.
absl::StatusOr<Changes> TakeChanges(const Verb& verb, std::vector<std::string>* args) {
  Changes out;
  std::vector<std::string> rest;
  for (std::string& arg : *args) {
    const size_t equals = arg.find('=');
    if (equals == std::string::npos && !arg.ends_with('-')) {
      rest.push_back(std::move(arg));
      continue;
    }
    std::string key = arg.substr(0, equals == std::string::npos ? arg.size() - 1 : equals);
    std::string why = schema::CheckQualifiedName(key);
    if (equals != std::string::npos && why.empty() && verb.labels) {
      why = schema::CheckLabelValue(arg.substr(equals + 1));
    }
    if (!why.empty()) {
      return absl::InvalidArgumentError(fmt::format("invalid {} \"{}\": {}", verb.noun, arg, why));
    }
    const bool known = out.set.contains(key) || out.removed.contains(key);
    if (known) {
      return absl::InvalidArgumentError(
          fmt::format("{} \"{}\" is given more than once", verb.noun, key));
    }
    if (equals == std::string::npos) {
      out.removed.insert(std::move(key));
    } else {
      out.set[std::move(key)] = arg.substr(equals + 1);
    }
  }
  *args = std::move(rest);
  return out;
}

absl::StatusOr<int> Run(const Verb& verb, Flags flags, Context& context) {
  ASSIGN_OR_RETURN(const DryRun dry_run, ParseDryRun(flags.dry_run));
  ASSIGN_OR_RETURN(const Changes changes, TakeChanges(verb, &flags.targets.args));
  if (changes.set.empty() && changes.removed.empty()) {
    return UsageError(fmt::format("at least one {} update is required", verb.noun));
  }
  ASSIGN_OR_RETURN(const std::vector<Target> asked, FindTargets(flags.targets, context));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::vector<Target> targets;
  for (const Target& target : asked) {
    if (!target.name.empty()) {
      targets.push_back(target);
      continue;
    }
    if (flags.targets.selector.empty() && !flags.all) {
      return absl::InvalidArgumentError("resource(s) were provided, but no name was specified");
    }
    ASSIGN_OR_RETURN(const v1::ListResponse list,
                     ListObjects(target.type.kind, target.ns, flags.targets.selector, *client));
    for (const v1::Resource& item : list.items()) {
      const v1::ObjectMeta& meta = schema::MetaOf(item);
      targets.push_back({target.type, meta.namespace_(), meta.name()});
    }
  }
  int exit_code = 0;
  for (const Target& target : targets) {
    bool changed = false;
    const auto change = [&](v1::Resource* resource) -> absl::Status {
      v1::ObjectMeta* meta = schema::MutableMetaOf(resource);
      Strings& map = verb.labels ? *meta->mutable_labels() : *meta->mutable_annotations();
      changed = false;
      for (const auto& [key, value] : changes.set) {
        const auto it = map.find(key);
        if (it != map.end() && it->second != value && !flags.overwrite) {
          return absl::InvalidArgumentError(fmt::format(
              "'{}' already has a value ({}), and --overwrite is false", key, it->second));
        }
        changed = changed || it == map.end() || it->second != value;
        map[key] = value;
      }
      for (const std::string& key : changes.removed) {
        if (map.erase(key) > 0) {
          changed = true;
        } else {
          context.out << fmt::format("{} \"{}\" not found.\n", verb.noun, key);
        }
      }
      return absl::OkStatus();
    };
    const absl::StatusOr<v1::Resource> written =
        ChangeObject(target, change, dry_run, flags.manager, *client);
    if (!written.ok()) {
      context.err << ErrorText(written.status()) << "\n";
      exit_code = 1;
      continue;
    }
    const std::string done =
        changed ? changes.set.empty() && verb.labels ? "unlabeled" : std::string(verb.done)
                : fmt::format("not {}", verb.done);
    context.out << fmt::format("{}/{} {}{}\n", SingularText(target.type), target.name, done,
                               DryRunSuffix(dry_run));
  }
  return exit_code;
}

Command MapCommand(const Verb& verb, std::string name, std::string summary, std::string examples) {
  return {.name = std::move(name),
          .summary = std::move(summary),
          .group = kGroupOther,
          .usage = "TYPE (NAME... | -l SELECTOR | --all) KEY=VALUE... KEY-... [flags]",
          .examples = std::move(examples),
          .define = [verb](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            flags->manager = verb.labels ? "meshctl-label" : "meshctl-annotate";
            app.add_option("resources", flags->targets.args);
            app.add_option("-f,--filename", flags->targets.files,
                           "Files or folders that name the resources")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->targets.recursive,
                         "Folders of -f with all below");
            app.add_option("-l,--selector", flags->targets.selector, "Label selector");
            app.add_flag("--all", flags->all, "All resources of the type in the namespace");
            app.add_flag("-A,--all-namespaces", flags->targets.all_namespaces,
                         "Resources of all namespaces");
            app.add_flag("--overwrite", flags->overwrite, "A value that is there may change");
            app.add_option("--dry-run", flags->dry_run,
                           "none, client (only print) or server (check there, write nothing)")
                ->expected(0, 1);
            app.add_option("--field-manager", flags->manager,
                           "Who is recorded as the owner of what changes");
            return [verb, flags, &context] { return Run(verb, *flags, context); };
          }};
}

}  // namespace

Command LabelCommand() {
  return MapCommand(kLabel, "label", "Set or remove labels of resources",
                    "  meshctl label pod web-1 tier=front\n"
                    "  meshctl label deployment web tier=back --overwrite\n"
                    "  meshctl label pod web-1 tier-\n");
}

Command AnnotateCommand() {
  return MapCommand(kAnnotate, "annotate", "Set or remove annotations of resources",
                    "  meshctl annotate service web owner='the shop team'\n"
                    "  meshctl annotate service web owner-\n");
}

}  // namespace mesh::cli
