// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>

#include "api/schema/schema.h"
#include "cli/commands/commands.h"
#include "cli/output/table.h"

namespace mesh::cli {
namespace {

struct Flags {
  bool no_headers = false;
  std::string output;
};

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (!flags.output.empty() && flags.output != "name") {
    return absl::InvalidArgumentError("--output " + flags.output +
                                      " is not available; only name is");
  }
  Table table;
  table.headers = {"NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"};
  for (const schema::KindInfo& info : schema::AllKinds()) {
    if (flags.output == "name") {
      context.out << schema::PluralWithGroup(info.kind) << "\n";
      continue;
    }
    table.rows.push_back({std::string(info.plural), std::string(info.short_name),
                          std::string(info.api_version), info.namespaced ? "true" : "false",
                          std::string(info.name)});
  }
  if (flags.output.empty()) context.out << Format(table, !flags.no_headers);
  return 0;
}

}  // namespace

Command ApiResourcesCommand() {
  return {.name = "api-resources",
          .summary = "Print the resource types that meshctl knows",
          .group = kGroupOther,
          .usage = "[flags]",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_flag("--no-headers", flags->no_headers, "Leave out the headers");
            app.add_option("-o,--output", flags->output, "name");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
