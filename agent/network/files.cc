// SPDX-License-Identifier: Apache-2.0
#include "agent/network/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::agent {

absl::Status MakeDirectories(const std::string& path, mode_t mode) {
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST)
      return ErrnoStatus(errno, fmt::format("cannot make folder {}", part));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, fmt::format("cannot open {}", path));
  std::string out;
  char buffer[65536];
  while (true) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, fmt::format("cannot read {}", path));
    if (n == 0) return out;
    out.append(buffer, static_cast<size_t>(n));
  }
}

absl::Status ReplaceFile(const std::string& path, std::string_view content, mode_t mode) {
  const size_t slash = path.rfind('/');
  const size_t name = slash == std::string::npos ? 0 : slash + 1;
  const std::string aside =
      fmt::format("{}.{}.{}.tmp", path.substr(0, name), path.substr(name), ::getpid());
  auto fail = [&](const char* what) {
    const int error = errno;
    ::unlink(aside.c_str());
    return ErrnoStatus(error, fmt::format("cannot {} {}", what, path));
  };
  {
    UniqueFd fd(::open(aside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd) return fail("write");
    while (!content.empty()) {
      const ssize_t n = ::write(fd.get(), content.data(), content.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return fail("write");
      content.remove_prefix(static_cast<size_t>(n));
    }
    if (::fchmod(fd.get(), mode) != 0) return fail("set the mode of");
  }
  // Not before every descriptor for writing is closed: an executable could not be started
  // (ETXTBSY).
  if (::rename(aside.c_str(), path.c_str()) != 0) return fail("replace");
  return absl::OkStatus();
}

}  // namespace mesh::agent
