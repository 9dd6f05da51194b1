// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/volumes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "agent/network/files.h"
#include "agent/pods/ownership.h"
#include "agent/pods/pod_config.h"
#include "agent/pods/volume_files.h"
#include "agent/pods/volume_folder.h"
#include "agent/pods/volume_parts.h"
#include "api/schema/references.h"
#include "common/log.h"
#include "common/quantity.h"
#include "common/status.h"
#include "common/unique_fd.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

absl::Status MakeFolder(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0) {
    return errno == EEXIST ? absl::OkStatus()
                           : ErrnoStatus(errno, fmt::format("cannot make folder {}", path));
  }
  // The umask has had its say.
  if (::chmod(path.c_str(), mode) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("cannot set the mode of {}", path));
}

}  // namespace

absl::Status CheckHostPath(const v1::HostPathVolumeSource& source) {
  const std::string& type = source.type();
  const std::string& path = source.path();
  if (type.empty()) return absl::OkStatus();
  struct stat info {};
  bool there = ::stat(path.c_str(), &info) == 0;
  if (!there && errno != ENOENT) return ErrnoStatus(errno, fmt::format("hostPath {}", path));
  if (!there && type == "DirectoryOrCreate") return MakeDirectories(path, 0755);
  if (!there && type == "FileOrCreate") {
    UniqueFd made(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (made) return absl::OkStatus();
    return ErrnoStatus(errno, fmt::format("cannot make hostPath {}", path));
  }
  const auto is = [&](mode_t kind) { return there && (info.st_mode & S_IFMT) == kind; };
  const auto wrong = [&](const char* what) {
    return absl::FailedPreconditionError(
        fmt::format("hostPath type check failed: {} is not a {}", path, what));
  };
  if (type.starts_with("Directory") && !is(S_IFDIR)) return wrong("directory");
  if (type.starts_with("File") && !is(S_IFREG)) return wrong("file");
  if (type == "Socket" && !is(S_IFSOCK)) return wrong("socket file");
  if (type == "CharDevice" && !is(S_IFCHR)) return wrong("character device");
  if (type == "BlockDevice" && !is(S_IFBLK)) return wrong("block device");
  return absl::OkStatus();
}

namespace {

bool LeadsOut(const std::string& path) {
  if (path.starts_with('/')) return true;
  const fs::path parts(path);
  return std::find(parts.begin(), parts.end(), "..") != parts.end();
}

// What is written for `$(NAME)` must be known, unlike in an environment.
absl::StatusOr<std::string> ExpandSubPath(const std::string& text, const Variables& environment) {
  const std::map<std::string, std::string> known(environment.begin(), environment.end());
  for (size_t at = text.find("$("); at != std::string::npos; at = text.find("$(", at + 2)) {
    const size_t end = text.find(')', at);
    const bool escaped = at > 0 && text[at - 1] == '$';
    if (end == std::string::npos || escaped) continue;
    const std::string name = text.substr(at + 2, end - at - 2);
    if (!known.contains(name)) {
      return absl::NotFoundError(fmt::format("missing value for \"{}\"", name));
    }
  }
  return ExpandVariables(text, known);
}

const v1::Volume* FindVolume(const v1::Pod& pod, const std::string& name) {
  for (const v1::Volume& volume : pod.spec().volumes()) {
    if (volume.name() == name) return &volume;
  }
  return nullptr;
}

absl::Status OfVolume(const v1::Volume& volume, const absl::Status& status) {
  return Annotate(status, fmt::format("MountVolume.SetUp failed for volume \"{}\"", volume.name()));
}

// Of objects: containers may not write them.
absl::Status WriteFiles(const std::string& path, const VolumeFiles& files, const v1::Pod& pod) {
  RETURN_IF_ERROR(WriteVolumeFolder(path, files));
  return ApplyOwnership(path, pod.spec().security_context(), true);
}

}  // namespace

Volumes::Volumes(Mounts* mounts, std::string root, std::string claims_root)
    : mounts_(mounts), root_(std::move(root)), claims_root_(std::move(claims_root)) {
  FindRemoved(root_);
  if (!claims_root_.empty()) FindRemoved(claims_root_);
  sweeper_ = std::thread([this] { Sweep(); });
}

Volumes::~Volumes() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  sweeper_.join();
}

void Volumes::FindRemoved(const std::string& folder) {
  std::error_code error;  // the first pod makes the folder
  absl::MutexLock lock(&mutex_);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().starts_with(kRemovedPrefix)) {
      doomed_.push_back(entry.path().string());
    }
  }
}

std::string Volumes::PathOf(const v1::Pod& pod, const v1::Volume& volume) const {
  if (volume.has_host_path()) return volume.host_path().path();
  if (const auto known = claimed_.find(pod.metadata().uid()); known != claimed_.end()) {
    const auto path = known->second.find(volume.name());
    if (path != known->second.end()) return path->second;
  }
  return fmt::format("{}/volumes/{}", FolderOf(pod.metadata().uid()), volume.name());
}

absl::Status Volumes::SetUp(const v1::Pod& pod, const NodeState& state, const NodeFacts& node) {
  if (pod.spec().volumes().empty()) return absl::OkStatus();
  RETURN_IF_ERROR(MakeDirectories(FolderOf(pod.metadata().uid()), 0755));
  RETURN_IF_ERROR(MakeFolder(FolderOf(pod.metadata().uid()) + "/volumes", 0750));
  for (const v1::Volume& volume : pod.spec().volumes()) {
    if (absl::Status made = SetUpOne(pod, volume, state, node); !made.ok()) {
      return OfVolume(volume, made);
    }
  }
  return absl::OkStatus();
}

