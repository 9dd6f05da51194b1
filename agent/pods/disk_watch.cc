// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/disk_watch.h"

#include <fmt/format.h>
#include <fts.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <set>
#include <utility>

#include "common/quantity.h"
#include "common/status.h"

namespace mesh::agent {

std::vector<DiskLimit> DiskLimitsOf(const v1::Pod& pod, const std::string& files_root) {
  std::vector<DiskLimit> out;
  for (const v1::Volume& volume : pod.spec().volumes()) {
    if (!volume.empty_dir().has_size_limit() || volume.empty_dir().medium() == "Memory") continue;
    const std::string& text = volume.empty_dir().size_limit().text();
    const auto bytes = ParseQuantity(text);
    // Zero is no limit, as in Kubernetes.
    if (!bytes.ok() || *bytes <= 0) continue;
    out.push_back(
        {.uid = pod.metadata().uid(),
         .volume = volume.name(),
         .folder = fmt::format("{}/{}/volumes/{}", files_root, pod.metadata().uid(), volume.name()),
         .limit = text,
         .limit_bytes = *bytes});
  }
  return out;
}

absl::StatusOr<int64_t> MeasureFolder(const std::string& folder) {
  struct stat top {};
  if (::lstat(folder.c_str(), &top) != 0) {
    return ErrnoStatus(errno, fmt::format("cannot measure {}", folder));
  }
  std::string path = folder;
  char* const roots[] = {path.data(), nullptr};
  const std::unique_ptr<FTS, int (*)(FTS*)> walk(
      ::fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, nullptr), ::fts_close);
  if (walk == nullptr) return ErrnoStatus(errno, fmt::format("cannot measure {}", folder));
  int64_t blocks = 0;
  std::set<ino_t> several;  // seen already, of those with other names
  while (const FTSENT* entry = ::fts_read(walk.get())) {
    if (entry->fts_info == FTS_DP || entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR) {
      continue;
    }
    const struct stat& info = *entry->fts_statp;
    const bool is_file = entry->fts_info == FTS_F;
    if (is_file && info.st_nlink > 1 && !several.insert(info.st_ino).second) continue;
    blocks += info.st_blocks;
  }
  return blocks * 512;
}

std::string EvictionMessage(const DiskLimit& limit) {
  return fmt::format("Usage of EmptyDir volume \"{}\" exceeds the limit \"{}\". ", limit.volume,
                     limit.limit);
}

DiskWatch::~DiskWatch() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

bool DiskWatch::Measure(std::vector<DiskLimit> limits, Done done) {
  {
    absl::MutexLock lock(&mutex_);
    if (busy_) return false;
    busy_ = true;
    work_ = Work{.limits = std::move(limits), .done = std::move(done)};
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  return true;
}

void DiskWatch::Run() {
  while (true) {
    Work work;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &DiskWatch::HasWork));
      if (ending_) return;
      work = *std::exchange(work_, std::nullopt);
    }
    std::vector<DiskLimit> over;
    for (DiskLimit& limit : work.limits) {
      if (ending()) return;
      const absl::StatusOr<int64_t> bytes = MeasureFolder(limit.folder);
      if (bytes.ok() && *bytes > limit.limit_bytes) over.push_back(std::move(limit));
    }
    work.done(std::move(over));
    absl::MutexLock lock(&mutex_);
    busy_ = false;
  }
}

}  // namespace mesh::agent
