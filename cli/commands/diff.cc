// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "api/schema/source_annotation.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/manifest_input.h"
#include "cli/commands/server_side.h"
#include "cli/commands/targets.h"
#include "cli/manifest/print.h"
#include "cli/output/unified_diff.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr int kDiffers = 1;
constexpr int kFailed = 2;

struct Flags {
  ManifestFlags input;
  std::string selector;
  std::string validate = "strict";
  ServerSideFlags server_side;
  bool managed_fields = false;
};

using Strings = google::protobuf::Map<std::string, std::string>;

// Secrets are not shown; that a value changes is.
void Mask(Strings* before, Strings* after) {
  for (auto& [key, value] : *before) {
    const auto other = after->find(key);
    const bool changes = other != after->end() && other->second != value;
    if (other != after->end()) other->second = changes ? "*** (after)" : "***";
    value = changes ? "*** (before)" : "***";
  }
  for (auto& [key, value] : *after) {
    if (!before->contains(key)) value = "***";
  }
}

// Without what is written anew in any case.
void Strip(v1::Resource* resource) {
  v1::ObjectMeta* meta = schema::MutableMetaOf(resource);
  meta->clear_resource_version();
  if (resource->has_network_policy()) meta->mutable_annotations()->erase(schema::kSourceAnnotation);
}

std::string FileName(const v1::Resource& resource) {
  const schema::KindInfo& info = schema::Info(schema::KindOf(resource));
  const v1::ObjectMeta& meta = schema::MetaOf(resource);
  std::string version(info.api_version);
  for (char& c : version) c = c == '/' ? '.' : c;
  return fmt::format("{}.{}.{}.{}", version, info.name, meta.namespace_(), meta.name());
}

absl::StatusOr<int> Diff(Flags flags, Context& context) {
  if (flags.input.files.empty()) return UsageError("must specify one of -f and -k");
  ASSIGN_OR_RETURN(flags.input.unknown, ParseValidate(flags.validate));
  RETURN_IF_ERROR(CheckServerSideFlags(flags.server_side, DryRun::kServer));
  flags.input.partial = flags.server_side.server_side;
  ASSIGN_OR_RETURN(const schema::Selector selector, schema::Selector::Parse(flags.selector));
  ASSIGN_OR_RETURN(manifest::Manifest manifest, ReadManifests(flags.input, "diff", context));
  std::vector<manifest::Object> objects;
  v1::ApplyRequest request;
  request.set_dry_run(true);
  SetServerSide(flags.server_side, &request);
  for (manifest::Object& object : manifest.objects) {
    if (!selector.Matches(schema::MetaOf(object.resource).labels())) continue;
    *request.add_resources() = object.resource;
    objects.push_back(std::move(object));
  }
  if (objects.empty()) return absl::InvalidArgumentError("no objects passed to diff");

  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  const absl::StatusOr<v1::ApplyResponse> response = client->Apply(request);
  if (!response.ok()) {
    return PrintServerProblems(WithConflictHelp(response.status()), objects, context);
  }
  bool differs = false;
  for (const v1::ApplyResult& result : response->results()) {
    v1::Resource merged = result.resource();
    v1::GetRequest get;
    get.mutable_name()->set_kind(schema::KindOf(merged));
    get.mutable_name()->set_namespace_(schema::MetaOf(merged).namespace_());
    get.mutable_name()->set_name(schema::MetaOf(merged).name());
    absl::StatusOr<v1::Resource> live = client->Get(get);
    if (!live.ok() && !IsServerNotFound(live.status())) return live.status();
    v1::Resource before = live.ok() ? *std::move(live) : schema::NewResource(get.name().kind());
    if (merged.has_secret()) {
      Mask(before.mutable_secret()->mutable_data(), merged.mutable_secret()->mutable_data());
      Mask(before.mutable_secret()->mutable_string_data(),
           merged.mutable_secret()->mutable_string_data());
    }
    Strip(&before);
    Strip(&merged);
    const std::string name = FileName(merged);
    const std::string text = UnifiedDiff(
        schema::MetaOf(before).name().empty() ? "" : manifest::ToYaml(before, flags.managed_fields),
        manifest::ToYaml(merged, flags.managed_fields), "LIVE/" + name, "MERGED/" + name);
    if (text.empty()) continue;
    differs = true;
    context.out << fmt::format("diff -u -N LIVE/{} MERGED/{}\n{}", name, name, text);
  }
  return differs ? kDiffers : 0;
}

// 1 says that there are differences, so that errors have a code of their own.
absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  const absl::StatusOr<int> code = Diff(flags, context);
  if (code.ok()) return code;
  const std::string text = ErrorText(code.status());
  if (!text.empty()) context.err << text << "\n";
  return kFailed;
}

}  // namespace

Command DiffCommand() {
  return {.name = "diff",
          .summary = "Show what apply would change on the server",
          .group = kGroupBasic,
          .usage = "-f FILE... [-R] [flags]",
          .examples =
              "  meshctl diff -f web.yaml\n"
              "  cat web.yaml | meshctl diff -f -\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("-f,--filename", flags->input.files,
                           "Files, folders or - (standard input) with the configuration")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->input.recursive, "Folders of -f with all below");
            app.add_option("-l,--selector", flags->selector,
                           "Only objects of the files with these labels");
            app.add_option("--validate", flags->validate,
                           "Of fields that are unknown or not supported: strict, warn or ignore")
                ->expected(0, 1);
            AddServerSideFlags(app, &flags->server_side);
            app.add_flag("--show-managed-fields", flags->managed_fields,
                         "Also who owns which field");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
