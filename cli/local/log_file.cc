// SPDX-License-Identifier: Apache-2.0
#include "cli/local/log_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli::local {

absl::Status RotateLog(const std::string& path, int64_t bytes_max) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus() : ErrnoStatus(errno, fmt::format("stat {}", path));
  }
  if (info.st_size <= bytes_max) return absl::OkStatus();
  const UniqueFd log(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!log) return ErrnoStatus(errno, fmt::format("open {}", path));
  const std::string part = path + ".part";
  const UniqueFd copy(::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!copy) return ErrnoStatus(errno, fmt::format("open {}", part));
  // To its end, which moves while the log is written.
  while (true) {
    const ssize_t copied = ::sendfile(copy.get(), log.get(), nullptr, 1 << 20);
    if (copied == 0) break;
    if (copied < 0 && errno != EINTR) return ErrnoStatus(errno, fmt::format("copy {}", path));
  }
  if (::ftruncate(log.get(), 0) != 0) return ErrnoStatus(errno, fmt::format("truncate {}", path));
  if (::rename(part.c_str(), (path + ".1").c_str()) != 0)
    return ErrnoStatus(errno, fmt::format("rename {}", part));
  return absl::OkStatus();
}

}  // namespace mesh::cli::local
