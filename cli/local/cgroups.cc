// SPDX-License-Identifier: Apache-2.0
#include "cli/local/cgroups.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "absl/time/clock.h"
#include "cli/local/process.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

constexpr char kCgroupRoot[] = "/sys/fs/cgroup";

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  size_t start = 0;
  while (start <= text.size()) {
    const size_t end = std::min(text.find(separator, start), text.size());
    if (end > start) parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

// Options of the mount that name a version 1 hierarchy: not rw, not release agents.
std::string HierarchyOptions(std::string_view super_options) {
  std::string options;
  for (const std::string_view option : Split(super_options, ',')) {
    if (option == "rw" || option == "ro" || option == "xattr" || option == "clone_children" ||
        option == "noprefix" || option == "cpuset_v2_mode" || option == "favordynmods" ||
        option.substr(0, 14) == "release_agent=") {
      continue;
    }
    options += (options.empty() ? "" : ",") + std::string(option);
  }
  return options;
}

// A new version 1 cpuset group has no CPU and refuses processes.
absl::Status CopyCpuset(const std::string& parent, const std::string& child) {
  for (const char* file : {"cpuset.cpus", "cpuset.mems"}) {
    ASSIGN_OR_RETURN(const std::string own, ReadFile(fmt::format("{}/{}", child, file)));
    if (own != "\n" && !own.empty()) continue;
    ASSIGN_OR_RETURN(const std::string value, ReadFile(fmt::format("{}/{}", parent, file)));
    RETURN_IF_ERROR(WriteControlFile(fmt::format("{}/{}", child, file), value));
  }
  return absl::OkStatus();
}

void HandDownControllers(const std::string& group) {
  const auto controllers = ReadFile(group + "/cgroup.controllers");
  if (!controllers.ok()) return;
  for (std::string_view controller : Split(*controllers, ' ')) {
    if (controller.back() == '\n') controller.remove_suffix(1);
    if (controller.empty()) continue;
    // Some cannot be handed down on some hosts; limits of that kind are then not there.
    WriteControlFile(group + "/cgroup.subtree_control", fmt::format("+{}", controller))
        .IgnoreError();
  }
}

void CollectProcesses(const std::string& group, std::set<int>* pids) {
  if (const auto procs = ReadFile(group + "/cgroup.procs"); procs.ok()) {
    for (const std::string_view line : Split(*procs, '\n')) {
      int pid = 0;
      std::from_chars(line.data(), line.data() + line.size(), pid);
      if (pid > 0) pids->insert(pid);
    }
  }
  DIR* directory = ::opendir(group.c_str());
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      CollectProcesses(fmt::format("{}/{}", group, entry->d_name), pids);
    }
  }
  ::closedir(directory);
}

absl::Status RemoveGroup(const std::string& group) {
  DIR* directory = ::opendir(group.c_str());
  if (directory == nullptr) return absl::OkStatus();
  std::vector<std::string> children;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      children.push_back(fmt::format("{}/{}", group, entry->d_name));
    }
  }
  ::closedir(directory);
  for (const std::string& child : children) RETURN_IF_ERROR(RemoveGroup(child));
  // A process that just ended may hold its group for a moment.
  int error = 0;
  const bool removed = WaitUntil(absl::Now() + absl::Seconds(5), [&] {
    if (::rmdir(group.c_str()) == 0 || errno == ENOENT) return true;
    error = errno;
    return error != EBUSY;
  });
  if (removed && ::access(group.c_str(), F_OK) != 0) return absl::OkStatus();
  return ErrnoStatus(error, "remove control group " + group);
}

}  // namespace

std::vector<Hierarchy> ParseHierarchies(std::string_view mountinfo) {
  std::vector<Hierarchy> hierarchies;
  std::set<std::string, std::less<>> seen;
  for (const std::string_view line : Split(mountinfo, '\n')) {
    const std::vector<std::string_view> fields = Split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (fields.size() < 7 || fields.end() - dash < 4) continue;
    const std::string_view type = dash[1];
    if (type != "cgroup" && type != "cgroup2") continue;
    // The same hierarchy may be mounted more than once: its device number tells.
    if (!seen.insert(std::string(fields[2])).second) continue;
    Hierarchy hierarchy;
    hierarchy.mount_point = std::string(fields[4]);
    hierarchy.v2 = type == "cgroup2";
    if (!hierarchy.v2) hierarchy.options = HierarchyOptions(dash[3]);
    hierarchies.push_back(std::move(hierarchy));
  }
  return hierarchies;
}

