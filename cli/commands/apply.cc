// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "api/schema/kinds.h"
#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "api/schema/source_annotation.h"
#include "api/schema/validate.h"
#include "cli/client.h"
#include "cli/commands/change_object.h"
#include "cli/commands/commands.h"
#include "cli/commands/manifest_input.h"
#include "cli/commands/prune.h"
#include "cli/commands/server_side.h"
#include "cli/manifest/print.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  ManifestFlags input;
  std::string dry_run = "none";
  std::string output;
  std::string selector;
  std::string validate = "strict";
  PruneFlags prune;
  ServerSideFlags server_side;
};

std::string_view OutcomeText(v1::ApplyResult::Outcome outcome) {
  switch (outcome) {
    case v1::ApplyResult::CREATED:
      return "created";
    case v1::ApplyResult::CONFIGURED:
      return "configured";
    default:
      return "unchanged";
  }
}

// Where a policy and its rules stand, for those who ask which of them has decided.
void NoteSource(const manifest::Object& object, v1::Resource* resource) {
  // A part of a policy says nothing of the rules.
  if (!resource->has_network_policy() || !resource->network_policy().has_spec()) return;
  auto& policy = *resource->mutable_network_policy();
  auto& annotations = *policy.mutable_metadata()->mutable_annotations();
  // What another file or cluster has written.
  annotations.erase(schema::kSourceAnnotation);
  if (object.position.file == manifest::kStandardInput) return;
  schema::Source source{.file = object.position.file, .line = object.position.line};
  for (int i = 0; i < policy.spec().ingress_size(); ++i) {
    source.ingress.push_back(object.Locate(fmt::format("spec.ingress[{}]", i)).line);
  }
  for (int i = 0; i < policy.spec().egress_size(); ++i) {
    source.egress.push_back(object.Locate(fmt::format("spec.egress[{}]", i)).line);
  }
  annotations[schema::kSourceAnnotation] = schema::SourceText(source);
}

// What the server would be asked, answered without writing: created where the object is absent or
// no server can be asked.
absl::StatusOr<v1::ApplyResponse> DryRunHere(const v1::ApplyRequest& request, Context& context) {
  v1::ApplyResponse response;
  absl::StatusOr<ControlClient*> client = context.client();
  for (const v1::Resource& resource : request.resources()) {
    v1::ApplyResult* result = response.add_results();
    *result->mutable_resource() = resource;
    result->set_outcome(v1::ApplyResult::CREATED);
    if (std::string note = schema::StoredNote(resource); !note.empty()) {
      result->add_warnings(std::move(note));
    }
    for (const schema::Problem& problem : schema::DroppedByDefaults(resource)) {
      result->add_warnings(problem.ToString());
    }
    for (const schema::Problem& problem : schema::Warnings(resource)) {
      result->add_warnings(problem.ToString());
    }
    if (!client.ok()) continue;
    v1::GetRequest get;
    get.mutable_name()->set_kind(schema::KindOf(resource));
    get.mutable_name()->set_namespace_(schema::MetaOf(resource).namespace_());
    get.mutable_name()->set_name(schema::MetaOf(resource).name());
    const auto live = (*client)->Get(get);
    if (live.ok()) {
      result->set_outcome(v1::ApplyResult::CONFIGURED);
    } else if (live.status().code() != absl::StatusCode::kNotFound) {
      return live.status();
    }
  }
  return response;
}

absl::StatusOr<v1::ApplyResponse> Send(const v1::ApplyRequest& request, DryRun dry_run,
                                       Context& context) {
  if (dry_run == DryRun::kClient) return DryRunHere(request, context);
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(v1::ApplyResponse response, client->Apply(request));
  if (response.results_size() != request.resources_size()) {
    return absl::InternalError(fmt::format("the server answered {} results for {} objects",
                                           response.results_size(), request.resources_size()));
  }
  return response;
}

