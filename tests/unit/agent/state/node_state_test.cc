// SPDX-License-Identifier: Apache-2.0
#include "agent/state/node_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "agent/state/checkpoint_writer.h"
#include "common/random.h"

namespace mesh::agent {
namespace {

v1::NodeUpdate Full(int64_t revision) {
  v1::NodeUpdate update;
  update.set_revision(revision);
  update.set_full(true);
  return update;
}

void AddPod(v1::NodeUpdate& update, const std::string& uid, const std::string& name) {
  v1::Pod* pod = update.add_pods();
  pod->mutable_metadata()->set_uid(uid);
  pod->mutable_metadata()->set_name(name);
}

// What an update says about each pod: a name, or nothing for removed.
using Words = std::map<std::string, std::string>;

v1::NodeUpdate ToUpdate(int64_t revision, const Words& words) {
  v1::NodeUpdate update;
  update.set_revision(revision);
  for (const auto& [uid, name] : words) {
    if (name.empty()) {
      update.add_removed_pod_uids(uid);
    } else {
      AddPod(update, uid, name);
    }
  }
  return update;
}

std::map<std::string, std::string> Names(const NodeState& state) {
  std::map<std::string, std::string> out;
  for (const auto& [uid, pod] : state.pods) out[uid] = pod->metadata().name();
  return out;
}

TEST(NodeState, MergesPoliciesAndKeepsThemInTheCheckpoint) {
  NodeState state;
  v1::NodeUpdate full = Full(1);
  full.set_policy_epoch(7);
  full.add_policy_sets()->set_number(3);
  v1::IdentityState* identity = full.add_identities();
  identity->set_identity(300);
  identity->set_ingress(3);
  ASSERT_TRUE(state.Merge(full).ok());
  const NodeState before = state;

  v1::NodeUpdate increment;
  increment.set_revision(2);
  increment.add_removed_policy_sets(3);
  increment.add_policy_sets()->set_number(4);
  increment.add_identities()->set_identity(301);
  ASSERT_TRUE(state.Merge(increment).ok());
  EXPECT_EQ(state.policy_epoch, 7u);
  EXPECT_FALSE(state.policy_sets.contains(3));
  EXPECT_TRUE(state.policy_sets.contains(4));
  EXPECT_EQ(state.identities.at(300)->ingress(), 3u);

  std::vector<uint32_t> changed;
  before.identities.ForEachChangeTo(state.identities,
                                    [&](uint32_t number, const auto*, const auto* is) {
                                      EXPECT_NE(is, nullptr);
                                      changed.push_back(number);
                                    });
  EXPECT_EQ(changed, std::vector<uint32_t>{301});

  const std::string path = ::testing::TempDir() + "/policies.checkpoint";
  ASSERT_TRUE(SaveCheckpoint(state, path).ok());
  const auto loaded = LoadCheckpoint(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->policy_epoch, 7u);
  EXPECT_EQ(loaded->identities.size(), 2u);
  EXPECT_TRUE(loaded->policy_sets.contains(4));
  std::filesystem::remove(path);

  // Told again by the same meshd: what is the same stays the same object.
  full.add_identities()->set_identity(301);
  ASSERT_TRUE(state.Merge(full).ok());
  EXPECT_TRUE(state.identities.at(300).SameAs(before.identities.at(300)));
  EXPECT_FALSE(state.policy_sets.contains(4));
}

TEST(NodeState, KeepsWhatPodsReferToInACheckpointThatOthersCannotRead) {
  NodeState state;
  v1::NodeUpdate full = Full(1);
  for (const char* name : {"a", "b"}) {
    v1::Secret* secret = full.add_secrets();
    secret->mutable_metadata()->set_namespace_("shop");
    secret->mutable_metadata()->set_name(name);
    v1::ConfigMap* map = full.add_config_maps();
    map->mutable_metadata()->set_namespace_("shop");
    map->mutable_metadata()->set_name(name);
  }
  ASSERT_TRUE(state.Merge(full).ok());
  v1::NodeUpdate increment;
  increment.add_removed_secrets("shop/a");
  increment.add_removed_config_maps("shop/b");
  ASSERT_TRUE(state.Merge(increment).ok());

  const std::string path = ::testing::TempDir() + "/referred.checkpoint";
  ASSERT_TRUE(SaveCheckpoint(state, path).ok());
  const auto loaded = LoadCheckpoint(path);

  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->secrets.size(), 1u);
  EXPECT_TRUE(loaded->secrets.contains("shop/b"));
  EXPECT_EQ(loaded->config_maps.size(), 1u);
  EXPECT_TRUE(loaded->config_maps.contains("shop/a"));
  struct stat info {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  std::filesystem::remove(path);
}

TEST(NodeState, RefusesAnIncrementBeforeAFullUpdate) {
  NodeState state;
  v1::NodeUpdate update;
  update.set_revision(7);

  EXPECT_TRUE(absl::IsInvalidArgument(state.Merge(update)));
  EXPECT_EQ(state.revision, 0);
}

void AddIdentity(v1::NodeUpdate* update, const std::string& ip, uint32_t identity) {
  auto* pod = update->add_pod_identities();
  pod->set_ip(ip);
  pod->set_ip6("fd00::" + ip.substr(ip.rfind('.') + 1));
  pod->set_identity(identity);
}

std::vector<std::string> ChangedAddresses(const NodeState& before, const NodeState& now) {
  std::vector<std::string> out;
  before.pod_identities.ForEachChangeTo(
      now.pod_identities,
      [&](const std::string& ip, const auto*, const auto*) { out.push_back(ip); });
  return out;
}

TEST(NodeState, MergesIdentitiesOfPods) {
  NodeState first;
  v1::NodeUpdate full = Full(1);
  for (const char* ip : {"10.244.2.5", "10.244.2.6", "10.244.3.5"}) AddIdentity(&full, ip, 300);
  ASSERT_TRUE(first.Merge(full).ok());
  ASSERT_EQ(first.pod_identities.size(), 3u);
  EXPECT_EQ(first.pod_identities.at("10.244.2.5"),
            (PodIdentity{.ip6 = "fd00::5", .identity = 300}));

  NodeState second = first;
  v1::NodeUpdate update;
  update.set_revision(2);
  AddIdentity(&update, "10.244.2.6", 301);
  update.add_removed_pod_ips("10.244.2.5");
  ASSERT_TRUE(second.Merge(update).ok());
  EXPECT_EQ(ChangedAddresses(first, second),
            (std::vector<std::string>{"10.244.2.5", "10.244.2.6"}));
  EXPECT_EQ(second.pod_identities.size(), 2u);
  EXPECT_EQ(second.pod_identities.at("10.244.2.6").identity, 301u);
  EXPECT_EQ(first.pod_identities.at("10.244.2.6").identity, 300u);

  NodeState third = second;
  v1::NodeUpdate again = Full(3);
  AddIdentity(&again, "10.244.3.5", 300);
  ASSERT_TRUE(third.Merge(again).ok());
  EXPECT_EQ(third.pod_identities.size(), 1u);
  EXPECT_EQ(ChangedAddresses(second, third), std::vector<std::string>{"10.244.2.6"})
      << "the other is known";
}

TEST(NodeState, AFullUpdateReplacesEverything) {
  NodeState state;
  v1::NodeUpdate first = Full(1);
  AddPod(first, "u1", "one");
  first.add_nodes()->set_name("n2");
  first.add_namespaces()->set_identity(300);
  v1::ServiceState* service = first.add_services();
  service->set_namespace_("default");
  service->set_name("web");
  ASSERT_TRUE(state.Merge(first).ok());
  ASSERT_TRUE(state.services.contains("default/web"));

  v1::NodeUpdate second = Full(2);
  AddPod(second, "u2", "two");
  ASSERT_TRUE(state.Merge(second).ok());

  EXPECT_EQ(Names(state), (Words{{"u2", "two"}}));
  EXPECT_TRUE(state.services.empty());
  EXPECT_TRUE(state.nodes.empty());
  EXPECT_TRUE(state.namespaces.empty());
  EXPECT_EQ(state.revision, 2);
}

TEST(NodeState, AnIncrementReplacesByKeyAndRemovesByKey) {
  NodeState state;
  v1::NodeUpdate full = Full(1);
  AddPod(full, "u1", "one");
  AddPod(full, "u2", "two");
  v1::ServiceState* service = full.add_services();
  service->set_namespace_("default");
  service->set_name("web");
  ASSERT_TRUE(state.Merge(full).ok());

  v1::NodeUpdate next = ToUpdate(5, {{"u1", "uno"}, {"u2", ""}});
  next.add_removed_services("default/web");
  ASSERT_TRUE(state.Merge(next).ok());

  EXPECT_EQ(Names(state), (Words{{"u1", "uno"}}));
  EXPECT_TRUE(state.services.empty());
  EXPECT_EQ(state.revision, 5);
}

TEST(NodeState, AFullUpdateThatRepeatsAServiceKeepsItsObject) {
  v1::NodeUpdate full = Full(1);
  for (const char* name : {"web", "db"}) {
    v1::ServiceState* service = full.add_services();
    service->set_namespace_("default");
    service->set_name(name);
  }
  NodeState before;
  ASSERT_TRUE(before.Merge(full).ok());

  full.mutable_services(1)->set_cluster_ip("10.96.0.9");
  NodeState after = before;
  ASSERT_TRUE(after.Merge(full).ok());

  EXPECT_TRUE(after.services.at("default/web").SameAs(before.services.at("default/web")));
  EXPECT_FALSE(after.services.at("default/db").SameAs(before.services.at("default/db")));
  EXPECT_EQ(after.services.at("default/db")->cluster_ip(), "10.96.0.9");
}

TEST(NodeState, MergingIsAssociative) {
  Random random(20260101);
  const auto any = [&] {
    Words words;
    for (int i = 0; i < 6; ++i) {
      if (random.Below(2) == 0) continue;
      words["u" + std::to_string(i)] =
          random.Below(3) == 0 ? "" : "name" + std::to_string(random.Below(100));
    }
    return words;
  };
  for (int round = 0; round < 200; ++round) {
    NodeState apart, together;
    v1::NodeUpdate full = Full(1);
    AddPod(full, "u0", "zero");
    AddPod(full, "u3", "three");
    ASSERT_TRUE(apart.Merge(full).ok());
    ASSERT_TRUE(together.Merge(full).ok());
    const Words first = any(), second = any();
    Words both = second;  // the later word counts
    both.insert(first.begin(), first.end());

    ASSERT_TRUE(apart.Merge(ToUpdate(2, first)).ok());
    ASSERT_TRUE(apart.Merge(ToUpdate(3, second)).ok());
    ASSERT_TRUE(together.Merge(ToUpdate(3, both)).ok());

    ASSERT_EQ(Names(apart), Names(together)) << "round " << round;
    ASSERT_EQ(apart.revision, together.revision);
  }
}

class Checkpoint : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-state-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/node-state";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  NodeState Sample() {
    NodeState state;
    v1::NodeUpdate full = Full(42);
    AddPod(full, "u1", "one");
    full.add_namespaces()->set_identity(300);
    AddIdentity(&full, "10.244.2.5", 301);
    EXPECT_TRUE(state.Merge(full).ok());
    state.config.set_node_name("node-0");
    state.config.set_pod_cidr6("fd00:1::/64");
    state.config.set_routing(v1::Welcome::NATIVE);
    state.config.set_pod_cidr("10.244.1.0/24");
    return state;
  }

