// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/client.h"

namespace mesh::cli {

// What to follow: a kind, and of it a namespace, a selection or one name (empty: all).
struct Followed {
  v1::Kind kind = v1::KIND_UNSPECIFIED;
  std::string ns;
  std::string selector;
  std::string name;
};

// Shows `visit` the present objects (once, also when there are none), then each one that changed; a
// deleted one in its last state. Ends, with OK, when `visit` answers false. When the server
// restarts or no longer keeps the changes since the last one seen, the objects are listed again and
// what is different is shown.
absl::Status Follow(const Followed& what, ControlClient& client,
                    const std::function<bool(const std::vector<v1::Resource>&)>& visit);

}  // namespace mesh::cli