absl::StatusOr<std::vector<Hierarchy>> HostHierarchies() {
  ASSIGN_OR_RETURN(const std::string mountinfo, ReadFile("/proc/self/mountinfo"));
  std::vector<Hierarchy> hierarchies = ParseHierarchies(mountinfo);
  if (hierarchies.empty()) {
    return absl::FailedPreconditionError(
        "no control groups are mounted: mount -t cgroup2 none /sys/fs/cgroup");
  }
  return hierarchies;
}

absl::Status EnterCgroup(const std::vector<Hierarchy>& hierarchies, const std::string& group) {
  for (const Hierarchy& hierarchy : hierarchies) {
    std::string path = hierarchy.mount_point;
    for (const std::string_view part : Split(group, '/')) {
      if (hierarchy.v2) HandDownControllers(path);
      const std::string child = fmt::format("{}/{}", path, part);
      if (::mkdir(child.c_str(), 0755) != 0 && errno != EEXIST) {
        return ErrnoStatus(errno, "create control group " + child);
      }
      if (hierarchy.options.find("cpuset") != std::string::npos) {
        RETURN_IF_ERROR(CopyCpuset(path, child));
      }
      path = child;
    }
    RETURN_IF_ERROR(WriteControlFile(path + "/cgroup.procs", fmt::format("{}", ::getpid())));
  }
  return absl::OkStatus();
}

absl::Status MountCgroups(const std::vector<Hierarchy>& hierarchies) {
  const bool v2_only = hierarchies.size() == 1 && hierarchies.front().v2;
  if (v2_only) {
    if (::mount("cgroup2", kCgroupRoot, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) !=
        0) {
      return ErrnoStatus(errno, "mount control groups");
    }
    return absl::OkStatus();
  }
  if (::mount("tmpfs", kCgroupRoot, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") != 0) {
    return ErrnoStatus(errno, "mount tmpfs at /sys/fs/cgroup");
  }
  for (const Hierarchy& hierarchy : hierarchies) {
    if (hierarchy.v2) continue;
    const bool named = hierarchy.options.substr(0, 5) == "name=";
    const std::string name = named ? hierarchy.options.substr(5) : hierarchy.options;
    const std::string path = fmt::format("{}/{}", kCgroupRoot, name);
    RETURN_IF_ERROR(MakeDirectories(path));
    const std::string options = named ? "none," + hierarchy.options : hierarchy.options;
    if (::mount("cgroup", path.c_str(), "cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                options.c_str()) != 0) {
      return ErrnoStatus(errno, fmt::format("mount control group hierarchy \"{}\"", name));
    }
    for (const std::string_view controller : Split(name, ',')) {
      if (controller == name) continue;
      const std::string link = fmt::format("{}/{}", kCgroupRoot, controller);
      if (::symlink(name.c_str(), link.c_str()) != 0) return ErrnoStatus(errno, "link " + link);
    }
  }
  return absl::OkStatus();
}

absl::Status DelegateControllers() {
  const std::string root = kCgroupRoot;
  if (::access((root + "/cgroup.controllers").c_str(), F_OK) != 0) return absl::OkStatus();
  const std::string own = root + "/init";
  RETURN_IF_ERROR(MakeDirectories(own));
  RETURN_IF_ERROR(WriteControlFile(own + "/cgroup.procs", "0"));
  // The process that started us is leaving this group right now.
  const auto alone = [&] {
    const auto procs = ReadFile(root + "/cgroup.procs");
    return procs.ok() && procs->empty();
  };
  if (!WaitUntil(absl::Now() + absl::Seconds(5), alone)) {
    return absl::DeadlineExceededError("the node's control group still holds another process");
  }
  HandDownControllers(root);
  return absl::OkStatus();
}

std::set<int> CgroupProcesses(const std::vector<Hierarchy>& hierarchies, const std::string& group) {
  std::set<int> pids;
  for (const Hierarchy& hierarchy : hierarchies) {
    CollectProcesses(fmt::format("{}/{}", hierarchy.mount_point, group), &pids);
  }
  return pids;
}

absl::Status RemoveCgroup(const std::vector<Hierarchy>& hierarchies, const std::string& group) {
  for (const Hierarchy& hierarchy : hierarchies) {
    RETURN_IF_ERROR(RemoveGroup(fmt::format("{}/{}", hierarchy.mount_point, group)));
  }
  return absl::OkStatus();
}

}  // namespace mesh::cli::local
