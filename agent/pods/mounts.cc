// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <sstream>
#include <string_view>
#include <vector>

#include "agent/network/files.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace mesh::agent {
namespace {

// openat2(2) has no wrapper in Debian's C library.
UniqueFd OpenAt(int folder, const char* path, uint64_t flags, uint64_t resolve) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = resolve;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, folder, path, &how, sizeof how)));
}

absl::StatusOr<bool> IsMountPoint(const std::string& path) {
  struct statx info {};
  if (::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, 0, &info) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot look at {}", path));
  }
  return (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

// "\040" is a space, as the kernel writes it.
std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() &&
                       std::all_of(text.begin() + i + 1, text.begin() + i + 4,
                                   [](char c) { return c >= '0' && c <= '7'; });
    if (!octal) {
      out += text[i];
      continue;
    }
    out +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
    i += 3;
  }
  return out;
}

// In the order of mounting.
absl::StatusOr<std::vector<std::string>> MountPoints() {
  ASSIGN_OR_RETURN(const std::string table, ReadWholeFile("/proc/self/mountinfo"));
  std::vector<std::string> out;
  std::istringstream lines(table);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string id, parent, device, root, point;
    if (words >> id >> parent >> device >> root >> point) out.push_back(Unescaped(point));
  }
  return out;
}

bool IsWithin(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder + "/");
}

// Opens what is at `path` below the folder, and makes the folders that are missing.
absl::StatusOr<UniqueFd> OpenBelow(int root, const std::string& path) {
  constexpr uint64_t kStay = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  const auto failed = [&](int error) -> absl::Status {
    if (error == EXDEV || error == ELOOP) {
      return absl::PermissionDeniedError(fmt::format("subPath {} leads out of its volume", path));
    }
    return ErrnoStatus(error, fmt::format("cannot open subPath {}", path));
  };
  if (UniqueFd fd = OpenAt(root, path.c_str(), O_PATH, kStay)) return fd;
  if (errno != ENOENT) return failed(errno);
  for (size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    const std::string part = path.substr(0, at);
    if (OpenAt(root, part.c_str(), O_PATH, kStay)) continue;
    if (errno != ENOENT) return failed(errno);
    const size_t slash = part.rfind('/');
    const std::string above = slash == std::string::npos ? "." : part.substr(0, slash);
    UniqueFd parent = OpenAt(root, above.c_str(), O_RDONLY | O_DIRECTORY, kStay);
    if (!parent) return failed(errno);
    struct stat info {};
    if (::fstat(parent.get(), &info) != 0) return failed(errno);
    const std::string name = part.substr(slash == std::string::npos ? 0 : slash + 1);
    if (::mkdirat(parent.get(), name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return failed(errno);
      continue;
    }
    UniqueFd made =
        OpenAt(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY, kStay | RESOLVE_NO_SYMLINKS);
    if (!made || ::fchmod(made.get(), info.st_mode & 0777) != 0) return failed(errno);
  }
  if (UniqueFd fd = OpenAt(root, path.c_str(), O_PATH, kStay)) return fd;
  return failed(errno);
}

class KernelMounts : public Mounts {
 public:
  absl::Status Tmpfs(const std::string& folder, int64_t bytes, mode_t mode) override {
    absl::StatusOr<bool> mounted = IsMountPoint(folder);
    if (!mounted.ok()) return mounted.status();
    if (*mounted) return absl::OkStatus();
    std::string options = fmt::format("mode={:o}", static_cast<unsigned>(mode));
    if (bytes > 0) options += fmt::format(",size={}", bytes);
    if (::mount("tmpfs", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) == 0) {
      return absl::OkStatus();
    }
    return ErrnoStatus(errno, fmt::format("cannot mount a tmpfs on {}", folder));
  }

  absl::Status BindBelow(const std::string& root, const std::string& source,
                         const std::string& target) override {
    UniqueFd top(::open(root.c_str(), O_PATH | O_CLOEXEC));
    if (!top) return ErrnoStatus(errno, fmt::format("cannot open {}", root));
    absl::StatusOr<UniqueFd> from = OpenBelow(top.get(), source);
    if (!from.ok()) return from.status();
    struct stat info {};
    if (::fstat(from->get(), &info) != 0) return ErrnoStatus(errno, source);
    RETURN_IF_ERROR(UnmountAll(target));
    RETURN_IF_ERROR(MakeDirectories(target.substr(0, target.rfind('/')), 0750));
    // Of a run before it may be of the other sort.
    ::unlink(target.c_str());
    ::rmdir(target.c_str());
    if (S_ISDIR(info.st_mode)) {
      RETURN_IF_ERROR(MakeDirectories(target, 0750));
    } else {
      UniqueFd file(::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
      if (!file) return ErrnoStatus(errno, fmt::format("cannot make {}", target));
    }
    // By descriptor: what was looked at is what is mounted.
    const std::string here = fmt::format("/proc/self/fd/{}", from->get());
    if (::mount(here.c_str(), target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0) {
      return absl::OkStatus();
    }
    return ErrnoStatus(errno, fmt::format("cannot mount subPath {} on {}", source, target));
  }

  absl::Status UnmountAll(const std::string& folder) override {
    ASSIGN_OR_RETURN(std::vector<std::string> points, MountPoints());
    for (auto it = points.rbegin(); it != points.rend(); ++it) {
      if (!IsWithin(*it, folder)) continue;
      if (::umount2(it->c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
          errno != ENOENT) {
        return ErrnoStatus(errno, fmt::format("cannot unmount {}", *it));
      }
    }
    ASSIGN_OR_RETURN(points, MountPoints());
    for (const std::string& point : points) {
      if (IsWithin(point, folder)) {
        return absl::UnavailableError(fmt::format("{} is still mounted", point));
      }
    }
    return absl::OkStatus();
  }
};

// Of what `folder` has; a mount point below it is not entered (EXDEV).
absl::Status RemoveContent(UniqueFd folder, const std::string& path) {
  DIR* list = ::fdopendir(folder.get());
  if (list == nullptr) return ErrnoStatus(errno, fmt::format("cannot read {}", path));
  const int fd = folder.release();  // the list's now
  absl::Status out;
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string here = path + "/" + name;
    if (::unlinkat(fd, name.c_str(), 0) == 0) continue;
    if (errno != EISDIR) {
      out.Update(ErrnoStatus(errno, fmt::format("cannot remove {}", here)));
      continue;
    }
    UniqueFd below = OpenAt(fd, name.c_str(), O_RDONLY | O_DIRECTORY,
                            RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH);
    if (!below) {
      out.Update(ErrnoStatus(errno, fmt::format("cannot remove {}", here)));
      continue;
    }
    out.Update(RemoveContent(std::move(below), here));
    if (::unlinkat(fd, name.c_str(), AT_REMOVEDIR) != 0) {
      out.Update(ErrnoStatus(errno, fmt::format("cannot remove {}", here)));
    }
  }
  ::closedir(list);
  return out;
}

}  // namespace

std::unique_ptr<Mounts> NewKernelMounts() { return std::make_unique<KernelMounts>(); }

absl::Status RemoveOwnTree(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd && errno == ENOENT) return absl::OkStatus();
  if (!fd) return ErrnoStatus(errno, fmt::format("cannot open {}", folder));
  RETURN_IF_ERROR(RemoveContent(std::move(fd), folder));
  if (::rmdir(folder.c_str()) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("cannot remove {}", folder));
}

}  // namespace mesh::agent