void Print(const v1::ApplyResponse& response, const Flags& flags, DryRun dry_run,
           Context& context) {
  std::vector<v1::Resource> resources;
  for (const v1::ApplyResult& result : response.results()) {
    for (const std::string& warning : result.warnings()) {
      const bool note = std::string_view(warning).starts_with(schema::kNotePrefix);
      context.err << (note ? "" : "Warning: ") << warning << "\n";
    }
    const std::string name = schema::ObjectText(result.resource());
    if (flags.output.empty()) {
      const std::string_view outcome =
          flags.server_side.server_side ? "serverside-applied" : OutcomeText(result.outcome());
      context.out << fmt::format("{} {}{}\n", name, outcome, DryRunSuffix(dry_run));
    } else if (flags.output == "name") {
      context.out << name << "\n";
    }
    resources.push_back(result.resource());
  }
  const bool one = resources.size() == 1;
  if (flags.output == "yaml") {
    context.out << (one ? manifest::ToYaml(resources[0]) : manifest::ToYamlList(resources));
  } else if (flags.output == "json") {
    context.out << (one ? manifest::ToJson(resources[0]) : manifest::ToJsonList(resources));
  }
}

absl::StatusOr<int> Run(Flags flags, Context& context) {
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
  RETURN_IF_ERROR(CheckPruneFlags(flags.prune, flags.selector));
  RETURN_IF_ERROR(CheckServerSideFlags(flags.server_side, dry_run));
  flags.input.partial = flags.server_side.server_side;
  ASSIGN_OR_RETURN(const schema::Selector selector, schema::Selector::Parse(flags.selector));
  ASSIGN_OR_RETURN(manifest::Manifest manifest, ReadManifests(flags.input, "apply", context));

  std::vector<manifest::Object> objects;
  v1::ApplyRequest request;
  request.set_dry_run(dry_run == DryRun::kServer);
  SetServerSide(flags.server_side, &request);
  for (manifest::Object& object : manifest.objects) {
    if (!selector.Matches(schema::MetaOf(object.resource).labels())) continue;
    v1::Resource& resource = *request.add_resources();
    resource = object.resource;
    NoteSource(object, &resource);
    objects.push_back(std::move(object));
  }
  if (objects.empty()) return absl::InvalidArgumentError("no objects passed to apply");

  if (flags.input.unknown != manifest::DecodeOptions::Unknown::kIgnore) {
    PrintCrossProblems(objects, context);
  }

  // One request: the server writes nothing when one object is wrong.
  const absl::StatusOr<v1::ApplyResponse> response = Send(request, dry_run, context);
  if (!response.ok()) {
    return PrintServerProblems(WithConflictHelp(response.status()), objects, context);
  }
  Print(*response, flags, dry_run, context);
  if (!flags.prune.prune) return 0;
  if (!flags.server_side.manager.empty()) flags.prune.manager = flags.server_side.manager;
  return Prune(flags.prune, flags.selector, objects, DryRunSuffix(dry_run), flags.output, context);
}

}  // namespace

Command ApplyCommand() {
  return {.name = "apply",
          .summary = "Apply a configuration to resources by file name or standard input",
          .group = kGroupBasic,
          .usage = "-f FILE... [-R] [flags]",
          .examples =
              "  meshctl apply -f web.yaml\n"
              "  meshctl apply -R -f manifests/\n"
              "  cat web.yaml | meshctl apply -f - --dry-run=server\n"
              "  meshctl apply -f manifests/ --prune -l app=web\n"
              "  meshctl apply --server-side --field-manager=ci -f web.yaml\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("-f,--filename", flags->input.files,
                           "Files, folders or - (standard input) with the configuration")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->input.recursive, "Folders of -f with all below");
            app.add_option("--dry-run", flags->dry_run,
                           "none, client (only check here) or server (check there, write nothing)")
                ->expected(0, 1);
            app.add_option("-o,--output", flags->output, "Output format: json, yaml or name");
            app.add_option("-l,--selector", flags->selector,
                           "Only objects of the files with these labels");
            app.add_option("--validate", flags->validate,
                           "Of fields that are unknown or not supported: strict (an error), warn, "
                           "or ignore (leave them out)")
                ->expected(0, 1);
            AddServerSideFlags(app, &flags->server_side);
            app.add_flag("--prune", flags->prune.prune,
                         "Delete what apply has made before, has the labels of -l (or --all) and "
                         "is not in the files");
            app.add_flag("--all", flags->prune.all, "With --prune: whatever its labels");
            app.add_option("--prune-allowlist", flags->prune.allowlist,
                           "With --prune: only this kind (GROUP/VERSION/KIND); may be repeated")
                ->allow_extra_args(false)
                ->take_all();
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
