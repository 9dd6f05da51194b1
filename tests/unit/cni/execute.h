// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace mesh::cni {

struct Outcome {
  int exit_code = -1;  // -1: ended by a signal
  std::string out, err;
  absl::Duration wall;  // from before the process existed until it was gone
  // Of the error object; 0 when the output is none.
  int code() const;
};

// Runs the built mesh-cni under the name `argv0` with exactly this environment ("NAME=value") and
// standard input.
Outcome Execute(std::vector<std::string> environment, const std::string& input,
                std::string argv0 = "mesh-cni");

}  // namespace mesh::cni
