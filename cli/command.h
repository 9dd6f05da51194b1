// SPDX-License-Identifier: Apache-2.0
// How a command of meshctl is declared and run.
//
// A command file offers one function that returns a Command (`Command GetCommand();`); main.cc
// lists them. `define` declares flags and arguments on a fresh CLI::App and returns what runs after
// the command line was read; values live in a shared_ptr that both capture:
//
//   Command ScaleCommand() {
//     return {.name = "scale", .summary = "Set a new size for a deployment or replica set",
//             .group = kGroupDeploy, .usage = "TYPE/NAME... --replicas=COUNT",
//             .define = [](CLI::App& app, Context& context) -> Action {
//               auto flags = std::make_shared<Flags>();
//               app.add_option("--replicas", flags->replicas, "The new size")->required();
//               app.add_option("resources", flags->resources);      // the positional arguments
//               return [flags, &context] { return Run(*flags, context); };
//             }};
//   }
//
// Rules that keep kubectl's habits: every repeated flag takes its last value; a list flag (`-f a -f
// b`) needs `->allow_extra_args(false)` so that it does not swallow the arguments after it. The
// global flags (-n, --server, ...) are declared for every leaf command and stand in context.flags.
// What follows `--` arrives in the positional arguments, or untouched in context.after_dash when
// the command has `takes_dash`.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace CLI {
class App;
}

namespace mesh::cli {

class ControlClient;

// Flags that every command takes.
struct GlobalFlags {
  // --server, -s: "host:port", "unix:///path" or a socket's path. Empty: see FindServer (client.h).
  std::string server;
  // --namespace, -n. Empty when not given; Context::ns() has the default.
  std::string ns;
  // --request-timeout; zero: 30 s for single calls, none for streams.
  absl::Duration request_timeout = absl::ZeroDuration();
};

// What a command runs with. One thread.
class Context {
 public:
  Context(std::istream& input, std::ostream& output, std::ostream& errors)
      : in(input), out(output), err(errors) {}

  // "default" unless -n was given.
  std::string ns() const { return flags.ns.empty() ? "default" : flags.ns; }
  // Connects on first use and stays connected. UNAVAILABLE when there is no cluster or it refuses.
  absl::StatusOr<ControlClient*> client();
  // Tests put a client of their own.
  void set_client(std::shared_ptr<ControlClient> client) { client_ = std::move(client); }

  std::istream& in;
  // The descriptor behind `in`, for what reads it raw (exec).
  int in_fd = 0;
  // `out` is a terminal: what is watched is drawn in place.
  bool out_is_terminal = false;
  std::ostream& out;
  std::ostream& err;
  GlobalFlags flags;
  // Wall clock; ages count from it.
  std::function<absl::Time()> now = [] { return absl::Now(); };
  // Until the next look of a --watch; false: there is none.
  std::function<bool(absl::Duration)> pause;
  // Arguments after `--`, for commands with takes_dash; nullopt when there was none.
  std::optional<std::vector<std::string>> after_dash;

 private:
  std::shared_ptr<ControlClient> client_;
};

// The exit code of the process, or an error, which is printed as ErrorText has it and exits 1.
using Action = std::function<absl::StatusOr<int>()>;

inline constexpr char kGroupBasic[] = "Basic commands";
inline constexpr char kGroupDeploy[] = "Deploy commands";
inline constexpr char kGroupCluster[] = "Cluster commands";
inline constexpr char kGroupTroubleshoot[] = "Troubleshooting commands";
inline constexpr char kGroupNetwork[] = "Network commands";
inline constexpr char kGroupOther[] = "Other commands";

struct Command {
  std::string name;
  std::string summary;
  // Heading in the list of commands; for commands of the first level.
  std::string group;
  // Arguments as the usage line shows them.
  std::string usage;
  std::string examples;
  // Absent when the command only has children.
  std::function<Action(CLI::App&, Context&)> define;
  std::vector<Command> children;
  std::vector<std::string> aliases;
  // What follows `--` goes to Context::after_dash instead of the positional arguments (exec).
  bool takes_dash = false;
  // Left out of lists of commands.
  bool hidden = false;
};

// Finds the command of `args` (without the program's name), reads its flags and runs it. Prints
// help and errors; returns the exit code.
int RunCommandLine(const Command& root, std::vector<std::string> args, Context& context);

// How an error reads on the terminal: `error: <message>`, `Error from server (NotFound): <message>`
// for what the server answered, or the message alone where kubectl has no prefix.
std::string ErrorText(const absl::Status& status);

// Marks a status as answered by the server with kubectl's reason ("NotFound").
absl::Status ServerError(absl::StatusCode code, std::string_view reason, std::string_view message);
// The reason, or "" when the status did not come from the server.
std::string ServerReason(const absl::Status& status);
// A status whose message is printed as it is, without "error: ".
absl::Status PlainError(absl::StatusCode code, std::string_view message);
// An error that the command has printed already: nothing more is said, exit 1.
absl::Status AlreadyPrinted();
// A wrong use: the message, then "See 'meshctl <command> --help' for usage."
absl::Status UsageError(std::string_view message);
bool IsUsageError(const absl::Status& status);

// Payload of a server error: the bytes of mesh.v1.ValidationFailure, when the server sent one.
inline constexpr char kValidationPayload[] = "mesh.v1.ValidationFailure";

}  // namespace mesh::cli