absl::Status Volumes::SetUpOne(const v1::Pod& pod, const v1::Volume& volume, const NodeState& state,
                               const NodeFacts& node) {
  if (volume.has_host_path()) return CheckHostPath(volume.host_path());
  if (!schema::ClaimNameOf(pod, volume).empty()) return SetUpClaim(pod, volume, state);
  const std::string path = PathOf(pod, volume);
  // As Kubernetes takes one that says nothing.
  const bool has_source = HasFiles(volume) || volume.has_empty_dir();
  if (volume.has_empty_dir() || !has_source) {
    std::error_code error;
    // Once: what a container has written stays as it left it.
    const bool is_new = !fs::exists(path, error);
    RETURN_IF_ERROR(MakeFolder(path, 0777));
    if (volume.empty_dir().medium() == "Memory") {
      int64_t bytes = 0;
      if (volume.empty_dir().has_size_limit()) {
        ASSIGN_OR_RETURN(bytes, ParseQuantity(volume.empty_dir().size_limit().text()));
      }
      RETURN_IF_ERROR(mounts_->Tmpfs(path, bytes, 0777));
    }
    return is_new ? ApplyOwnership(path, pod.spec().security_context()) : absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const VolumeFiles files, FilesOf(volume, pod, state, node));
  RETURN_IF_ERROR(MakeFolder(path, 0755));
  if (HasSecrets(volume)) RETURN_IF_ERROR(mounts_->Tmpfs(path, 0, 0755));
  return WriteFiles(path, files, pod);
}

absl::Status Volumes::Refresh(const v1::Pod& pod, const NodeState& state, const NodeFacts& node) {
  absl::Status out;
  for (const v1::Volume& volume : pod.spec().volumes()) {
    if (!HasFiles(volume)) continue;
    const std::string path = PathOf(pod, volume);
    std::error_code error;
    if (!fs::is_symlink(path + "/..data", error)) continue;  // its first container makes it
    absl::StatusOr<VolumeFiles> files = FilesOf(volume, pod, state, node);
    out.Update(OfVolume(volume, files.ok() ? WriteFiles(path, *files, pod) : files.status()));
  }
  return out;
}

absl::StatusOr<std::vector<runtime::v1::Mount>> Volumes::MountsOf(const v1::Pod& pod,
                                                                  const v1::Container& container,
                                                                  const Variables& environment) {
  std::vector<runtime::v1::Mount> out;
  for (int i = 0; i < container.volume_mounts_size(); ++i) {
    const v1::VolumeMount& mount = container.volume_mounts(i);
    const v1::Volume* volume = FindVolume(pod, mount.name());
    if (volume == nullptr) {
      return absl::NotFoundError(
          fmt::format("cannot find volume \"{}\" to mount into container "
                      "\"{}\"",
                      mount.name(), container.name()));
    }
    std::string source = PathOf(pod, *volume);
    std::string sub_path = mount.sub_path();
    if (!mount.sub_path_expr().empty()) {
      ASSIGN_OR_RETURN(sub_path, ExpandSubPath(mount.sub_path_expr(), environment));
    }
    if (!sub_path.empty()) {
      if (LeadsOut(sub_path)) {
        return absl::InvalidArgumentError(
            fmt::format("failed to prepare subPath for volumeMount \"{}\" of container \"{}\": {} "
                        "must be relative and without '..'",
                        mount.name(), container.name(), sub_path));
      }
      while (sub_path.ends_with('/')) sub_path.pop_back();
      const std::string target =
          fmt::format("{}/subpaths/{}/{}", FolderOf(pod.metadata().uid()), container.name(), i);
      if (absl::Status bound = mounts_->BindBelow(source, sub_path, target); !bound.ok()) {
        return Annotate(bound,
                        fmt::format("failed to prepare subPath for volumeMount \"{}\" of container "
                                    "\"{}\"",
                                    mount.name(), container.name()));
      }
      source = target;
    }
    runtime::v1::Mount& added = out.emplace_back();
    added.set_host_path(source);
    added.set_container_path(mount.mount_path().starts_with('/') ? mount.mount_path()
                                                                 : "/" + mount.mount_path());
    // What the agent writes is the agent's, as in Kubernetes.
    added.set_readonly(mount.read_only() || HasFiles(*volume) ||
                       volume->persistent_volume_claim().read_only());
  }
  return out;
}

absl::Status Volumes::Remove(const std::string& uid) {
  claimed_.erase(uid);
  const std::string folder = FolderOf(uid);
  std::error_code error;
  if (!fs::exists(folder, error)) return absl::OkStatus();
  RETURN_IF_ERROR(mounts_->UnmountAll(folder));
  absl::MutexLock lock(&mutex_);
  const std::string aside =
      fmt::format("{}/{}{}.{}.{}", root_, kRemovedPrefix, uid, ::getpid(), ++removed_);
  if (::rename(folder.c_str(), aside.c_str()) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot move {} away", folder));
  }
  doomed_.push_back(aside);
  return absl::OkStatus();
}

void Volumes::RemoveOthers(const std::set<std::string>& uids) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(root_, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kRemovedPrefix) || uids.contains(name)) continue;
    if (!entry.is_directory(error) || entry.is_symlink(error)) continue;
    if (absl::Status removed = Remove(name); !removed.ok()) {
      spdlog::warn("what a pod has left stays: {}", std::string(removed.message()));
    }
  }
}

void Volumes::Sweep() {
  while (true) {
    std::string folder;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Volumes::HasWork));
      if (ending_) return;  // the next agent goes on
      folder = doomed_.front();
      doomed_.pop_front();
    }
    if (absl::Status removed = RemoveOwnTree(folder); !removed.ok()) {
      spdlog::warn("what a pod has left stays: {}", std::string(removed.message()));
    }
  }
}

}  // namespace mesh::agent
