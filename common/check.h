// SPDX-License-Identifier: Apache-2.0
// MESH_CHECK(condition) << "why": a broken invariant ends the process, in release builds too.
#pragma once

#include <sstream>

namespace mesh::internal {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace mesh::internal

#define MESH_CHECK(condition)                 \
  (condition) ? (void)0                       \
              : ::mesh::internal::Voidify() & \
                    ::mesh::internal::CheckFailure(__FILE__, __LINE__, #condition).stream()
#ifdef NDEBUG
#define MESH_DCHECK(condition) MESH_CHECK(true || (condition))
#else
#define MESH_DCHECK(condition) MESH_CHECK(condition)
#endif
