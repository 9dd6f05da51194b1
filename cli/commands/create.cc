// SPDX-License-Identifier: Apache-2.0
// create -f and replace -f: the object as the file has it, without a merge.
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/commands/change_object.h"
#include "cli/commands/commands.h"
#include "cli/commands/manifest_input.h"
#include "cli/manifest/print.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  ManifestFlags input;
  std::string dry_run = "none";
  std::string output;
  std::string validate = "strict";
  std::string manager = "meshctl-replace";
};

enum class Verb : uint8_t { kCreate, kReplace };

absl::StatusOr<v1::Resource> Write(Verb verb, const v1::Resource& resource, DryRun dry_run,
                                   const std::string& manager, Context& context) {
  if (dry_run == DryRun::kClient) return resource;
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  if (verb == Verb::kCreate) {
    v1::CreateRequest request;
    *request.mutable_resource() = resource;
    request.set_dry_run(dry_run == DryRun::kServer);
    return client->Create(request);
  }
  v1::UpdateRequest request;
  request.set_field_manager(manager);
  *request.mutable_resource() = resource;
  request.set_dry_run(dry_run == DryRun::kServer);
  return client->Update(request);
}

absl::StatusOr<int> Run(Verb verb, Flags flags, Context& context) {
  const std::string_view name = verb == Verb::kCreate ? "create" : "replace";
  if (flags.input.files.empty()) return UsageError("must specify one of -f and -k");
  if (!flags.output.empty() && flags.output != "name" && flags.output != "yaml" &&
      flags.output != "json") {
    return UsageError(fmt::format(
        "unable to match a printer suitable for the output format \"{}\", allowed formats are: "
        "json,name,yaml",
        flags.output));
  }
  ASSIGN_OR_RETURN(const DryRun dry_run, ParseDryRun(flags.dry_run));
  ASSIGN_OR_RETURN(flags.input.unknown, ParseValidate(flags.validate));
  ASSIGN_OR_RETURN(const manifest::Manifest manifest, ReadManifests(flags.input, name, context));
  if (flags.input.unknown != manifest::DecodeOptions::Unknown::kIgnore) {
    PrintCrossProblems(manifest.objects, context);
  }
  // One after the other, as kubectl: what is refused does not hold up the rest.
  int exit_code = 0;
  std::vector<v1::Resource> written;
  for (const manifest::Object& object : manifest.objects) {
    absl::StatusOr<v1::Resource> answer =
        Write(verb, object.resource, dry_run, flags.manager, context);
    if (!answer.ok()) {
      const absl::Status status = PrintServerProblems(answer.status(), {object}, context);
      const std::string text = ErrorText(status);
      if (!text.empty()) context.err << text << "\n";
      exit_code = 1;
      continue;
    }
    if (flags.output.empty()) {
      context.out << fmt::format("{} {}d{}\n", schema::ObjectText(*answer), name,
                                 DryRunSuffix(dry_run));
    } else if (flags.output == "name") {
      context.out << schema::ObjectText(*answer) << "\n";
    }
    written.push_back(*std::move(answer));
  }
  if (written.empty()) return exit_code;
  const bool one = written.size() == 1;
  if (flags.output == "yaml") {
    context.out << (one ? manifest::ToYaml(written[0]) : manifest::ToYamlList(written));
  } else if (flags.output == "json") {
    context.out << (one ? manifest::ToJson(written[0]) : manifest::ToJsonList(written));
  }
  return exit_code;
}

Action Define(Verb verb, CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  app.add_option("-f,--filename", flags->input.files,
                 "Files, folders or - (standard input) with the resources")
      ->allow_extra_args(false)
      ->take_all();
  app.add_flag("-R,--recursive", flags->input.recursive, "Folders of -f with all below");
  app.add_option("--dry-run", flags->dry_run,
                 "none, client (only check here) or server (check there, write nothing)")
      ->expected(0, 1);
  app.add_option("-o,--output", flags->output, "Output format: json, yaml or name");
  app.add_option("--validate", flags->validate,
                 "Of fields that are unknown or not supported: strict, warn or ignore")
      ->expected(0, 1);
  if (verb == Verb::kReplace) {
    app.add_option("--field-manager", flags->manager,
                   "Who is recorded as the owner of what changes");
  }
  return [verb, flags, &context] { return Run(verb, *flags, context); };
}

}  // namespace

Command CreateCommand() {
  return {.name = "create",
          .summary = "Create resources from files; what is there already is an error",
          .group = kGroupBasic,
          .usage = "-f FILE... [-R] [flags]",
          .examples = "  meshctl create -f job.yaml\n",
          .define = [](CLI::App& app, Context& context) {
            return Define(Verb::kCreate, app, context);
          }};
}

Command ReplaceCommand() {
  return {.name = "replace",
          .summary = "Replace resources by what files have, without a merge",
          .group = kGroupBasic,
          .usage = "-f FILE... [-R] [flags]",
          .examples = "  meshctl get service web -o yaml | sed s/80/81/ | meshctl replace -f -\n",
          .define = [](CLI::App& app, Context& context) {
            return Define(Verb::kReplace, app, context);
          }};
}

}  // namespace mesh::cli
