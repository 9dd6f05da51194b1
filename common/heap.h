// SPDX-License-Identifier: Apache-2.0
// What malloc keeps, given back.
#pragma once

#include <cstddef>

namespace mesh {

// Gives free memory back to the kernel when this process holds over `slack_bytes` more than it
// uses: a burst of work leaves many times of what stays, in pages that hold a little of something
// else. True when it did. Cost: the length of malloc's lists, milliseconds for 100 MB; other
// threads that allocate wait. Thread-safe.
bool TrimHeap(size_t slack_bytes);

}  // namespace mesh
