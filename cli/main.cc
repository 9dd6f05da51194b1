// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/commands/commands.h"

int main(int argc, char** argv) {
  mesh::cli::Context context(std::cin, std::cout, std::cerr);
  context.out_is_terminal = ::isatty(STDOUT_FILENO) == 1;
  context.pause = [](absl::Duration time) {
    absl::SleepFor(time);
    return true;
  };
  std::vector<std::string> args(argv + 1, argv + argc);
  return mesh::cli::RunCommandLine(mesh::cli::RootCommand(), std::move(args), context);
}
