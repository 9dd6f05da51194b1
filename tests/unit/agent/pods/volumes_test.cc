// SPDX-License-Identifier: Apache-2.0
// Goal: containers find in their volumes what the manifest says, over changes and restarts, and
// nothing of the node is ever lost or shown by mistake.
// Method: volumes in a folder of the test; mounts are a fake's, which keeps a list.
#include "agent/pods/volumes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "agent/network/files.h"
#include "agent/pods/volume_folder.h"
#include "tests/unit/agent/pods/fake_mounts.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

namespace fs = std::filesystem;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VolumesTest : public ::testing::Test {
 protected:
  VolumesTest() {
    char folder[] = "/tmp/mesh-volumes-XXXXXX";
    EXPECT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    volumes = std::make_unique<Volumes>(&mounts, folder_ + "/pods");
    PutMap({{"a.conf", "one"}, {"b.conf", "two"}});
    v1::Secret secret;
    secret.mutable_metadata()->set_namespace_("default");
    secret.mutable_metadata()->set_name("keys");
    (*secret.mutable_data())["tls.key"] = "AP8=";
    state.secrets["default/keys"] = secret;
  }
  ~VolumesTest() override {
    volumes.reset();
    fs::remove_all(folder_);
  }

  void PutMap(const std::map<std::string, std::string>& data) {
    v1::ConfigMap map;
    map.mutable_metadata()->set_namespace_("default");
    map.mutable_metadata()->set_name("settings");
    for (const auto& [key, value] : data) (*map.mutable_data())[key] = value;
    state.config_maps["default/settings"] = map;
  }
  v1::Volume& Add(const std::string& name) {
    v1::Volume* out = pod.mutable_spec()->add_volumes();
    out->set_name(name);
    return *out;
  }
  v1::VolumeMount& Mount(const std::string& name, const std::string& path) {
    v1::VolumeMount* out = pod.mutable_spec()->mutable_containers(0)->add_volume_mounts();
    out->set_name(name);
    out->set_mount_path(path);
    return *out;
  }
  std::string Path(const std::string& below) { return folder_ + "/pods/uid-web/" + below; }
  std::string Read(const std::string& below) {
    const auto content = ReadWholeFile(Path(below));
    return content.ok() ? *content : std::string(content.status().message());
  }
  static uint32_t ModeOf(const std::string& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
  }
  absl::Status Make() { return volumes->SetUp(pod, state, node); }
  void MakeWell() {
    const absl::Status status = Make();
    ASSERT_TRUE(status.ok()) << status;
  }
  absl::StatusOr<std::vector<runtime::v1::Mount>> MountsOf(const Variables& environment = {}) {
    return volumes->MountsOf(pod, pod.spec().containers(0), environment);
  }

  std::string folder_;
  v1::Pod pod = MakePod();
  NodeState state;
  NodeFacts node{.ips = {"192.0.2.1"}, .cpu_milli = 2000, .memory_bytes = 1 << 30};
  FakeMounts mounts;
  std::unique_ptr<Volumes> volumes;
};

TEST_F(VolumesTest, WritesAConfigMapAsFilesThatCannotBeChanged) {
  Add("conf").mutable_config_map()->set_name("settings");
  Mount("conf", "/etc/app");

  MakeWell();

  EXPECT_EQ(Read("volumes/conf/a.conf"), "one");
  EXPECT_EQ(Read("volumes/conf/b.conf"), "two");
  EXPECT_EQ(ModeOf(Path("volumes/conf/a.conf")), 0644u);
  EXPECT_EQ(ModeOf(Path("volumes")), 0750u);
  const auto mounted = MountsOf();
  ASSERT_TRUE(mounted.ok()) << mounted.status();
  ASSERT_EQ(mounted->size(), 1u);
  EXPECT_EQ((*mounted)[0].host_path(), Path("volumes/conf"));
  EXPECT_EQ((*mounted)[0].container_path(), "/etc/app");
  EXPECT_TRUE((*mounted)[0].readonly());
  EXPECT_THAT(mounts.calls, IsEmpty());
}

