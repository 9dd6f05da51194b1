// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "cli/commands/commands.h"
#include "cli/commands/manifest_input.h"
#include "cli/manifest/print.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  ManifestFlags input;
  std::string output = "yaml";
  std::string validate = "strict";
};

absl::StatusOr<int> Run(Flags flags, Context& context) {
  if (flags.input.files.empty()) return UsageError("must specify one of -f and -k");
  if (flags.output != "yaml" && flags.output != "json") {
    return UsageError(fmt::format(
        "unable to match a printer suitable for the output format \"{}\", allowed formats are: "
        "json,yaml",
        flags.output));
  }
  ASSIGN_OR_RETURN(flags.input.unknown, ParseValidate(flags.validate));
  flags.input.keep_namespaces = true;
  ASSIGN_OR_RETURN(const manifest::Manifest manifest,
                   ReadManifests(flags.input, "convert", context));
  std::vector<v1::Resource> resources;
  for (const manifest::Object& object : manifest.objects) resources.push_back(object.resource);
  if (flags.output == "json") {
    context.out << (resources.size() == 1 ? manifest::ToJson(resources[0])
                                          : manifest::ToJsonList(resources));
    return 0;
  }
  for (size_t i = 0; i < resources.size(); ++i) {
    context.out << (i > 0 ? "---\n" : "") << manifest::ToYaml(resources[i]);
  }
  return 0;
}

}  // namespace

Command ConvertCommand() {
  return {.name = "convert",
          .summary = "Print manifests with the present apiVersion of each kind",
          .group = kGroupOther,
          .usage = "-f FILE... [-R] [-o yaml|json]",
          .examples = "  meshctl convert -f old-deployment.yaml > deployment.yaml\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("-f,--filename", flags->input.files,
                           "Files, folders or - (standard input) with the configuration")
                ->allow_extra_args(false)
                ->take_all();
            app.add_flag("-R,--recursive", flags->input.recursive, "Folders of -f with all below");
            app.add_option("-o,--output", flags->output, "Output format: yaml or json");
            app.add_option("--validate", flags->validate,
                           "Of fields that are unknown or not supported: strict, warn or ignore")
                ->expected(0, 1);
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
