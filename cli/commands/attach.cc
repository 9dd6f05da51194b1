// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ostream>

#include "cli/access_client.h"
#include "cli/commands/pod_commands.h"
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

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (flags.args.size() != 1) {
    return UsageError(flags.args.empty()
                          ? "at least 1 argument is required for attach"
                          : fmt::format("expected POD, TYPE/NAME, or TYPE NAME, saw {} arguments",
                                        flags.args.size()));
  }
  UniqueFd resized;
  if (flags.tty) resized = WatchResize();
  ASSIGN_OR_RETURN(const Place place,
                   FindPlace(flags.args[0], flags.container, flags.quiet, context));
  const std::string& phase = place.pod.status().phase();
  if (phase == "Succeeded" || phase == "Failed") {
    return absl::FailedPreconditionError(
        fmt::format("cannot attach a container in a completed pod; current phase is {}", phase));
  }
  const auto& containers = place.pod.spec().containers();
  const auto spec = std::find_if(containers.begin(), containers.end(),
                                 [&](const auto& each) { return each.name() == place.container; });
  const bool has_tty = spec != containers.end() && spec->tty();
  v1::StreamStart start;
  start.set_namespace_(place.pod.metadata().namespace_());
  start.set_pod(place.pod.metadata().name());
  start.set_container(place.container);
  start.set_stdin(flags.stdin);
  const bool tty = flags.tty && has_tty && flags.stdin && isatty(context.in_fd);
  if (tty) {
    if (auto size = SizeOfTerminal(context.in_fd)) *start.mutable_size() = *size;
  }
  if (flags.tty && !has_tty && !flags.quiet) {
    context.err << fmt::format("error: Unable to use a TTY - container {} did not allocate one\n",
                               place.container);
  } else if (flags.tty && !tty) {
    context.err << "Unable to use a TTY - input is not a terminal or the right kind of file\n";
  }
  if (tty && !flags.quiet) {
    context.err << "If you don't see a command prompt, try pressing enter.\n";
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  const auto access = AccessClient::New(client->server());
  ASSIGN_OR_RETURN(const std::unique_ptr<ExecStream> stream, access->Stream(start));
  return RunSession(*stream, {.stdin = flags.stdin, .tty = tty, .resized = resized.get()}, context);
}

}  // namespace

Command AttachCommand() {
  return {.name = "attach",
          .summary = "Attach to the process that a container runs",
          .group = kGroupTroubleshoot,
          .usage = "(POD | TYPE/NAME) [-c CONTAINER] [-i] [-t]",
          .examples =
              "  meshctl attach web-1\n"
              "  meshctl attach -it shell -c sh\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("pod", flags->args);
            app.add_option("-c,--container", flags->container, "The container");
            app.add_flag("-i,--stdin", flags->stdin, "Pass standard input to the container");
            app.add_flag("-t,--tty", flags->tty, "Standard input is a terminal");
            app.add_flag("-q,--quiet", flags->quiet, "Only what the container prints");
            return [flags, &context] { return Run(*flags, context); };
          }};
}

}  // namespace mesh::cli