TEST_F(VolumesTest, TakesNamedKeysToTheirPathsWithTheirModes) {
  v1::ConfigMapVolumeSource* source = Add("conf").mutable_config_map();
  source->set_name("settings");
  source->set_default_mode(0400);
  v1::KeyToPath* first = source->add_items();
  first->set_key("a.conf");
  first->set_path("deep/down/a");
  v1::KeyToPath* second = source->add_items();
  second->set_key("b.conf");
  second->set_path("b");
  second->set_mode(0755);

  MakeWell();

  EXPECT_EQ(Read("volumes/conf/deep/down/a"), "one");
  EXPECT_EQ(ModeOf(Path("volumes/conf/deep/down/a")), 0400u);
  EXPECT_EQ(ModeOf(Path("volumes/conf/b")), 0755u);
  EXPECT_FALSE(fs::exists(Path("volumes/conf/a.conf")));
}

TEST_F(VolumesTest, ChangesAllFilesOfAVolumeAtOnce) {
  Add("conf").mutable_config_map()->set_name("settings");
  MakeWell();
  const fs::path before = fs::read_symlink(Path("volumes/conf/..data"));

  PutMap({{"b.conf", "three"}, {"c.conf", "new"}});
  ASSERT_TRUE(volumes->Refresh(pod, state, node).ok());

  EXPECT_EQ(Read("volumes/conf/b.conf"), "three");
  EXPECT_EQ(Read("volumes/conf/c.conf"), "new");
  EXPECT_FALSE(fs::is_symlink(Path("volumes/conf/a.conf")));
  EXPECT_NE(fs::read_symlink(Path("volumes/conf/..data")), before);
  EXPECT_FALSE(fs::exists(Path("volumes/conf") / before));

  const fs::path now = fs::read_symlink(Path("volumes/conf/..data"));
  ASSERT_TRUE(volumes->Refresh(pod, state, node).ok());
  EXPECT_EQ(fs::read_symlink(Path("volumes/conf/..data")), now) << "nothing has changed";
}

TEST_F(VolumesTest, KeepsFilesWhoseObjectIsGone) {
  Add("conf").mutable_config_map()->set_name("settings");
  MakeWell();

  state.config_maps.erase("default/settings");
  const absl::Status refreshed = volumes->Refresh(pod, state, node);

  EXPECT_EQ(refreshed.message(),
            "MountVolume.SetUp failed for volume \"conf\": configmap \"settings\" not found");
  EXPECT_EQ(Read("volumes/conf/a.conf"), "one");
}

TEST_F(VolumesTest, CleansUpAfterAWriterThatDied) {
  Add("conf").mutable_config_map()->set_name("settings");
  MakeWell();
  fs::create_directory(Path("volumes/conf/..9"));
  std::ofstream(Path("volumes/conf/..9/a.conf")) << "half";
  fs::create_symlink("..9", Path("volumes/conf/..data_new"));

  PutMap({{"a.conf", "next"}});
  ASSERT_TRUE(volumes->Refresh(pod, state, node).ok());

  EXPECT_EQ(Read("volumes/conf/a.conf"), "next");
  EXPECT_FALSE(fs::exists(Path("volumes/conf/..9")));
}

TEST_F(VolumesTest, KeepsSecretsInMemory) {
  Add("keys").mutable_secret()->set_secret_name("keys");
  v1::ProjectedVolumeSource* projected = Add("all").mutable_projected();
  projected->add_sources()->mutable_secret()->set_name("keys");
  projected->add_sources()->mutable_config_map()->set_name("settings");
  v1::DownwardAPIVolumeFile* labels = projected->add_sources()->mutable_downward_api()->add_items();
  labels->set_path("pod/name");
  labels->mutable_field_ref()->set_field_path("metadata.name");

  MakeWell();
  MakeWell();

  EXPECT_EQ(mounts.calls[0], "tmpfs " + Path("volumes/keys") + " 0 755");
  EXPECT_EQ(mounts.calls[1], "tmpfs " + Path("volumes/all") + " 0 755");
  EXPECT_EQ(Read("volumes/keys/tls.key"), std::string("\0\xff", 2));
  EXPECT_EQ(Read("volumes/all/tls.key"), std::string("\0\xff", 2));
  EXPECT_EQ(Read("volumes/all/a.conf"), "one");
  EXPECT_EQ(Read("volumes/all/pod/name"), "web");
}

