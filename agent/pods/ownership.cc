// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/ownership.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

struct Bits {
  mode_t file, folder;
};
constexpr Bits kReadAndWrite = {.file = 0660, .folder = S_ISGID | 0770};
constexpr Bits kRead = {.file = 0440, .folder = S_ISGID | 0550};

absl::Status Failed(const std::string& path, int error) {
  return absl::InternalError(fmt::format("fsGroup: {}: {}", path, std::strerror(error)));
}

absl::Status GiveOne(const std::string& path, gid_t group, const Bits& bits) {
  struct stat now = {};
  if (::lstat(path.c_str(), &now) != 0) return Failed(path, errno);
  if (now.st_gid != group && ::lchown(path.c_str(), static_cast<uid_t>(-1), group) != 0)
    return Failed(path, errno);
  if (S_ISLNK(now.st_mode)) return absl::OkStatus();
  const mode_t wanted = (now.st_mode & 07777) | (S_ISDIR(now.st_mode) ? bits.folder : bits.file);
  // A change of the group has taken setgid away.
  if (((now.st_mode & 07777) != wanted || now.st_gid != group) &&
      ::fchmodat(AT_FDCWD, path.c_str(), wanted, 0) != 0) {
    return Failed(path, errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyOwnership(const std::string& folder, const v1::PodSecurityContext& context,
                            bool read_only) {
  if (!context.has_fs_group()) return absl::OkStatus();
  const auto group = static_cast<gid_t>(context.fs_group());
  const Bits& bits = read_only ? kRead : kReadAndWrite;
  struct stat root = {};
  if (::lstat(folder.c_str(), &root) != 0) return Failed(folder, errno);
  if (context.fs_group_change_policy() == "OnRootMismatch" && root.st_gid == group &&
      (root.st_mode & bits.folder) == bits.folder) {
    return absl::OkStatus();
  }
  std::error_code error;
  std::filesystem::recursive_directory_iterator it(folder, error), end;
  for (; !error && it != end; it.increment(error))
    RETURN_IF_ERROR(GiveOne(it->path(), group, bits));
  if (error) return absl::InternalError(fmt::format("fsGroup: {}: {}", folder, error.message()));
  // The last: it says that all of it is done.
  return GiveOne(folder, group, bits);
}

}  // namespace mesh::agent
