// SPDX-License-Identifier: Apache-2.0
// Claims, volumes and the pods that wait for them: the controllers and the scheduler take turns on
// one state until none of them writes.
#include <algorithm>

#include "controlplane/controllers/claim_controller.h"
#include "controlplane/controllers/ephemeral_claim_controller.h"
#include "controlplane/controllers/volume_controller.h"
#include "controlplane/scheduler/scheduler.h"
#include "controlplane/state/claims.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/controlplane/controllers/cluster_world.h"

namespace mesh::controlplane {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class ClaimsTest : public ::testing::Test {
 protected:
  ClaimsTest() {
    AddNode("a");
    AddNode("b");
    AddClass("local-path", kLocalPathProvisioner, "WaitForFirstConsumer", true);
  }

  void AddNode(const std::string& name) {
    v1::Node& node = world.AddNode(name, "1", "8Gi", {{"kubernetes.io/hostname", name}});
    (*node.mutable_metadata()->mutable_annotations())[kVolumeDirAnnotation] = "/volumes";
  }

  void AddClass(const std::string& name, const std::string& provisioner, const std::string& mode,
                bool is_default = false, const std::string& policy = "Delete") {
    v1::Resource resource;
    v1::StorageClass& type = *resource.mutable_storage_class();
    type.mutable_metadata()->set_name(name);
    if (is_default) {
      (*type.mutable_metadata()->mutable_annotations())[kDefaultClassAnnotation] = "true";
    }
    type.set_provisioner(provisioner);
    type.set_volume_binding_mode(mode);
    type.set_reclaim_policy(policy);
    world.Put(std::move(resource));
  }

  static v1::PersistentVolumeClaim Claim(const std::string& name, const std::string& size = "1Gi") {
    v1::PersistentVolumeClaim claim;
    claim.mutable_metadata()->set_namespace_("default");
    claim.mutable_metadata()->set_name(name);
    claim.mutable_spec()->add_access_modes("ReadWriteOnce");
    (*claim.mutable_spec()->mutable_resources()->mutable_requests())["storage"].set_text(size);
    return claim;
  }
  static v1::PersistentVolumeClaim ClaimOf(const std::string& type, const std::string& name,
                                           const std::string& size = "1Gi") {
    v1::PersistentVolumeClaim claim = Claim(name, size);
    claim.mutable_spec()->set_storage_class_name(type);
    return claim;
  }
  void Add(const v1::PersistentVolumeClaim& claim) {
    v1::Resource resource;
    *resource.mutable_persistent_volume_claim() = claim;
    world.Put(std::move(resource));
  }

  void AddVolume(const std::string& name, const std::string& size, const std::string& node = "",
                 const std::string& policy = "Retain", const std::string& type = "manual") {
    v1::Resource resource;
    v1::PersistentVolume& volume = *resource.mutable_persistent_volume();
    volume.mutable_metadata()->set_name(name);
    volume.mutable_spec()->add_access_modes("ReadWriteOnce");
    (*volume.mutable_spec()->mutable_capacity())["storage"].set_text(size);
    volume.mutable_spec()->set_storage_class_name(type);
    volume.mutable_spec()->set_persistent_volume_reclaim_policy(policy);
    volume.mutable_spec()->mutable_host_path()->set_path("/data");
    if (!node.empty()) {
      v1::NodeSelectorRequirement* one = volume.mutable_spec()
                                             ->mutable_node_affinity()
                                             ->mutable_required()
                                             ->add_node_selector_terms()
                                             ->add_match_expressions();
      one->set_key("kubernetes.io/hostname");
      one->set_operator_("In");
      one->add_values(node);
    }
    world.Put(std::move(resource));
  }

  v1::Pod& AddPod(const std::string& name, const std::string& claim) {
    v1::Pod& pod = world.AddPod(name, "web");
    v1::Volume* volume = pod.mutable_spec()->add_volumes();
    volume->set_name("data");
    volume->mutable_persistent_volume_claim()->set_claim_name(claim);
    return pod;
  }

  std::vector<ObjectKey> Keys(v1::Kind kind) const {
    std::vector<ObjectKey> out;
    const auto objects = world.state.others.find(kind);
    if (objects == world.state.others.end()) return out;
    for (const auto& [key, object] : objects->second) out.push_back(key);
    return out;
  }

