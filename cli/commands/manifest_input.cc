// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/manifest_input.h"

#include <ostream>
#include <utility>

#include "api/schema/schema.h"
#include "cli/client.h"
#include "cli/manifest/cross_check.h"
#include "fmt/format.h"
#include "mesh/v1/control.pb.h"

namespace mesh::cli {

absl::StatusOr<manifest::DecodeOptions::Unknown> ParseValidate(std::string_view text) {
  using Unknown = manifest::DecodeOptions::Unknown;
  if (text == "strict" || text == "true" || text.empty()) return Unknown::kError;
  if (text == "warn") return Unknown::kWarn;
  if (text == "ignore" || text == "false") return Unknown::kIgnore;
  return UsageError(
      fmt::format("invalid - validate option \"{}\"; must be one of: strict (or "
                  "true), warn, ignore (or false)",
                  text));
}

absl::StatusOr<manifest::Manifest> ReadManifests(const ManifestFlags& flags,
                                                 std::string_view command, Context& context) {
  manifest::ReadResult read = manifest::ReadSources(flags.files, flags.recursive, context.in);
  manifest::DecodeOptions options;
  options.default_namespace = context.ns();
  options.identity_only = flags.identity_only;
  options.partial = flags.partial;
  options.unknown = flags.unknown;
  manifest::Manifest manifest = manifest::Decode(read.sources, options);

  for (const std::string& error : read.errors) context.err << "error: " << error << "\n";
  for (const manifest::Diagnostic& diagnostic : manifest.diagnostics) {
    context.err << diagnostic.ToString() << "\n";
  }
  if (manifest.more_errors > 0) {
    context.err << fmt::format("error: {} more errors are not shown\n", manifest.more_errors);
  }
  if (!read.errors.empty() || !manifest.ok()) return AlreadyPrinted();
  if (manifest.objects.empty()) {
    return absl::InvalidArgumentError(fmt::format("no objects passed to {}", command));
  }

  if (flags.keep_namespaces) return manifest;
  bool conflict = false;
  for (manifest::Object& object : manifest.objects) {
    if (!schema::Info(schema::KindOf(object.resource)).namespaced) continue;
    v1::ObjectMeta* meta = schema::MutableMetaOf(&object.resource);
    if (meta->namespace_().empty()) {
      meta->set_namespace_(context.ns());
    } else if (!context.flags.ns.empty() && meta->namespace_() != context.flags.ns) {
      context.err << fmt::format(
          "{}: error: the namespace from the provided object \"{}\" does not match the namespace "
          "\"{}\". You must pass '--namespace={}' to perform this operation.\n",
          object.Locate("metadata.namespace").ToString(), meta->namespace_(), context.flags.ns,
          meta->namespace_());
      conflict = true;
    }
  }
  if (conflict) return AlreadyPrinted();
  return manifest;
}

void PrintCrossProblems(const std::vector<manifest::Object>& objects, Context& context) {
  const absl::StatusOr<ControlClient*> client = context.client();
  const manifest::Lookup lookup = [&](v1::Kind kind, const std::string& ns,
                                      const std::string& name) -> absl::StatusOr<v1::Resource> {
    if (!client.ok()) return absl::UnavailableError("there is no server to ask");
    v1::GetRequest get;
    get.mutable_name()->set_kind(kind);
    get.mutable_name()->set_namespace_(ns);
    get.mutable_name()->set_name(name);
    return (*client)->Get(get);
  };
  for (const manifest::Diagnostic& problem : manifest::CrossCheck(objects, lookup)) {
    context.err << problem.ToString() << "\n";
  }
}

absl::Status PrintServerProblems(const absl::Status& status,
                                 const std::vector<manifest::Object>& objects, Context& context) {
  const auto payload = status.GetPayload(kValidationPayload);
  v1::ValidationFailure failure;
  if (!payload || !failure.ParseFromString(std::string(*payload)) || failure.problems().empty()) {
    return status;
  }
  for (const v1::FieldProblem& problem : failure.problems()) {
    const auto index = static_cast<size_t>(problem.object_index());
    if (problem.object_index() < 0 || index >= objects.size()) return status;
    const manifest::Object& object = objects[index];
    context.err << fmt::format("{}: error: {}{}\n", object.Locate(problem.path()).ToString(),
                               problem.path().empty() ? "" : problem.path() + ": ",
                               problem.message());
  }
  return AlreadyPrinted();
}

}  // namespace mesh::cli
