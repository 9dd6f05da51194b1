// SPDX-License-Identifier: Apache-2.0
// What a process holds and does not need, given back.
#pragma once

#include <cstddef>

#include "absl/time/time.h"
#include "common/event_loop.h"

namespace mesh {

// Gives free memory back to the kernel when this process holds over `slack_bytes` more than it
// uses: a burst of work leaves many times of what stays, in pages that hold a little of something
// else. True when it did. Cost: the length of malloc's lists, milliseconds for 100 MB; other
// threads that allocate wait. Thread-safe.
bool TrimHeap(size_t slack_bytes);

// Lets go of the pages of the program and its libraries that hold code and constants: most were
// needed for the start alone. What is touched again comes from the page cache, some microseconds
// for 16 pages. Thread-safe. Breakpoints that a debugger has set are lost.
void ReleaseProgramPages();

// Does both, now and every `every`, on the loop.
void KeepMemorySmall(EventLoop* loop, size_t slack_bytes, absl::Duration every);

}  // namespace mesh
