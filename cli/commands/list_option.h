// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mesh::cli {

// A flag whose value is a list with commas, and that may be given more than once: all values
// together. An entry that is empty ("a,,b") is a wrong use.
void AddList(CLI::App& app, const std::string& flags, std::vector<std::string>* to,
             const std::string& help);

}  // namespace mesh::cli
