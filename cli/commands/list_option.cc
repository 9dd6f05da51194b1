// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/list_option.h"

#include <CLI/CLI.hpp>

#include "absl/strings/str_split.h"
#include "fmt/format.h"

namespace mesh::cli {

void AddList(CLI::App& app, const std::string& flags, std::vector<std::string>* to,
             const std::string& help) {
  // CLI11's own delimiter drops what is empty.
  const std::string name = flags.substr(flags.find("--"));
  app.add_option_function<std::vector<std::string>>(
         flags,
         [to, name](const std::vector<std::string>& values) {
           for (const std::string& value : values) {
             const std::vector<std::string> entries = absl::StrSplit(value, ',');
             for (const std::string& entry : entries) {
               if (entry.empty())
                 throw CLI::ValidationError(
                     name, fmt::format("\"{}\" has an empty entry: give a name before and behind "
                                       "each comma",
                                       value));
               to->push_back(entry);
             }
           }
         },
         help)
      ->allow_extra_args(false)
      ->take_all();
}

}  // namespace mesh::cli
