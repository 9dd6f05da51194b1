// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/commands/commands.h"

int main(int argc, char** argv) {
  mesh::cli::Context context(std::cin, std::cout, std::cerr);
  std::vector<std::string> args(argv + 1, argv + argc);
  return mesh::cli::RunCommandLine(mesh::cli::RootCommand(), std::move(args), context);
}
