// SPDX-License-Identifier: Apache-2.0
// Goal: a full file system loses the images that were used longest ago, and no others.
#include "agent/pods/image_gc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cri/fake_cri.h"
#include "common/sim_loop.h"

namespace mesh::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

ImageRecord Seen(uint64_t size, absl::Duration used_ago, absl::Duration seen_ago = absl::Hours(9)) {
  return {.size = size, .first_seen = kNow - seen_ago, .last_used = kNow - used_ago};
}

TEST(BytesToFree, FromTheHighToTheLowMark) {
  const ImageGcOptions options;
  EXPECT_EQ(BytesToFree({.capacity = 1000, .available = 151}, options), 0u);
  EXPECT_EQ(BytesToFree({.capacity = 1000, .available = 150}, options), 50u);
  EXPECT_EQ(BytesToFree({.capacity = 1000, .available = 0}, options), 200u);
  EXPECT_EQ(BytesToFree({.capacity = 0, .available = 0}, options), 0u);
}

TEST(PlanImageRemovals, LongestUnusedFirstUntilThereIsRoom) {
  const std::map<std::string, ImageRecord> images = {
      {"recent", Seen(10, absl::Minutes(1))},
      {"old", Seen(10, absl::Hours(2))},
      {"older", Seen(10, absl::Hours(5))},
      {"never", Seen(10, absl::InfiniteDuration(), absl::Hours(1))},
      {"never-longer", Seen(10, absl::InfiniteDuration(), absl::Hours(3))},
  };
  EXPECT_THAT(PlanImageRemovals(images, {}, 25, kNow, {}),
              ElementsAre("never-longer", "never", "older"));
  EXPECT_THAT(PlanImageRemovals(images, {"never"}, 1000, kNow, {}),
              ElementsAre("never-longer", "older", "old", "recent"));
}

TEST(PlanImageRemovals, LeavesWhatHasJustCome) {
  const std::map<std::string, ImageRecord> images = {
      {"new", Seen(10, absl::InfiniteDuration(), absl::Minutes(1))},
      {"there", Seen(10, absl::InfiniteDuration(), absl::Minutes(2))},
  };
  EXPECT_THAT(PlanImageRemovals(images, {}, 1000, kNow, {}), ElementsAre("there"));
}

TEST(CheckImageGc, NamesTheFlag) {
  EXPECT_TRUE(CheckImageGc({}).ok());
  EXPECT_EQ(CheckImageGc({.high_percent = 101, .low_percent = 80}).message(),
            "--image-gc-high-threshold 101: must be from 1 to 100");
  EXPECT_EQ(CheckImageGc({.high_percent = 85, .low_percent = 85}).message(),
            "--image-gc-low-threshold 85: must be from 0 to less than --image-gc-high-threshold "
            "85");
}

class ImageCollectorTest : public ::testing::Test {
 protected:
  void SetUp() override { cri.images = {"a", "b", "used"}; }
  // A container, ended or not, has the image.
  void Use(const std::string& image) {
    FakeCri::Container& container = cri.containers["c-" + image];
    container.status.set_image_ref("sha256:" + image);
    container.status.set_state(cri::CONTAINER_EXITED);
  }
  void Start(ImageGcOptions options = {}) {
    collector = std::make_unique<ImageCollector>(&loop, &cri, options, [this](const std::string&) {
      return absl::StatusOr<DiskSpace>(space);
    });
    collector->Start();
  }

  SimLoop loop{kNow};
  FakeCri cri{&loop};
  DiskSpace space{.capacity = 10'000, .available = 5'000};
  std::unique_ptr<ImageCollector> collector;
};

TEST_F(ImageCollectorTest, RemovesNothingWhileThereIsRoom) {
  Start();
  loop.RunFor(absl::Minutes(30));
  EXPECT_EQ(cri.images.size(), 3u);
}

TEST_F(ImageCollectorTest, RemovesWhatNoContainerHas) {
  Use("used");
  Start();
  loop.RunFor(absl::Minutes(1));
  space.available = 0;  // 2,000 are to be freed; an image of the fake has 1,000
  loop.RunFor(absl::Minutes(5));
  EXPECT_THAT(cri.images, ElementsAre("used"));
}

TEST_F(ImageCollectorTest, TheOneUsedLongestAgoGoesFirst) {
  Use("a");
  Start();
  loop.RunFor(absl::Minutes(1));
  cri.containers.clear();
  space.available = 1'000;  // 1,000 are to be freed
  loop.RunFor(absl::Minutes(5));
  EXPECT_THAT(cri.images, UnorderedElementsAre("a", "used"));
}

TEST_F(ImageCollectorTest, GivesImagesThatHaveJustComeTheirTime) {
  space.available = 0;
  Start();
  loop.RunFor(absl::Minutes(1));
  EXPECT_EQ(cri.images.size(), 3u);
  loop.RunFor(absl::Minutes(5));
  EXPECT_EQ(cri.images.size(), 1u);
}

TEST_F(ImageCollectorTest, TriesAgainWhenTheRuntimeFails) {
  cri.failures.insert({"ListImages", absl::UnavailableError("down")});
  space.available = 0;
  Start();
  loop.RunFor(absl::Minutes(11));
  EXPECT_EQ(cri.images.size(), 1u);
}

TEST_F(ImageCollectorTest, IsOffAtAHundred) {
  space.available = 0;
  Start({.high_percent = 100, .low_percent = 80});
  loop.RunFor(absl::Hours(1));
  EXPECT_EQ(cri.images.size(), 3u);
}

}  // namespace
}  // namespace mesh::agent
