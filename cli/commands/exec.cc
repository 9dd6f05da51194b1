// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/commands/session.h"
#include "cli/commands/terminal.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

struct Flags {
  std::vector<std::string> args;
  std::string container;
  bool stdin = false;
  bool tty = false;
  bool quiet = false;
};

absl::StatusOr<int> Run(Flags flags, Context& context) {
  if (flags.args.empty()) {
    return UsageError("pod, type/name or --filename must be specified");
  }
  if (!context.after_dash || context.after_dash->empty()) {
    if (flags.args.size() > 1) {
      return UsageError(
          "exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead");
    }
    return UsageError("you must specify at least one command for the container");
  }
  if (flags.args.size() > 1) {
    return UsageError(fmt::format("unexpected argument \"{}\"", flags.args[1]));
  }
  UniqueFd resized;
  if (flags.tty) resized = WatchResize();
  ASSIGN_OR_RETURN(const Place place,
                   FindPlace(flags.args[0], flags.container, flags.quiet, context));
  const std::string& phase = place.pod.status().phase();
  if (phase == "Succeeded" || phase == "Failed") {
    return absl::FailedPreconditionError(
        fmt::format("cannot exec into a container in a completed pod; current phase is {}", phase));
  }
  const bool terminal = flags.stdin && isatty(context.in_fd);
  if (flags.tty && !terminal) {
    context.err << "Unable to use a TTY - input is not a terminal or the right kind of file\n";
    flags.tty = false;
  }
  v1::ExecStart start = StartAt(place);
  for (const std::string& word : *context.after_dash) start.add_command(word);
  start.set_tty(flags.tty);
  start.set_stdin(flags.stdin);
  if (flags.tty) {
    if (auto size = SizeOfTerminal(context.in_fd)) *start.mutable_size() = *size;
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  ASSIGN_OR_RETURN(const std::unique_ptr<ExecStream> stream, OpenSession(start, *client));
  ASSIGN_OR_RETURN(
      const int exit_code,
      RunSession(*stream, {.stdin = flags.stdin, .tty = flags.tty, .resized = resized.get()},
                 context));
  if (exit_code != 0 && !flags.quiet) {
    context.err << fmt::format("command terminated with exit code {}\n", exit_code);
  }
  return exit_code;
}

}  // namespace

Command ExecCommand() {
  return {.name = "exec",
          .summary = "Execute a command in a container",
          .group = kGroupTroubleshoot,
          .usage = "(POD | TYPE/NAME) [-c CONTAINER] [-i] [-t] -- COMMAND [args...]",
          .examples =
              "  meshctl exec web-1 -- date\n"
              "  meshctl exec -it deployment/web -- sh\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("pod", flags->args);
            app.add_option("-c,--container", flags->container, "The container");
            app.add_flag("-i,--stdin", flags->stdin, "Pass standard input to the container");
            app.add_flag("-t,--tty", flags->tty, "Standard input is a terminal");
            app.add_flag("-q,--quiet", flags->quiet, "Only what the command itself prints");
            return [flags, &context] { return Run(*flags, context); };
          },
          .takes_dash = true};
}

}  // namespace mesh::cli