TEST_F(VolumesTest, FollowsThePodsLabels) {
  v1::DownwardAPIVolumeFile* file = Add("info").mutable_downward_api()->add_items();
  file->set_path("labels");
  file->mutable_field_ref()->set_field_path("metadata.labels");
  (*pod.mutable_metadata()->mutable_labels())["tier"] = "front";
  MakeWell();
  EXPECT_EQ(Read("volumes/info/labels"), "tier=\"front\"");

  (*pod.mutable_metadata()->mutable_labels())["tier"] = "back";
  ASSERT_TRUE(volumes->Refresh(pod, state, node).ok());
  EXPECT_EQ(Read("volumes/info/labels"), "tier=\"back\"");
}

TEST_F(VolumesTest, NamesWhatIsMissingUnlessItIsOptional) {
  v1::ConfigMapVolumeSource* source = Add("conf").mutable_config_map();
  source->set_name("other");
  EXPECT_EQ(Make().message(),
            "MountVolume.SetUp failed for volume \"conf\": configmap \"other\" not found");
  source->set_optional(true);
  MakeWell();

  source->set_name("settings");
  source->add_items()->set_key("none");
  source->mutable_items(0)->set_path("x");
  MakeWell();
  source->clear_optional();
  EXPECT_THAT(std::string(Make().message()), HasSubstr("references non-existent config key: none"));
}

TEST_F(VolumesTest, KeepsWhatContainersWroteToAnEmptyDir) {
  Add("work").mutable_empty_dir();
  Add("nameless");
  v1::EmptyDirVolumeSource* memory = Add("fast").mutable_empty_dir();
  memory->set_medium("Memory");
  memory->mutable_size_limit()->set_text("64Mi");
  MakeWell();
  EXPECT_EQ(ModeOf(Path("volumes/work")), 0777u);
  EXPECT_EQ(ModeOf(Path("volumes/nameless")), 0777u);
  std::ofstream(Path("volumes/work/state")) << "kept";

  volumes = std::make_unique<Volumes>(&mounts, folder_ + "/pods");
  MakeWell();

  EXPECT_EQ(Read("volumes/work/state"), "kept");
  EXPECT_EQ(mounts.calls[0], "tmpfs " + Path("volumes/fast") + " 67108864 777");
}

TEST_F(VolumesTest, ChecksAndMakesHostPathsByTheirTypes) {
  v1::HostPathVolumeSource* source = Add("host").mutable_host_path();
  source->set_path(folder_ + "/host/made");
  source->set_type("Directory");
  EXPECT_THAT(std::string(Make().message()),
              HasSubstr("hostPath type check failed: " + source->path() + " is not a directory"));
  source->set_type("DirectoryOrCreate");
  MakeWell();
  EXPECT_TRUE(fs::is_directory(source->path()));
  source->set_type("File");
  EXPECT_THAT(std::string(Make().message()), HasSubstr("is not a file"));
  source->set_path(folder_ + "/host/made/file");
  source->set_type("FileOrCreate");
  MakeWell();
  EXPECT_TRUE(fs::is_regular_file(source->path()));
  source->set_path("/dev/null");
  source->set_type("CharDevice");
  MakeWell();
  source->set_type("BlockDevice");
  EXPECT_THAT(std::string(Make().message()), HasSubstr("is not a block device"));
  Mount("host", "/host").set_read_only(true);
  const auto mounted = MountsOf();
  ASSERT_TRUE(mounted.ok()) << mounted.status();
  EXPECT_EQ((*mounted)[0].host_path(), "/dev/null");
  EXPECT_TRUE((*mounted)[0].readonly());
}

