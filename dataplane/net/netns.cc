// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/netns.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "common/check.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::dataplane {

absl::StatusOr<UniqueFd> OpenNetns(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, fmt::format("open network namespace {}", path));
  if (ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return absl::InvalidArgumentError(fmt::format("{} is not a network namespace", path));
  }
  return fd;
}

absl::Status InNetns(int netns_fd, const std::function<absl::Status()>& work) {
  UniqueFd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home) return ErrnoStatus(errno, "open the thread's network namespace");
  if (setns(netns_fd, CLONE_NEWNET) != 0) return ErrnoStatus(errno, "enter network namespace");
  absl::Status status = work();
  MESH_CHECK(setns(home.get(), CLONE_NEWNET) == 0) << "cannot return to the network namespace";
  return status;
}

}  // namespace mesh::dataplane
