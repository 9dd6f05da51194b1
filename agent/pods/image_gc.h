// SPDX-License-Identifier: Apache-2.0
// Keeps room on the file system that holds the images, as the kubelet does: when it is fuller than
// `high_percent`, images that no container has, not even one that has ended, are removed until it
// is no fuller than `low_percent`; the one that was used longest ago goes first.
//
// Never removed: what containers use, the image of sandboxes, what the runtime has pinned, and what
// has been there for less than `min_age` (a pull comes before its container). What was used before
// the agent started counts as used never. A removal that fails is tried again at the next look.
//
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cri/cri_client.h"
#include "common/event_loop.h"

namespace mesh::agent {

struct ImageGcOptions {
  int high_percent = 85;  // 100: never
  int low_percent = 80;
  absl::Duration every = absl::Minutes(5);
  absl::Duration min_age = absl::Minutes(2);
};
// INVALID_ARGUMENT, naming the flag, unless 0 <= low < high <= 100.
absl::Status CheckImageGc(const ImageGcOptions& options);

struct DiskSpace {
  uint64_t capacity = 0, available = 0;  // bytes
};
// Of the file system that has the folder.
absl::StatusOr<DiskSpace> SpaceOf(const std::string& folder);

// What is remembered of an image between looks.
struct ImageRecord {
  uint64_t size = 0;
  absl::Time first_seen;
  absl::Time last_used = absl::InfinitePast();
};

// Bytes to be freed; 0: there is room.
uint64_t BytesToFree(const DiskSpace& space, const ImageGcOptions& options);
// Ids of images to remove, in this order: until `bytes` are free or nothing is left. Pure.
// `kept`: ids that must stay.
std::vector<std::string> PlanImageRemovals(const std::map<std::string, ImageRecord>& images,
                                           const std::set<std::string>& kept, uint64_t bytes,
                                           absl::Time now, const ImageGcOptions& options);

class ImageCollector {
 public:
  using Measure = std::function<absl::StatusOr<DiskSpace>(const std::string& folder)>;

  // All outlive this; when it is destroyed the loop has stopped.
  ImageCollector(EventLoop* loop, CriClient* cri, ImageGcOptions options,
                 Measure measure = SpaceOf);
  // Nothing at 100 percent.
  void Start();

 private:
  struct Look;
  void Begin();
  void End(const absl::Status& status);
  void ReadContainers(std::shared_ptr<Look> look);
  void ReadSandboxImage(std::shared_ptr<Look> look);
  void Note(Look& look);
  void CheckRoom(std::shared_ptr<Look> look);
  void RemoveNext(std::shared_ptr<Look> look);

  // Answers come on threads of the runtime's client.
  template <typename F>
  auto Posted(F f) {
    return [loop = loop_, f = std::move(f)](auto value) {
      loop->Post([f, value = std::move(value)] { f(value); });
    };
  }

  EventLoop* const loop_;
  CriClient* const cri_;
  const ImageGcOptions options_;
  const Measure measure_;
  std::map<std::string, ImageRecord> images_;  // by id
};

}  // namespace mesh::agent
