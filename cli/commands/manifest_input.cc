// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/manifest_input.h"

#include <ostream>
#include <utility>

#include "api/schema/schema.h"
#include "fmt/format.h"
#include "mesh/v1/control.pb.h"

namespace mesh::cli {

absl::StatusOr<manifest::Manifest> ReadManifests(const ManifestFlags& flags,
                                                 std::string_view command, Context& context) {
  manifest::ReadResult read = manifest::ReadSources(flags.files, flags.recursive, context.in);
  manifest::DecodeOptions options;
  options.default_namespace = context.ns();
  options.identity_only = flags.identity_only;
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
