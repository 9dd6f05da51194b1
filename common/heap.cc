// SPDX-License-Identifier: Apache-2.0
#include "common/heap.h"

#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <string_view>

namespace mesh {
namespace {

// Memory of no file; 0: unknown.
size_t AnonymousBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0, shared = 0;
  if (!(statm >> total >> resident >> shared) || resident < shared) return 0;
  return (resident - shared) * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

// Of one loaded file; nothing is loaded or unloaded meanwhile.
int ReleaseSegments(dl_phdr_info* file, size_t /*size*/, void* /*unused*/) {
  // The kernel's own, which is no file.
  if (std::string_view(file->dlpi_name).find("vdso") != std::string_view::npos) return 0;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (int i = 0; i < file->dlpi_phnum; ++i) {
    const auto& segment = file->dlpi_phdr[i];
    // What can be written to may have been.
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (file->dlpi_addr + segment.p_vaddr) & ~(page - 1);
    const uintptr_t end = file->dlpi_addr + segment.p_vaddr + segment.p_memsz;
    // One that the kernel refuses stays as it is.
    ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

bool TrimHeap(size_t slack_bytes) {
  const struct mallinfo2 info = ::mallinfo2();
  if (AnonymousBytes() <= info.uordblks + info.hblkhd + slack_bytes) return false;
  return ::malloc_trim(0) == 1;
}

void ReleaseProgramPages() { ::dl_iterate_phdr(ReleaseSegments, nullptr); }

void KeepMemorySmall(EventLoop* loop, size_t slack_bytes, absl::Duration every) {
  TrimHeap(slack_bytes);
  ReleaseProgramPages();
  loop->RunAfter(every, [=] { KeepMemorySmall(loop, slack_bytes, every); });
}

}  // namespace mesh
