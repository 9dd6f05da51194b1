// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "cli/commands/commands.h"
#include "cli/output/explain.h"
#include "common/status.h"

namespace mesh::cli {

Command ExplainCommand() {
  return {.name = "explain",
          .summary = "Describe a kind and its fields",
          .group = kGroupBasic,
          .usage = "TYPE[.FIELD...] [--recursive]",
          .examples =
              "  meshctl explain deployment\n"
              "  meshctl explain pod.spec.containers\n"
              "  meshctl explain service --recursive\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            struct Flags {
              std::vector<std::string> paths;
              bool recursive = false;
            };
            auto flags = std::make_shared<Flags>();
            app.add_option("resource", flags->paths);
            app.add_flag("--recursive", flags->recursive, "Names of all fields below");
            return [flags, &context]() -> absl::StatusOr<int> {
              if (flags->paths.size() != 1) {
                return UsageError(
                    flags->paths.empty()
                        ? "You must specify the type of resource to explain. Use \"meshctl "
                          "api-resources\" for a complete list of supported resources."
                        : "We accept only this format: explain RESOURCE");
              }
              ASSIGN_OR_RETURN(const std::string text,
                               Explain(flags->paths.front(), flags->recursive));
              context.out << text;
              return 0;
            };
          }};
}

}  // namespace mesh::cli
