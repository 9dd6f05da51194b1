// SPDX-License-Identifier: Apache-2.0
// Goal: what a claim has outlives pods, agents and their folders, and goes only when the node is
// told so. Method: volumes in a folder of the test; mounts are a fake's.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/pods/volumes.h"
#include "tests/unit/agent/pods/fake_mounts.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

class ClaimVolumesTest : public ::testing::Test {
 protected:
  ClaimVolumesTest() {
    char folder[] = "/tmp/mesh-claims-XXXXXX";
    EXPECT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    fs::create_directory(folder_ + "/claims");
    Restart();
    v1::Volume* volume = pod.mutable_spec()->add_volumes();
    volume->set_name("data");
    volume->mutable_persistent_volume_claim()->set_claim_name("data");
    v1::VolumeMount* mount = pod.mutable_spec()->mutable_containers(0)->add_volume_mounts();
    mount->set_name("data");
    mount->set_mount_path("/data");
  }
  ~ClaimVolumesTest() override {
    volumes.reset();
    fs::remove_all(folder_);
  }

  void Restart() {
    volumes.reset();
    volumes = std::make_unique<Volumes>(&mounts, folder_ + "/pods", folder_ + "/claims");
  }
  v1::VolumeState Provisioned() const {
    v1::VolumeState out;
    out.set_name("pvc-1");
    out.set_claim("default/data");
    out.set_path(folder_ + "/claims/pvc-1_default_data");
    out.set_type("DirectoryOrCreate");
    out.set_provisioned(true);
    return out;
  }
  absl::Status Make() { return volumes->SetUp(pod, state, node); }
  runtime::v1::Mount OnlyMount() {
    const auto mounted = volumes->MountsOf(pod, pod.spec().containers(0), {});
    EXPECT_TRUE(mounted.ok()) << mounted.status();
    return mounted.ok() && !mounted->empty() ? (*mounted)[0] : runtime::v1::Mount();
  }

  std::string folder_;
  v1::Pod pod = MakePod();
  NodeState state;
  NodeFacts node;
  FakeMounts mounts;
  std::unique_ptr<Volumes> volumes;
};

TEST_F(ClaimVolumesTest, MakesTheFolderOnceAndKeepsItOverPodsAndAgents) {
  state.volumes["pvc-1"] = Provisioned();
  ASSERT_TRUE(Make().ok());
  const std::string path = Provisioned().path();
  EXPECT_EQ(OnlyMount().host_path(), path);
  EXPECT_FALSE(OnlyMount().readonly());
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0777u);
  std::ofstream(path + "/kept") << "x";
  ASSERT_EQ(::chmod(path.c_str(), 0750), 0);

  ASSERT_TRUE(volumes->Remove(pod.metadata().uid()).ok());
  volumes->RemoveOthers({});
  Restart();
  ASSERT_TRUE(Make().ok());

  EXPECT_TRUE(fs::exists(path + "/kept"));
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0750u);
}

TEST_F(ClaimVolumesTest, IsMountedAsTheVolumeSays) {
  state.volumes["pvc-1"] = Provisioned();
  pod.mutable_spec()->mutable_volumes(0)->mutable_persistent_volume_claim()->set_read_only(true);
  ASSERT_TRUE(Make().ok());

  EXPECT_TRUE(OnlyMount().readonly());
}

TEST_F(ClaimVolumesTest, AnEphemeralVolumeIsTheClaimOfThePod) {
  v1::VolumeState own = Provisioned();
  own.set_claim("default/" + pod.metadata().name() + "-data");
  state.volumes["pvc-1"] = own;
  v1::Volume* volume = pod.mutable_spec()->mutable_volumes(0);
  volume->clear_persistent_volume_claim();
  volume->mutable_ephemeral();
  ASSERT_TRUE(Make().ok());

  EXPECT_EQ(OnlyMount().host_path(), own.path());
}

TEST_F(ClaimVolumesTest, WaitsForAVolumeThatTheNodeWasNotToldOf) {
  EXPECT_THAT(std::string(Make().message()),
              HasSubstr("persistentvolumeclaim \"data\" has no volume on this node"));
}

TEST_F(ClaimVolumesTest, MakesNothingWhereTheFolderOfVolumesIsMissing) {
  state.volumes["pvc-1"] = Provisioned();
  fs::remove(folder_ + "/claims");

  EXPECT_THAT(std::string(Make().message()), HasSubstr("is not there"));
  EXPECT_EQ(volumes->RemoveClaimed(Provisioned()).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ClaimVolumesTest, AStaticVolumeMustBeThere) {
  v1::VolumeState local = Provisioned();
  local.set_provisioned(false);
  local.set_type("Directory");
  local.set_path(folder_ + "/disk");
  state.volumes["pvc-1"] = local;
  EXPECT_THAT(std::string(Make().message()), HasSubstr("is not a directory"));

  fs::create_directory(local.path());
  EXPECT_TRUE(Make().ok());
  EXPECT_EQ(OnlyMount().host_path(), local.path());
}

TEST_F(ClaimVolumesTest, RemovesAFolderOfItsOwnAndNothingElse) {
  state.volumes["pvc-1"] = Provisioned();
  ASSERT_TRUE(Make().ok());
  std::ofstream(Provisioned().path() + "/content") << "x";
  fs::create_directories(folder_ + "/claims/other");

  EXPECT_TRUE(volumes->RemoveClaimed(Provisioned()).ok());
  EXPECT_FALSE(fs::exists(Provisioned().path()));
  EXPECT_TRUE(volumes->RemoveClaimed(Provisioned()).ok());

  for (const std::string& path :
       {folder_ + "/claims/other", folder_ + "/claims", folder_ + "/claims/../pods",
        folder_ + "/claims/pvc-1/below", std::string("/etc")}) {
    v1::VolumeState wrong = Provisioned();
    wrong.set_path(path);
    EXPECT_EQ(volumes->RemoveClaimed(wrong).code(), absl::StatusCode::kInvalidArgument) << path;
  }
  EXPECT_TRUE(fs::exists(folder_ + "/claims/other"));
}

}  // namespace
}  // namespace mesh::agent
