// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/image_gc.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include "agent/cri/sandbox_image.h"
#include "common/log.h"

namespace mesh::agent {

absl::Status CheckImageGc(const ImageGcOptions& options) {
  if (options.high_percent < 1 || options.high_percent > 100) {
    return absl::InvalidArgumentError(
        fmt::format("--image-gc-high-threshold {}: must be from 1 to 100", options.high_percent));
  }
  if (options.low_percent < 0 || options.low_percent >= options.high_percent) {
    return absl::InvalidArgumentError(fmt::format(
        "--image-gc-low-threshold {}: must be from 0 to less than --image-gc-high-threshold {}",
        options.low_percent, options.high_percent));
  }
  return absl::OkStatus();
}

absl::StatusOr<DiskSpace> SpaceOf(const std::string& folder) {
  std::error_code error;
  const std::filesystem::space_info info = std::filesystem::space(folder, error);
  if (error) return absl::InternalError(fmt::format("{}: {}", folder, error.message()));
  return DiskSpace{.capacity = info.capacity, .available = info.available};
}

uint64_t BytesToFree(const DiskSpace& space, const ImageGcOptions& options) {
  if (space.capacity == 0) return 0;
  const uint64_t available = std::min(space.available, space.capacity);
  const auto high = static_cast<uint64_t>(options.high_percent);
  const auto low = static_cast<uint64_t>(options.low_percent);
  // In hundredths of the capacity, which 64 bits hold up to 180 PB.
  if ((space.capacity - available) * 100 < space.capacity * high) return 0;
  const uint64_t wanted = space.capacity / 100 * (100 - low);
  return wanted > available ? wanted - available : 0;
}

std::vector<std::string> PlanImageRemovals(const std::map<std::string, ImageRecord>& images,
                                           const std::set<std::string>& kept, uint64_t bytes,
                                           absl::Time now, const ImageGcOptions& options) {
  std::vector<const std::pair<const std::string, ImageRecord>*> order;
  for (const auto& image : images) {
    if (kept.contains(image.first) || now - image.second.first_seen < options.min_age) continue;
    order.push_back(&image);
  }
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::tie(a->second.last_used, a->second.first_seen) <
           std::tie(b->second.last_used, b->second.first_seen);
  });
  std::vector<std::string> out;
  uint64_t freed = 0;
  for (const auto* image : order) {
    if (freed >= bytes) break;
    out.push_back(image->first);
    freed += image->second.size;
  }
  return out;
}

struct ImageCollector::Look {
  std::vector<cri::Image> images;
  std::vector<cri::Container> containers;
  std::string sandbox_image;  // its name
  std::set<std::string> kept;
  std::vector<std::string> removals;
  size_t next = 0;
  uint64_t bytes = 0, freed = 0;
};

ImageCollector::ImageCollector(EventLoop* loop, CriClient* cri, ImageGcOptions options,
                               Measure measure)
    : loop_(loop), cri_(cri), options_(options), measure_(std::move(measure)) {}

void ImageCollector::Start() {
  if (options_.high_percent < 100) Begin();
}

void ImageCollector::End(const absl::Status& status) {
  if (!status.ok()) spdlog::warn("images are not looked at: {}", std::string(status.message()));
  loop_->RunAfter(options_.every, [this] { Begin(); });
}

void ImageCollector::Begin() {
  auto look = std::make_shared<Look>();
  auto listed = [this, look](const absl::StatusOr<std::vector<cri::Image>>& images) {
    if (!images.ok()) return End(images.status());
    look->images = *images;
    ReadContainers(look);
  };
  cri_->ListImages(Posted(listed));
}

void ImageCollector::ReadContainers(std::shared_ptr<Look> look) {
  auto listed = [this, look](const absl::StatusOr<std::vector<cri::Container>>& containers) {
    if (!containers.ok()) return End(containers.status());
    look->containers = *containers;
    ReadSandboxImage(look);
  };
  cri_->ListContainers("", Posted(listed));
}

void ImageCollector::ReadSandboxImage(std::shared_ptr<Look> look) {
  auto told = [this, look](const absl::StatusOr<cri::StatusResponse>& status) {
    if (!status.ok()) return End(status.status());
    look->sandbox_image = SandboxImageName(*status);
    Note(*look);
    CheckRoom(look);
  };
  cri_->VerboseStatus(Posted(told));
}

void ImageCollector::Note(Look& look) {
  const absl::Time now = loop_->Now();
  std::set<std::string> used = {look.sandbox_image};
  for (const cri::Container& container : look.containers) {
    used.insert(container.image_ref());
    used.insert(container.image().image());
  }
  used.erase("");
  std::map<std::string, ImageRecord> present;
  for (const cri::Image& image : look.images) {
    ImageRecord& record = present[image.id()];
    const auto known = images_.find(image.id());
    if (known == images_.end()) {
      record.first_seen = now;
    } else {
      record = known->second;
    }
    record.size = image.size();
    const auto is_used = [&](const std::string& name) { return used.contains(name); };
    const bool in_use =
        is_used(image.id()) ||
        std::any_of(image.repo_tags().begin(), image.repo_tags().end(), is_used) ||
        std::any_of(image.repo_digests().begin(), image.repo_digests().end(), is_used);
    if (in_use) record.last_used = now;
    if (in_use || image.pinned()) look.kept.insert(image.id());
  }
  images_ = std::move(present);
}

void ImageCollector::CheckRoom(std::shared_ptr<Look> look) {
  auto found = [this, look](const absl::StatusOr<std::string>& folder) {
    if (!folder.ok()) return End(folder.status());
    const absl::StatusOr<DiskSpace> space = measure_(*folder);
    if (!space.ok()) return End(space.status());
    look->bytes = BytesToFree(*space, options_);
    if (look->bytes == 0) return End(absl::OkStatus());
    look->removals = PlanImageRemovals(images_, look->kept, look->bytes, loop_->Now(), options_);
    RemoveNext(look);
  };
  cri_->ImageFolder(Posted(found));
}

void ImageCollector::RemoveNext(std::shared_ptr<Look> look) {
  if (look->next == look->removals.size()) {
    if (look->freed < look->bytes) {
      spdlog::warn(
          "the file system of images is more than {}% full: {} bytes of images were removed, {} "
          "were to be freed",
          options_.high_percent, look->freed, look->bytes);
    }
    return End(absl::OkStatus());
  }
  const std::string id = look->removals[look->next++];
  auto removed = [this, look, id](const absl::Status& status) {
    if (status.ok()) {
      look->freed += images_[id].size;
      images_.erase(id);
      spdlog::info("removed image {}: nothing uses it, and its file system is full", id);
    } else {
      spdlog::warn("remove image {}: {}", id, std::string(status.message()));
    }
    RemoveNext(look);
  };
  cri_->RemoveImage(id, Posted(removed));
}

}  // namespace mesh::agent