TEST_F(VolumesTest, MountsPartsOfVolumes) {
  Add("conf").mutable_config_map()->set_name("settings");
  Add("work").mutable_empty_dir();
  Mount("conf", "/etc/a.conf").set_sub_path("a.conf");
  Mount("work", "data").set_sub_path_expr("$(POD)/logs/");
  MakeWell();

  const auto mounted = MountsOf({{"POD", "web-1"}});

  ASSERT_TRUE(mounted.ok()) << mounted.status();
  EXPECT_EQ((*mounted)[0].host_path(), Path("subpaths/app/0"));
  EXPECT_EQ((*mounted)[1].host_path(), Path("subpaths/app/1"));
  EXPECT_EQ((*mounted)[1].container_path(), "/data");
  EXPECT_FALSE((*mounted)[1].readonly());
  EXPECT_THAT(
      mounts.calls,
      ElementsAre("bind " + Path("volumes/conf") + " a.conf " + Path("subpaths/app/0"),
                  "bind " + Path("volumes/work") + " web-1/logs " + Path("subpaths/app/1")));
  EXPECT_EQ(MountsOf().status().message(), "missing value for \"POD\"");
  EXPECT_THAT(std::string(MountsOf({{"POD", "../../etc"}}).status().message()),
              HasSubstr("must be relative and without '..'"));
}

TEST_F(VolumesTest, RemovesThePodsFolderAndNothingThatALinkLeadsTo) {
  fs::create_directories(folder_ + "/host");
  std::ofstream(folder_ + "/host/precious") << "keep";
  Add("host").mutable_host_path()->set_path(folder_ + "/host");
  Add("work").mutable_empty_dir();
  MakeWell();
  fs::create_directory_symlink(folder_ + "/host", Path("volumes/work/link"));

  ASSERT_TRUE(volumes->Remove("uid-web").ok());
  EXPECT_FALSE(fs::exists(Path("")));
  ASSERT_TRUE(volumes->Remove("uid-web").ok());
  volumes.reset();  // finishes, or leaves it to the next
  volumes = std::make_unique<Volumes>(&mounts, folder_ + "/pods");
  volumes.reset();

  EXPECT_THAT(mounts.calls, testing::Contains("unmount " + folder_ + "/pods/uid-web"));
  EXPECT_TRUE(fs::exists(folder_ + "/host/precious"));
}

TEST_F(VolumesTest, KeepsTheFolderWhileSomethingIsMountedThere) {
  Add("work").mutable_empty_dir();
  MakeWell();
  mounts.unmount = absl::UnavailableError("still mounted");

  EXPECT_TRUE(absl::IsUnavailable(volumes->Remove("uid-web")));
  EXPECT_TRUE(fs::exists(Path("volumes/work")));
}

TEST_F(VolumesTest, RemovesWhatPodsOfAnotherLifeHaveLeft) {
  Add("work").mutable_empty_dir();
  MakeWell();
  fs::create_directories(folder_ + "/pods/uid-old/volumes/work");

  volumes->RemoveOthers({"uid-web"});

  EXPECT_TRUE(fs::exists(Path("volumes/work")));
  EXPECT_FALSE(fs::exists(folder_ + "/pods/uid-old"));
}

TEST_F(VolumesTest, RemovesDeepFolders) {
  std::string path = folder_ + "/deep";
  for (int i = 0; i < 50; ++i) path += "/down";
  fs::create_directories(path);
  std::ofstream(path + "/file") << "x";

  ASSERT_TRUE(RemoveOwnTree(folder_ + "/deep").ok());
  EXPECT_FALSE(fs::exists(folder_ + "/deep"));
  EXPECT_TRUE(RemoveOwnTree(folder_ + "/deep").ok());
}

}  // namespace
}  // namespace mesh::agent
