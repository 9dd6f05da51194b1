// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace mesh::dataplane {

// absl::Status for an errno of bpf(2), "<what>: <text>". The general table misreads some of them: a
// full hash map answers E2BIG, a feature that is not there 524 (ENOTSUPP).
absl::Status BpfErrnoStatus(int error, std::string_view what);

}  // namespace mesh::dataplane
