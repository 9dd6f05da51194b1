// SPDX-License-Identifier: Apache-2.0
// Names of capabilities as manifests write them.
#pragma once

#include <string>
#include <string_view>

#include "absl/strings/ascii.h"

namespace mesh::schema {

// In capitals and without prefix, as runtimes want it: "all" and "CAP_NET_ADMIN" are well known
// too.
inline std::string CapabilityName(std::string_view written) {
  std::string name = absl::AsciiStrToUpper({written.data(), written.size()});
  if (name.rfind("CAP_", 0) == 0) name.erase(0, 4);
  return name;
}

}  // namespace mesh::schema
