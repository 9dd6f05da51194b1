// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"

namespace mesh::dataplane {

// What this process may do and where it runs, read once.
struct Environment {
  int kernel_major = 0, kernel_minor = 0;
  uint64_t capabilities = 0;  // effective, by bit
  bool bpffs = false;         // of the root asked about
};

absl::Status ReadEnvironment(const std::string& bpf_root, Environment* out);

// Pure: OK, or FAILED_PRECONDITION with the first thing that is missing and the way out.
absl::Status CheckEnvironment(const Environment& environment, const std::string& bpf_root);

}  // namespace mesh::dataplane
