// SPDX-License-Identifier: Apache-2.0
// Goal: a node learns what the claims of its pods have, removes what it is told to, and the object
// of a volume goes when its content has, not before.
#include <string>

#include "controlplane/state/claims.h"
#include "tests/unit/controlplane/rpc/sessions_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

const ObjectKey kVolume{"", "pvc-1"};

v1::Resource AVolume(const std::string& phase) {
  v1::StorageClass type;
  type.set_provisioner(kLocalPathProvisioner);
  v1::Node node;
  node.mutable_metadata()->set_name("n1");
  (*node.mutable_metadata()->mutable_annotations())[kVolumeDirAnnotation] = "/volumes";
  v1::PersistentVolumeClaim claim;
  claim.mutable_metadata()->set_namespace_("default");
  claim.mutable_metadata()->set_name("data");
  claim.mutable_metadata()->set_uid("1");
  (*claim.mutable_spec()->mutable_resources()->mutable_requests())["storage"].set_text("1Gi");
  v1::Resource out;
  *out.mutable_persistent_volume() = ProvisionedVolume(claim, type, node);
  out.mutable_persistent_volume()->mutable_metadata()->add_finalizers("mesh.io/local-path");
  out.mutable_persistent_volume()->mutable_spec()->mutable_claim_ref()->clear_uid();
  out.mutable_persistent_volume()->mutable_status()->set_phase(phase);
  return out;
}

v1::Resource ABoundClaim() {
  v1::Resource out;
  v1::PersistentVolumeClaim& claim = *out.mutable_persistent_volume_claim();
  claim.mutable_metadata()->set_namespace_("default");
  claim.mutable_metadata()->set_name("data");
  (*claim.mutable_metadata()->mutable_annotations())[kBindCompletedAnnotation] = "yes";
  claim.mutable_spec()->set_volume_name("pvc-1");
  return out;
}

v1::Resource APodWithClaim() {
  v1::Resource out = APod("web", "n1");
  out.mutable_pod()->mutable_status()->set_pod_ip("10.244.0.2");
  v1::Volume* volume = out.mutable_pod()->mutable_spec()->add_volumes();
  volume->set_name("data");
  volume->mutable_persistent_volume_claim()->set_claim_name("data");
  return out;
}

v1::AgentMessage AReport(const std::string& error) {
  v1::AgentMessage out;
  out.mutable_volume()->set_name("pvc-1");
  out.mutable_volume()->set_error(error);
  return out;
}

TEST_F(NodeSessionsTest, TellsANodeTheVolumesOfItsPods) {
  ASSERT_TRUE(world_.Create(AVolume("Bound")).ok());
  ASSERT_TRUE(world_.Create(ABoundClaim()).ok());
  ASSERT_TRUE(world_.Create(APodWithClaim()).ok());
  FakeAgent agent(world_, sessions_), other(world_, sessions_);
  agent.Hello("n1");
  other.Hello("n2", "192.0.2.2");

  ASSERT_THAT(agent.Update().volumes(), SizeIs(1));
  const v1::VolumeState& told = agent.Update().volumes(0);
  EXPECT_EQ(told.name(), "pvc-1");
  EXPECT_EQ(told.claim(), "default/data");
  EXPECT_EQ(told.path(), "/volumes/pvc-1_default_data");
  EXPECT_TRUE(told.provisioned());
  EXPECT_FALSE(told.remove());
  EXPECT_THAT(other.Update().volumes(), SizeIs(0));

  const Writer::DeleteOptions now{.grace_period_seconds = 0, .uid = {}};
  ASSERT_TRUE(world_.Delete(v1::KIND_POD, {"default", "web"}, now).ok());
  EXPECT_THAT(agent.Update().removed_volumes(), ElementsAre("pvc-1"));
}

TEST_F(NodeSessionsTest, AVolumeGoesWhenItsNodeHasRemovedItsContent) {
  ASSERT_TRUE(world_.Create(AVolume("Bound")).ok());
  FakeAgent agent(world_, sessions_), other(world_, sessions_);
  agent.Hello("n1");
  other.Hello("n2", "192.0.2.2");
  // Nobody has been asked yet.
  agent.Say(AReport(""));
  ASSERT_NE(world_.cache.Find(v1::KIND_PERSISTENT_VOLUME, kVolume), nullptr);

  v1::Resource released = *world_.cache.Find(v1::KIND_PERSISTENT_VOLUME, kVolume);
  released.mutable_persistent_volume()->mutable_status()->set_phase("Released");
  ASSERT_TRUE(world_.Submit({Write::Type::kUpdateStatus, released, {}}).ok());
  ASSERT_THAT(agent.Update().volumes(), SizeIs(1));
  EXPECT_TRUE(agent.Update().volumes(0).remove());

  other.Say(AReport(""));
  ASSERT_NE(world_.cache.Find(v1::KIND_PERSISTENT_VOLUME, kVolume), nullptr);
  agent.Say(AReport("disk is read-only"));
  const auto failed = world_.cache.Find(v1::KIND_PERSISTENT_VOLUME, kVolume);
  ASSERT_NE(failed, nullptr);
  EXPECT_EQ(failed->persistent_volume().status().phase(), "Failed");
  EXPECT_EQ(failed->persistent_volume().status().message(), "disk is read-only");

  agent.Say(AReport(""));
  EXPECT_EQ(world_.cache.Find(v1::KIND_PERSISTENT_VOLUME, kVolume), nullptr);
  EXPECT_THAT(agent.Update().removed_volumes(), ElementsAre("pvc-1"));
}

}  // namespace
}  // namespace mesh::controlplane