  bool Apply(const ReconcileResult& result) {
    for (const EventNote& event : result.events)
      events.push_back(event.reason + ": " + event.message);
    world.Apply(result);
    // As the writer does it: what nothing holds any more goes.
    for (const v1::Kind kind : {v1::KIND_PERSISTENT_VOLUME_CLAIM, v1::KIND_PERSISTENT_VOLUME}) {
      for (const ObjectKey& key : Keys(kind)) {
        const v1::ObjectMeta& meta = MetaOf(*world.state.Find(kind, key));
        if (meta.has_deletion_timestamp() && meta.finalizers().empty()) {
          world.state.Remove(kind, key);
        }
      }
    }
    return !result.writes.empty();
  }

  // Everybody in turn, until nobody writes.
  void Run() {
    for (int round = 0; round < 20; ++round) {
      bool wrote = false;
      std::vector<ObjectKey> pods;
      for (const auto& [key, pod] : world.state.pods) pods.push_back(key);
      for (const ObjectKey& key : pods) {
        wrote |= Apply(ephemeral.Reconcile(world.state, key, world.now));
      }
      for (const ObjectKey& key : Keys(v1::KIND_PERSISTENT_VOLUME_CLAIM)) {
        wrote |= Apply(claims.Reconcile(world.state, key, world.now));
      }
      for (const ObjectKey& key : Keys(v1::KIND_PERSISTENT_VOLUME)) {
        wrote |= Apply(volumes.Reconcile(world.state, key, world.now));
      }
      wrote |= Apply(scheduler.Schedule(world.state, world.now));
      if (!wrote) return;
    }
    FAIL() << "the controllers do not come to rest";
  }

  void Delete(const std::string& claim) {
    v1::PersistentVolumeClaim copy = claim_(claim);
    *copy.mutable_metadata()->mutable_deletion_timestamp() = ToTimestamp(world.now);
    Add(copy);
  }

  const v1::PersistentVolumeClaim& claim_(const std::string& name) const {
    return *FindClaim(world.state, InDefault(name));
  }
  const v1::PersistentVolume& volume_(const std::string& name) const {
    return *FindVolume(world.state, name);
  }
  const v1::PersistentVolume& VolumeOf(const std::string& claim) const {
    return volume_(claim_(claim).spec().volume_name());
  }
  std::string WhyPending(const std::string& pod) {
    const v1::Condition* condition =
        FindCondition(world.pod(pod).status().conditions(), "PodScheduled");
    return condition == nullptr ? "" : condition->message();
  }

