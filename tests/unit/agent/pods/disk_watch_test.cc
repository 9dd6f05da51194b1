// SPDX-License-Identifier: Apache-2.0
// Goal: a pod that holds more than the sizeLimit of an emptyDir is found, and ends for good.
#include "agent/pods/disk_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "absl/synchronization/notification.h"
#include "agent/pods/pod_plan.h"
#include "agent/pods/pod_status.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::SizeIs;

class DiskWatchTest : public ::testing::Test {
 protected:
  DiskWatchTest() {
    char folder[] = "/tmp/mesh-disk-XXXXXX";
    EXPECT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  ~DiskWatchTest() override { fs::remove_all(folder_); }

  void Write(const std::string& name, size_t bytes) {
    std::ofstream(folder_ + "/" + name) << std::string(bytes, 'x');
  }

  std::string folder_;
};

TEST_F(DiskWatchTest, CountsWhatIsAllocatedOnce) {
  const int64_t empty = *MeasureFolder(folder_);
  fs::create_directory(folder_ + "/below");
  Write("below/a", 1 << 20);
  fs::create_hard_link(folder_ + "/below/a", folder_ + "/again");
  fs::create_symlink("/usr", folder_ + "/link");

  const int64_t full = *MeasureFolder(folder_);

  EXPECT_GE(full - empty, 1 << 20);
  EXPECT_LT(full - empty, 2 << 20);
  EXPECT_EQ(MeasureFolder(folder_ + "/none").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(DiskWatchTest, KnowsTheLimitsOfAPod) {
  v1::Pod pod = MakePod();
  const auto add = [&](const std::string& name, const std::string& medium,
                       const std::string& limit) {
    v1::Volume* volume = pod.mutable_spec()->add_volumes();
    volume->set_name(name);
    volume->mutable_empty_dir()->set_medium(medium);
    if (!limit.empty()) volume->mutable_empty_dir()->mutable_size_limit()->set_text(limit);
  };
  add("free", "", "");
  add("fast", "Memory", "1Mi");
  add("cache", "", "1Mi");
  add("zero", "", "0");

  const std::vector<DiskLimit> limits = DiskLimitsOf(pod, "/pods");

  ASSERT_THAT(limits, SizeIs(1));
  EXPECT_EQ(limits[0].folder, "/pods/" + pod.metadata().uid() + "/volumes/cache");
  EXPECT_EQ(limits[0].limit_bytes, 1 << 20);
  EXPECT_EQ(EvictionMessage(limits[0]),
            "Usage of EmptyDir volume \"cache\" exceeds the limit \"1Mi\". ");
}

TEST_F(DiskWatchTest, TellsThoseThatAreOver) {
  fs::create_directory(folder_ + "/small");
  Write("small/a", 1000);
  fs::create_directory(folder_ + "/large");
  Write("large/a", 3 << 20);
  const auto limit = [&](const std::string& name) {
    return DiskLimit{.uid = name, .folder = folder_ + "/" + name, .limit_bytes = 2 << 20};
  };
  DiskWatch watch;
  absl::Notification told;
  std::vector<std::string> over;

  ASSERT_TRUE(watch.Measure({limit("small"), limit("large"), limit("gone")},
                            [&](std::vector<DiskLimit> found) {
                              for (const DiskLimit& one : found) over.push_back(one.uid);
                              told.Notify();
                            }));
  ASSERT_TRUE(told.WaitForNotificationWithTimeout(absl::Seconds(30)));

  EXPECT_THAT(over, ElementsAre("large"));
}

TEST_F(DiskWatchTest, AnEvictedPodStopsAndDoesNotStartAgain) {
  const v1::Pod pod = MakePod();
  const absl::Time now = absl::FromUnixSeconds(1'700'000'000);
  ObservedPod observed;
  observed.sandboxes.push_back({.id = "s", .ready = true, .ip = "10.244.0.2"});
  ObservedContainer container;
  container.id = "c";
  container.sandbox_id = "s";
  container.name = pod.spec().containers(0).name();
  container.state = RunState::kRunning;
  observed.containers.push_back(container);
  PodMemory memory;
  memory.evicted = "too much";

  const PodPlan plan = ComputePodPlan(&pod, observed, memory, absl::InfiniteFuture(), now);
  EXPECT_THAT(plan.actions,
              ElementsAre(PodAction(StopContainer{container.name, "c", now + kEvictionGrace})));

  const StatusInput input{
      .pod = &pod, .observed = &observed, .memory = &memory, .node_ip = "", .now = now};
  const v1::PodStatus status = ComputePodStatus(input).status;
  EXPECT_EQ(status.phase(), "Failed");
  EXPECT_EQ(status.reason(), "Evicted");
  EXPECT_EQ(status.message(), "too much");

  // An agent after this one only knows the status.
  PodMemory fresh;
  v1::Pod known = pod;
  *known.mutable_status() = status;
  const StatusInput later{.pod = &known,
                          .observed = &observed,
                          .memory = &fresh,
                          .previous = &known.status(),
                          .node_ip = "",
                          .now = now};
  EXPECT_EQ(ComputePodStatus(later).status.message(), "too much");
  observed.containers.clear();
  observed.sandboxes.clear();
  EXPECT_THAT(ComputePodPlan(&known, observed, fresh, absl::InfiniteFuture(), now).actions,
              SizeIs(0));
}

}  // namespace
}  // namespace mesh::agent
