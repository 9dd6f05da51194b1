// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fstream>
#include <memory>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include "api/schema/merge.h"
#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/change_object.h"
#include "cli/commands/commands.h"
#include "cli/commands/targets.h"
#include "cli/manifest/patch.h"
#include "cli/manifest/print.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  TargetFlags targets;
  std::string patch;
  std::string patch_file;
  std::string type = "strategic";
  std::string dry_run = "none";
  std::string output;
  std::string manager = "meshctl-patch";
};

absl::StatusOr<manifest::PatchType> ParseType(const std::string& text) {
  if (text == "strategic") return manifest::PatchType::kStrategic;
  if (text == "merge") return manifest::PatchType::kMerge;
  if (text == "json") return manifest::PatchType::kJson;
  return UsageError(fmt::format("--type must be one of [json merge strategic], not \"{}\"", text));
}

absl::StatusOr<int> Run(Flags flags, Context& context) {
  ASSIGN_OR_RETURN(const manifest::PatchType type, ParseType(flags.type));
  ASSIGN_OR_RETURN(const DryRun dry_run, ParseDryRun(flags.dry_run));
  if (!flags.output.empty() && flags.output != "name" && flags.output != "yaml" &&
      flags.output != "json") {
    return UsageError(fmt::format(
        "unable to match a printer suitable for the output format \"{}\", allowed formats are: "
        "json,name,yaml",
        flags.output));
  }
  if (flags.patch.empty() == flags.patch_file.empty()) {
    return UsageError("must specify one of --patch and --patch-file");
  }
  if (!flags.patch_file.empty()) {
    std::ifstream file(flags.patch_file);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file.is_open()) {
      return absl::NotFoundError(fmt::format("the path \"{}\" does not exist", flags.patch_file));
    }
    flags.patch = text.str();
  }
  ASSIGN_OR_RETURN(const std::vector<Target> targets, FindTargets(flags.targets, context));
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  int exit_code = 0;
  for (const Target& target : targets) {
    if (target.name.empty()) return UsageError("resource name is required");
    bool changed = false;
    const auto change = [&](v1::Resource* resource) -> absl::Status {
      ASSIGN_OR_RETURN(v1::Resource next, manifest::Patched(*resource, type, flags.patch));
      changed = !schema::SameIntent(*resource, next);
      if (changed) *resource = std::move(next);
      return absl::OkStatus();
    };
    const absl::StatusOr<v1::Resource> written =
        ChangeObject(target, change, dry_run, flags.manager, *client);
    if (!written.ok()) {
      context.err << ErrorText(written.status()) << "\n";
      exit_code = 1;
    } else if (flags.output == "yaml") {
      context.out << manifest::ToYaml(*written);
    } else if (flags.output == "json") {
      context.out << manifest::ToJson(*written);
    } else if (flags.output == "name") {
      context.out << schema::ObjectText(*written) << "\n";
    } else {
      context.out << fmt::format("{} patched{}{}\n", schema::ObjectText(*written),
                                 DryRunSuffix(dry_run), changed ? "" : " (no change)");
    }
  }
  return exit_code;
}

}  // namespace

Command PatchCommand() {
  return {.name = "patch",
          .summary = "Change fields of a resource",
          .group = kGroupOther,
          .usage = "(TYPE NAME | TYPE/NAME | -f FILE) (-p PATCH | --patch-file FILE) [flags]",
          .examples =
              "  meshctl patch deployment web -p '{\"spec\":{\"replicas\":3}}'\n"
              "  meshctl patch service web --type=json -p "
              "'[{\"op\":\"replace\",\"path\":\"/spec/ports/0/port\",\"value\":81}]'\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("resources", flags->targets.args);
            app.add_option("-f,--filename", flags->targets.files,
                           "Files or folders that name the resources")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->targets.recursive,
                         "Folders of -f with all below");
            app.add_option("-p,--patch", flags->patch, "The patch, as YAML or JSON");
            app.add_option("--patch-file", flags->patch_file, "A file with the patch");
            app.add_option("--type", flags->type, "Kind of the patch: strategic, merge or json");
            app.add_option("--dry-run", flags->dry_run,
                           "none, client (only print) or server (check there, write nothing)")
                ->expected(0, 1);
            app.add_option("-o,--output", flags->output, "Output format: json, yaml or name");
            app.add_option("--field-manager", flags->manager,
                           "Who is recorded as the owner of what changes");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
