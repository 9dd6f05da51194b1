// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mesh::dataplane {

// Sets net.ipv6.conf.<interface>.<name> in the thread's network namespace; what has the value is
// not written. FAILED_PRECONDITION: the kernel, or the interface, has no IPv6, or /proc/sys is
// read-only.
absl::Status SetIpv6(const std::string& interface, const std::string& name, std::string_view value);

}  // namespace mesh::dataplane
