// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/log_rotator.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "agent/pods/log_files.h"
#include "agent/pods/pod_config.h"
#include "common/log.h"

namespace mesh::agent {

LogRotator::LogRotator(EventLoop* loop, CriClient* cri,
                       std::function<std::shared_ptr<const PodDirectory>()> directory,
                       LogRotation options)
    : loop_(loop), cri_(cri), directory_(std::move(directory)), options_(options) {}

void LogRotator::Look() {
  loop_->RunAfter(options_.every, [this] { Look(); });
  const auto directory = directory_();
  if (directory == nullptr) return;
  for (const auto& [name, pod] : *directory) {
    for (const ContainerEntry& container : pod.containers) {
      if (!container.running) continue;
      const std::string path =
          pod.log_directory + "/" + ContainerLogPath(container.name, container.attempt);
      struct stat info {};
      if (::stat(path.c_str(), &info) == 0 && info.st_size > options_.max_bytes)
        Rotate(container.id, path);
    }
  }
}

void LogRotator::Rotate(const std::string& id, const std::string& path) {
  if (!busy_.insert(path).second) return;
  const std::string away = RotatedName(path, loop_->Now());
  if (std::rename(path.c_str(), away.c_str()) != 0) {
    busy_.erase(path);
    return;  // the container is gone
  }
  cri_->ReopenLog(id, [this, path, away](const absl::Status& status) {
    loop_->Post([this, path, away, status] {
      busy_.erase(path);
      struct stat info {};
      if (status.ok() || ::stat(path.c_str(), &info) == 0) {
        return PruneLogs(path, static_cast<size_t>(std::max(options_.max_files, 2) - 1));
      }
      // It still writes to the old one.
      std::rename(away.c_str(), path.c_str());
      spdlog::warn("rotate {}: {}", path, std::string(status.message()));
    });
  });
}

}  // namespace mesh::agent
