// SPDX-License-Identifier: Apache-2.0
// Goal: a node is told of the ConfigMaps and Secrets that its pods refer to, of no others, and no
// longer than they do.
#include <string>
#include <vector>

#include "tests/unit/controlplane/rpc/sessions_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

v1::Resource AConfigMap(const std::string& name, const std::string& color) {
  v1::Resource out;
  out.mutable_config_map()->mutable_metadata()->set_namespace_("default");
  out.mutable_config_map()->mutable_metadata()->set_name(name);
  (*out.mutable_config_map()->mutable_data())["color"] = color;
  return out;
}

v1::Resource ASecret(const std::string& name) {
  v1::Resource out;
  out.mutable_secret()->mutable_metadata()->set_namespace_("default");
  out.mutable_secret()->mutable_metadata()->set_name(name);
  (*out.mutable_secret()->mutable_data())["key"] = "eA==";
  return out;
}

v1::Resource APodWith(const std::string& name, const std::string& node, const std::string& map,
                      const std::string& secret) {
  v1::Resource out = APod(name, node);
  out.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.2");
  v1::PodSpec* spec = out.mutable_pod()->mutable_spec();
  if (!map.empty()) {
    spec->mutable_containers(0)->add_env_from()->mutable_config_map_ref()->set_name(map);
  }
  if (!secret.empty()) {
    v1::Volume* volume = spec->add_volumes();
    volume->set_name("keys");
    volume->mutable_secret()->set_secret_name(secret);
  }
  return out;
}

std::vector<std::string> Names(const v1::NodeUpdate& update) {
  std::vector<std::string> out;
  for (const v1::ConfigMap& map : update.config_maps()) {
    out.push_back(map.metadata().name() + "=" + map.data().at("color"));
  }
  for (const v1::Secret& secret : update.secrets()) out.push_back(secret.metadata().name());
  return out;
}

TEST_F(NodeSessionsTest, TellsANodeWhatItsPodsReferTo) {
  ASSERT_TRUE(world_.Create(AConfigMap("settings", "green")).ok());
  ASSERT_TRUE(world_.Create(AConfigMap("other", "red")).ok());
  ASSERT_TRUE(world_.Create(ASecret("keys")).ok());
  ASSERT_TRUE(world_.Create(APodWith("web", "n1", "settings", "keys")).ok());
  ASSERT_TRUE(world_.Create(APodWith("far", "n2", "other", "")).ok());

  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");

  const v1::NodeUpdate& full = agent.Update();
  EXPECT_TRUE(full.full());
  EXPECT_THAT(Names(full), ElementsAre("settings=green", "keys"));
  EXPECT_FALSE(full.config_maps(0).metadata().has_creation_timestamp());
}

TEST_F(NodeSessionsTest, TellsOfAnObjectThatComesAfterThePodAndOfEachChange) {
  ASSERT_TRUE(world_.Create(APodWith("web", "n1", "settings", "")).ok());
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  EXPECT_THAT(Names(agent.Update()), IsEmpty());

  ASSERT_TRUE(world_.Create(AConfigMap("settings", "green")).ok());
  EXPECT_THAT(Names(agent.Update()), ElementsAre("settings=green"));
  EXPECT_FALSE(agent.Update().full());

  v1::Resource changed = *world_.cache.Find(v1::KIND_CONFIG_MAP, {"default", "settings"});
  (*changed.mutable_config_map()->mutable_data())["color"] = "blue";
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, changed, {}}).ok());
  EXPECT_THAT(Names(agent.Update()), ElementsAre("settings=blue"));

  ASSERT_TRUE(world_.Delete(v1::KIND_CONFIG_MAP, {"default", "settings"}).ok());
  EXPECT_THAT(agent.Update().removed_config_maps(), ElementsAre("default/settings"));
}

TEST_F(NodeSessionsTest, SaysNothingOfAnObjectWhoseLabelsAloneChange) {
  ASSERT_TRUE(world_.Create(AConfigMap("settings", "green")).ok());
  ASSERT_TRUE(world_.Create(APodWith("web", "n1", "settings", "")).ok());
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();
  const size_t before = agent.received().size();

  v1::Resource changed = *world_.cache.Find(v1::KIND_CONFIG_MAP, {"default", "settings"});
  (*changed.mutable_config_map()->mutable_metadata()->mutable_labels())["team"] = "shop";
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, changed, {}}).ok());
  agent.Drain();

  EXPECT_EQ(agent.received().size(), before);
}

TEST_F(NodeSessionsTest, TakesBackWhatNoPodOfTheNodeRefersToAnyMore) {
  ASSERT_TRUE(world_.Create(AConfigMap("settings", "green")).ok());
  ASSERT_TRUE(world_.Create(APodWith("a", "n1", "settings", "")).ok());
  ASSERT_TRUE(world_.Create(APodWith("b", "n1", "settings", "")).ok());
  FakeAgent agent(world_, sessions_);
  agent.Hello("n1");
  agent.Drain();

  const Writer::DeleteOptions now{.grace_period_seconds = 0, .uid = {}};
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "a"}, now).ok());
  EXPECT_THAT(agent.Update().removed_config_maps(), IsEmpty());
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "b"}, now).ok());
  EXPECT_THAT(agent.Update().removed_config_maps(), ElementsAre("default/settings"));
}

}  // namespace
}  // namespace mesh::controlplane
