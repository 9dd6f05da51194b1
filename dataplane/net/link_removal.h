// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "absl/status/status.h"

namespace mesh::dataplane {

// Deletes a link of the network namespace that the thread is in. The kernel answers some 20 ms
// after it has taken the link away, when nobody can be looking at what it was any more
// (rcu_barrier). So `gone` is called as soon as the link, and the other end of a veth, are there no
// more, on a thread of this function; when the link cannot be deleted, then too. Once, and before
// this returns. NOT_FOUND when there is no such link.
absl::Status RemoveLink(int ifindex, const std::function<void()>& gone);

}  // namespace mesh::dataplane
