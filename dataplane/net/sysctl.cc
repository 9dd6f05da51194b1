// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/sysctl.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::dataplane {

absl::Status SetIpv6(const std::string& interface, const std::string& name,
                     std::string_view value) {
  const std::string path = fmt::format("/proc/sys/net/ipv6/conf/{}/{}", interface, name);
  const UniqueFd now(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!now && errno == ENOENT) {
    return absl::FailedPreconditionError(
        fmt::format("interface {}: no IPv6: the kernel was started without it (ipv6.disable), or "
                    "its MTU is below 1280",
                    interface));
  }
  if (!now) return ErrnoStatus(errno, fmt::format("open {}", path));
  char text[32];
  const ssize_t length = read(now.get(), text, sizeof(text));
  if (length < 0) return ErrnoStatus(errno, fmt::format("read {}", path));
  std::string_view has(text, static_cast<size_t>(length));
  while (has.ends_with('\n')) has.remove_suffix(1);
  if (has == value) return absl::OkStatus();
  const UniqueFd to(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!to && errno == EROFS) {
    return absl::FailedPreconditionError(
        fmt::format("{} is {} and has to be {}: /proc/sys is read-only here; set it, or run the "
                    "agent where it can be written",
                    path, has, value));
  }
  if (!to || write(to.get(), value.data(), value.size()) < 0) {
    return ErrnoStatus(errno, fmt::format("write {} to {}", value, path));
  }
  return absl::OkStatus();
}

}  // namespace mesh::dataplane