  std::string folder_, path_;
};

TEST_F(Checkpoint, ComesBackAsItWas) {
  ASSERT_TRUE(SaveCheckpoint(Sample(), path_).ok());

  const auto loaded = LoadCheckpoint(path_);

  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->revision, 42);
  EXPECT_TRUE(loaded->complete);
  EXPECT_EQ(Names(*loaded), (Words{{"u1", "one"}}));
  EXPECT_TRUE(loaded->namespaces.contains(300));
  EXPECT_EQ(loaded->config.pod_cidr(), "10.244.1.0/24");
  EXPECT_EQ(loaded->config.pod_cidr6(), "fd00:1::/64");
  EXPECT_EQ(loaded->config.routing(), v1::Welcome::NATIVE);
  EXPECT_EQ(loaded->pod_identities, Sample().pod_identities);
}

TEST_F(Checkpoint, SaysWhenThereIsNone) {
  EXPECT_TRUE(absl::IsNotFound(LoadCheckpoint(path_).status()));
}

TEST_F(Checkpoint, RefusesAFileThatWasCutOrIsAnotherThing) {
  ASSERT_TRUE(SaveCheckpoint(Sample(), path_).ok());
  const auto size = std::filesystem::file_size(path_);
  for (uintmax_t keep = 0; keep < size; ++keep) {
    std::filesystem::resize_file(path_, keep);
    const auto loaded = LoadCheckpoint(path_);
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kDataLoss) << keep << " bytes";
    ASSERT_TRUE(SaveCheckpoint(Sample(), path_).ok());
  }
  std::ofstream(path_) << "something else entirely, and longer than the head";
  EXPECT_EQ(LoadCheckpoint(path_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(Checkpoint, WriterTellsWhatItCannotWriteAndTriesAgain) {
  const std::string folder = path_ + ".d";
  CheckpointWriter writer(folder + "/state", absl::Milliseconds(10));
  const auto becomes = [&](bool ok) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    while (writer.status().ok() != ok && absl::Now() < deadline) sched_yield();
    return writer.status().ok() == ok;
  };
  writer.Save(std::make_shared<NodeState>(Sample()));
  ASSERT_TRUE(becomes(false));
  EXPECT_THAT(std::string(writer.status().message()), ::testing::HasSubstr(folder));

  std::filesystem::create_directory(folder);

  EXPECT_TRUE(becomes(true));
  EXPECT_TRUE(LoadCheckpoint(folder + "/state").ok());
}

TEST_F(Checkpoint, WriterWritesTheNewestBeforeItEnds) {
  {
    CheckpointWriter writer(path_);
    for (int64_t revision = 1; revision <= 50; ++revision) {
      auto state = std::make_shared<NodeState>(Sample());
      state->revision = revision;
      writer.Save(state);
    }
  }
  const auto loaded = LoadCheckpoint(path_);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->revision, 50);
}

}  // namespace
}  // namespace mesh::agent
