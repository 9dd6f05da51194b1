// SPDX-License-Identifier: Apache-2.0
#include "common/heap.h"

#include <malloc.h>
#include <unistd.h>

#include <fstream>

namespace mesh {
namespace {

// Memory of no file; 0: unknown.
size_t AnonymousBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0, shared = 0;
  if (!(statm >> total >> resident >> shared) || resident < shared) return 0;
  return (resident - shared) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

bool TrimHeap(size_t slack_bytes) {
  const struct mallinfo2 info = ::mallinfo2();
  if (AnonymousBytes() <= info.uordblks + info.hblkhd + slack_bytes) return false;
  return ::malloc_trim(0) == 1;
}

}  // namespace mesh
