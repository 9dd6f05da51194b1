// SPDX-License-Identifier: Apache-2.0
// The volumes of claims: folders that outlive their pods. Here is the only place that removes one.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "agent/pods/ownership.h"
#include "agent/pods/pod_reconciler.h"
#include "agent/pods/pod_tracked.h"
#include "agent/pods/volume_parts.h"
#include "agent/pods/volumes.h"
#include "api/schema/references.h"
#include "common/log.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

const v1::VolumeState* FindClaimed(const NodeState& state, const std::string& claim) {
  for (const auto& [name, volume] : state.volumes) {
    if (!volume->remove() && volume->claim() == claim) return &*volume;
  }
  return nullptr;
}

bool UsesClaim(const v1::Pod& pod, const std::string& claim) {
  const auto& volumes = pod.spec().volumes();
  return std::any_of(volumes.begin(), volumes.end(), [&](const v1::Volume& volume) {
    const std::string name = schema::ClaimNameOf(pod, volume);
    return !name.empty() && pod.metadata().namespace_() + "/" + name == claim;
  });
}

}  // namespace

absl::Status Volumes::CheckClaimed(const v1::VolumeState& volume) const {
  const fs::path path(volume.path());
  const bool is_below = !claims_root_.empty() && path.parent_path() == fs::path(claims_root_) &&
                        path.filename().string().starts_with("pvc-");
  if (!is_below) {
    return absl::InvalidArgumentError(
        fmt::format("{} is not a folder of --volume-dir {}", volume.path(), claims_root_));
  }
  std::error_code error;
  if (fs::is_directory(claims_root_, error)) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("folder {} is not there", claims_root_));
}

absl::Status Volumes::SetUpClaim(const v1::Pod& pod, const v1::Volume& volume,
                                 const NodeState& state) {
  const std::string claim = schema::ClaimNameOf(pod, volume);
  const v1::VolumeState* found = FindClaimed(state, pod.metadata().namespace_() + "/" + claim);
  if (found == nullptr) {
    return absl::NotFoundError(
        fmt::format("persistentvolumeclaim \"{}\" has no volume on this node", claim));
  }
  const std::string& path = found->path();
  claimed_[pod.metadata().uid()][volume.name()] = path;
  std::error_code error;
  if (!found->provisioned()) {
    v1::HostPathVolumeSource source;
    source.set_path(path);
    source.set_type(found->type());
    RETURN_IF_ERROR(CheckHostPath(source));
    return found->takes_ownership() ? ApplyOwnership(path, pod.spec().security_context())
                                    : absl::OkStatus();
  }
  if (fs::is_directory(path, error)) return absl::OkStatus();
  RETURN_IF_ERROR(CheckClaimed(*found));
  // It appears whole: what is there is never given another mode or owner.
  const std::string aside = fmt::format("{}/.new-{}", claims_root_, found->name());
  if (::mkdir(aside.c_str(), 0777) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, fmt::format("cannot make folder {}", aside));
  }
  // The umask has had its say.
  if (::chmod(aside.c_str(), 0777) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot set the mode of {}", aside));
  }
  RETURN_IF_ERROR(ApplyOwnership(aside, pod.spec().security_context()));
  if (::rename(aside.c_str(), path.c_str()) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, fmt::format("cannot make folder {}", path));
}

absl::Status Volumes::RemoveClaimed(const v1::VolumeState& volume) {
  RETURN_IF_ERROR(CheckClaimed(volume));
  struct stat info {};
  if (::lstat(volume.path().c_str(), &info) != 0) {
    return errno == ENOENT ? absl::OkStatus()
                           : ErrnoStatus(errno, fmt::format("cannot look at {}", volume.path()));
  }
  absl::MutexLock lock(&mutex_);
  const std::string aside = fmt::format("{}/{}{}.{}.{}", claims_root_, kRemovedPrefix,
                                        volume.name(), ::getpid(), ++removed_);
  if (::rename(volume.path().c_str(), aside.c_str()) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot move {} away", volume.path()));
  }
  doomed_.push_back(aside);
  return absl::OkStatus();
}

void PodReconciler::RemoveVolumes() {
  std::erase_if(volumes_told_, [&](const auto& told) {
    const auto known = state_->volumes.find(told.first);
    const bool is_done = known == state_->volumes.end() || !known->second->remove();
    if (is_done) hooks_.forget_volume(told.first);
    return is_done;
  });
  for (const auto& [name, volume] : state_->volumes) {
    if (!volume->remove()) continue;
    const bool in_use = std::any_of(pods_.begin(), pods_.end(), [&](const auto& entry) {
      const Tracked& t = *entry.second;
      // Of one whose spec nobody remembers, any claim may be.
      return t.knows_spec() ? UsesClaim(*t.pod, volume->claim()) : !t.desired;
    });
    if (in_use) continue;
    const absl::Status removed = volumes_->RemoveClaimed(*volume);
    std::string error = removed.ok() ? "" : Text(removed);
    const auto told = volumes_told_.find(name);
    if (told != volumes_told_.end() && told->second == error) continue;
    volumes_told_[name] = error;
    if (!removed.ok()) spdlog::warn("volume {} stays: {}", name, error);
    v1::VolumeReport report;
    report.set_name(name);
    report.set_error(std::move(error));
    hooks_.volume(report);
  }
}

}  // namespace mesh::agent
