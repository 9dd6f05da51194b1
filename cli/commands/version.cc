// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <ostream>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/output/structured.h"
#include "common/status.h"
#include "common/version.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  bool client_only = false;
  std::string output;
};

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (!flags.output.empty() && flags.output != "json" && flags.output != "yaml") {
    return absl::InvalidArgumentError("--output must be 'yaml' or 'json'");
  }
  std::string server;
  absl::Status problem;
  if (!flags.client_only) {
    absl::StatusOr<ControlClient*> client = context.client();
    if (client.ok()) {
      absl::StatusOr<v1::VersionResponse> answer = (*client)->Version();
      if (answer.ok()) server = answer->version();
      problem = answer.status();
    } else {
      problem = client.status();
    }
  }
  if (flags.output.empty()) {
    context.out << fmt::format("Client Version: {}\n", kVersion);
    if (!server.empty()) context.out << fmt::format("Server Version: {}\n", server);
  } else {
    std::string json = fmt::format("{{\"clientVersion\":{{\"gitVersion\":\"{}\"}}", kVersion);
    if (!server.empty()) {
      json += fmt::format(",\"serverVersion\":{{\"gitVersion\":\"{}\"}}", server);
    }
    json += "}";
    context.out << (flags.output == "json" ? PrettyJson(json) : YamlFromJson(json));
  }
  RETURN_IF_ERROR(problem);
  return 0;
}

}  // namespace

Command VersionCommand() {
  return {.name = "version",
          .summary = "Print the versions of client and server",
          .group = kGroupOther,
          .usage = "[--client] [-o json|yaml]",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_flag("--client", flags->client_only, "Only the client's, without a server");
            app.add_option("-o,--output", flags->output, "json or yaml");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