  ClusterWorld world;
  ClaimController claims;
  VolumeController volumes;
  EphemeralClaimController ephemeral;
  Scheduler scheduler;
  std::vector<std::string> events;
};

TEST_F(ClaimsTest, BindsAClaimToTheSmallestVolumeThatIsLargeEnough) {
  AddVolume("large", "10Gi");
  AddVolume("medium", "5Gi");
  AddVolume("small", "1Gi");
  AddVolume("other-class", "2Gi", "", "Retain", "fast");
  Add(ClaimOf("manual", "data", "2Gi"));

  Run();

  EXPECT_EQ(claim_("data").spec().volume_name(), "medium");
  EXPECT_EQ(claim_("data").status().phase(), "Bound");
  EXPECT_EQ(claim_("data").status().capacity().at("storage").text(), "5Gi");
  EXPECT_EQ(volume_("medium").status().phase(), "Bound");
  EXPECT_EQ(volume_("medium").spec().claim_ref().name(), "data");
  EXPECT_EQ(volume_("large").status().phase(), "Available");
}

TEST_F(ClaimsTest, BindsTheVolumeThatTheClaimNamesAndTheOneThatNamesTheClaim) {
  AddVolume("first", "1Gi");
  AddVolume("second", "9Gi");
  AddVolume("kept", "9Gi");
  v1::Resource kept = *world.state.Find(v1::KIND_PERSISTENT_VOLUME, {"", "kept"});
  kept.mutable_persistent_volume()->mutable_spec()->mutable_claim_ref()->set_namespace_("default");
  kept.mutable_persistent_volume()->mutable_spec()->mutable_claim_ref()->set_name("reserved");
  world.Put(kept);
  v1::PersistentVolumeClaim named = ClaimOf("manual", "named");
  named.mutable_spec()->set_volume_name("second");
  Add(named);
  Add(ClaimOf("manual", "reserved"));

  Run();

  EXPECT_EQ(volume_("second").spec().claim_ref().name(), "named");
  EXPECT_EQ(claim_("reserved").spec().volume_name(), "kept");
  EXPECT_EQ(claim_("reserved").status().phase(), "Bound");
}

TEST_F(ClaimsTest, MakesTheVolumeWhereTheFirstPodIsPlaced) {
  Add(Claim("data"));
  Run();
  EXPECT_EQ(claim_("data").spec().storage_class_name(), "local-path");
  EXPECT_EQ(claim_("data").status().phase(), "Pending");
  EXPECT_THAT(events, Contains("WaitForFirstConsumer: waiting for first consumer to be created "
                               "before binding"));

  AddPod("web", "data");
  Run();

  const std::string node = world.pod("web").spec().node_name();
  ASSERT_FALSE(node.empty());
  const v1::PersistentVolume& volume = VolumeOf("data");
  EXPECT_EQ(claim_("data").status().phase(), "Bound");
  EXPECT_EQ(volume.status().phase(), "Bound");
  EXPECT_EQ(NodeOfVolume(volume), node);
  EXPECT_EQ(volume.spec().host_path().path(),
            "/volumes/pvc-" + claim_("data").metadata().uid() + "_default_data");
  EXPECT_EQ(volume.spec().persistent_volume_reclaim_policy(), "Delete");
  EXPECT_THAT(events,
              Contains(HasSubstr("ProvisioningSucceeded: Successfully provisioned volume")));
}

TEST_F(ClaimsTest, PutsALaterPodWhereTheVolumeIsOrNowhere) {
  Add(Claim("data"));
  AddPod("first", "data");
  Run();
  const std::string node = world.pod("first").spec().node_name();
  AddPod("second", "data");
  Run();
  EXPECT_EQ(world.pod("second").spec().node_name(), node);

  v1::Pod& large = AddPod("large", "data");
  (*large.mutable_spec()->mutable_containers(0)->mutable_resources()->mutable_requests())["cpu"]
      .set_text("900m");
  v1::Pod& filler = world.AddPod("filler", "filler", node);
  (*filler.mutable_spec()->mutable_containers(0)->mutable_resources()->mutable_requests())["cpu"]
      .set_text("500m");
  Run();

  EXPECT_EQ(world.pod("large").spec().node_name(), "");
  EXPECT_EQ(WhyPending("large"),
            "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had volume node affinity "
            "conflict.");
}

TEST_F(ClaimsTest, ChoosesTheNodeThatHasAFreeVolumeOfAClassWithoutProvisioner) {
  AddClass("local", kNoProvisioner, "WaitForFirstConsumer");
  AddVolume("on-b", "5Gi", "b", "Retain", "local");
  Add(ClaimOf("local", "one"));
  Add(ClaimOf("local", "two"));
  AddPod("web", "one");
  Run();
  EXPECT_EQ(world.pod("web").spec().node_name(), "b");
  EXPECT_EQ(claim_("one").spec().volume_name(), "on-b");

  AddPod("late", "two");
  Run();

  EXPECT_EQ(WhyPending("late"),
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.");
}

TEST_F(ClaimsTest, APodSaysWhatItWaitsFor) {
  AddPod("lost", "missing");
  Add(ClaimOf("manual", "none"));
  AddPod("unbound", "none");
  Run();
  EXPECT_EQ(WhyPending("lost"),
            "0/2 nodes are available: persistentvolumeclaim \"missing\" not found.");
  EXPECT_EQ(WhyPending("unbound"),
            "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");

  AddVolume("later", "1Gi");
  Run();

  EXPECT_NE(world.pod("unbound").spec().node_name(), "");
}

TEST_F(ClaimsTest, OnlyOnePodHasAClaimThatIsForOne) {
  v1::PersistentVolumeClaim claim = Claim("data");
  claim.mutable_spec()->set_access_modes(0, "ReadWriteOncePod");
  Add(claim);
  AddPod("first", "data");
  AddPod("second", "data");

  Run();

  EXPECT_NE(world.pod("first").spec().node_name(), "");
  EXPECT_EQ(world.pod("second").spec().node_name(), "");
  EXPECT_THAT(WhyPending("second"), HasSubstr("ReadWriteOncePod access mode"));
}

TEST_F(ClaimsTest, RefusesByNameWhatItCannotMake) {
  AddClass("cloud", "ebs.csi.aws.com", "Immediate");
  AddClass("options", kLocalPathProvisioner, "Immediate");
  Add(ClaimOf("cloud", "elsewhere"));
  Add(ClaimOf("gone", "no-class"));
  v1::PersistentVolumeClaim many = ClaimOf("local-path", "many");
  many.mutable_spec()->set_access_modes(0, "ReadWriteMany");
  Add(many);
  AddPod("web", "many");

  Run();

  EXPECT_THAT(events, Contains(HasSubstr("provisioner \"ebs.csi.aws.com\" of storage class "
                                         "\"cloud\" is not supported")));
  EXPECT_THAT(events,
              Contains("ProvisioningFailed: storageclass.storage.k8s.io \"gone\" not found"));
  EXPECT_EQ(claim_("many").status().phase(), "Pending");
  EXPECT_EQ(WhyPending("web"),
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.");
}

TEST_F(ClaimsTest, AVolumeOfAnotherSourceIsRefusedWhereItIsUsed) {
  AddVolume("share", "1Gi");
  v1::Resource share = *world.state.Find(v1::KIND_PERSISTENT_VOLUME, {"", "share"});
  share.mutable_persistent_volume()->mutable_spec()->clear_host_path();
  share.mutable_persistent_volume()->mutable_spec()->mutable_nfs()->set_server("files");
  world.Put(share);
  Add(ClaimOf("manual", "data"));
  AddPod("web", "data");

  Run();

  EXPECT_EQ(WhyPending("web"),
            "0/2 nodes are available: volume \"share\": nfs is not supported yet, hostPath and "
            "local are.");
}

TEST_F(ClaimsTest, ImmediateMakesTheVolumeBeforeThePod) {
  AddClass("now", kRancherLocalPath, "Immediate");
  Add(ClaimOf("now", "data"));
  Run();
  EXPECT_EQ(claim_("data").status().phase(), "Bound");

  AddPod("web", "data");
  Run();

  EXPECT_EQ(world.pod("web").spec().node_name(), NodeOfVolume(VolumeOf("data")));
}

TEST_F(ClaimsTest, AClaimInUseStaysAndItsVolumeGoesWithIt) {
  Add(Claim("data"));
  AddPod("web", "data");
  Run();
  const std::string volume = claim_("data").spec().volume_name();
  Delete("data");
  Run();
  ASSERT_NE(FindClaim(world.state, InDefault("data")), nullptr);
  EXPECT_FALSE(VolumeForNode(volume_(volume)).remove());

  world.state.Remove(v1::KIND_POD, InDefault("web"));
  Run();

  EXPECT_EQ(FindClaim(world.state, InDefault("data")), nullptr);
  EXPECT_EQ(volume_(volume).status().phase(), "Released");
  EXPECT_TRUE(VolumeForNode(volume_(volume)).remove());
}

TEST_F(ClaimsTest, RetainKeepsTheVolumeAndItsContent) {
  AddClass("kept", kLocalPathProvisioner, "WaitForFirstConsumer", false, "Retain");
  Add(ClaimOf("kept", "data"));
  AddPod("web", "data");
  Run();
  const std::string volume = claim_("data").spec().volume_name();
  world.state.Remove(v1::KIND_POD, InDefault("web"));
  Delete("data");
  Run();

  EXPECT_EQ(volume_(volume).status().phase(), "Released");
  EXPECT_FALSE(VolumeForNode(volume_(volume)).remove());
  // A new claim of the name does not get it.
  Add(ClaimOf("kept", "data"));
  Run();
  EXPECT_EQ(claim_("data").status().phase(), "Pending");
}

TEST_F(ClaimsTest, AStaticVolumeIsNeitherDeletedNorRecycled) {
  AddVolume("deleted", "1Gi", "", "Delete", "x");
  AddVolume("recycled", "1Gi", "", "Recycle", "y");
  Add(ClaimOf("x", "one"));
  Add(ClaimOf("y", "two"));
  Run();
  Delete("one");
  Delete("two");
  Run();

  EXPECT_EQ(volume_("deleted").status().phase(), "Failed");
  EXPECT_EQ(volume_("recycled").status().phase(), "Failed");
  EXPECT_THAT(events,
              Contains(HasSubstr("VolumeFailedDelete: error getting deleter volume plugin")));
  EXPECT_THAT(events, Contains("VolumeFailedRecycle: No recycler plugin found for the volume!"));
}

TEST_F(ClaimsTest, AClaimWhoseVolumeIsGoneIsLost) {
  AddVolume("disk", "1Gi");
  Add(ClaimOf("manual", "data"));
  Run();
  world.state.Remove(v1::KIND_PERSISTENT_VOLUME, {"", "disk"});
  AddPod("web", "data");
  Run();

  EXPECT_EQ(claim_("data").status().phase(), "Lost");
  EXPECT_THAT(WhyPending("web"), HasSubstr("bound to non-existent persistentvolume \"disk\""));
}

TEST_F(ClaimsTest, AnEphemeralVolumeHasAClaimThatThePodOwns) {
  v1::Pod& pod = world.AddPod("web", "web");
  v1::Volume* volume = pod.mutable_spec()->add_volumes();
  volume->set_name("scratch");
  *volume->mutable_ephemeral()->mutable_volume_claim_template()->mutable_spec() = Claim("x").spec();
  Run();
  const v1::OwnerReference* owner = ControllerOf(claim_("web-scratch").metadata());
  ASSERT_NE(owner, nullptr);
  EXPECT_EQ(owner->uid(), world.pod("web").metadata().uid());
  EXPECT_NE(world.pod("web").spec().node_name(), "");

  Add(Claim("other-scratch"));
  v1::Pod& other = world.AddPod("other", "web");
  *other.mutable_spec()->add_volumes() = world.pod("web").spec().volumes(0);
  Run();

  EXPECT_THAT(WhyPending("other"), HasSubstr("PVC default/other-scratch was not created for pod "
                                             "default/other (pod is not owner)"));
}

TEST_F(ClaimsTest, GrowsWhereTheClassLetsIt) {
  AddClass("elastic", kLocalPathProvisioner, "Immediate");
  Add(ClaimOf("elastic", "data"));
  Run();
  v1::PersistentVolumeClaim larger = claim_("data");
  (*larger.mutable_spec()->mutable_resources()->mutable_requests())["storage"].set_text("3Gi");
  EXPECT_THAT(std::string(AdmitClaim(world.state, claim_("data"), larger).message()),
              HasSubstr("must support resize"));

  v1::Resource type = *world.state.Find(v1::KIND_STORAGE_CLASS, {"", "elastic"});
  type.mutable_storage_class()->set_allow_volume_expansion(true);
  world.Put(type);
  EXPECT_TRUE(AdmitClaim(world.state, claim_("data"), larger).ok());
  Add(larger);
  Run();

  EXPECT_EQ(claim_("data").status().capacity().at("storage").text(), "3Gi");
}

TEST_F(ClaimsTest, AChangeOfAVolumeOrAClassConcernsTheClaimsThatWait) {
  Add(ClaimOf("manual", "data"));
  Run();
  AddVolume("disk", "1Gi");
  const auto disk = world.state.Find(v1::KIND_PERSISTENT_VOLUME, {"", "disk"});
  EXPECT_THAT(claims.Affected(world.state, {nullptr, disk}), Contains(InDefault("data")));
  Run();
  const auto claim = world.state.Find(v1::KIND_PERSISTENT_VOLUME_CLAIM, InDefault("data"));
  EXPECT_THAT(volumes.Affected(world.state, {claim, nullptr}), Contains(ObjectKey{"", "disk"}));
  EXPECT_TRUE(Scheduler::Concerns({nullptr, disk}));
}

}  // namespace
}  // namespace mesh::controlplane
