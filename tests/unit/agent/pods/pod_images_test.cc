// SPDX-License-Identifier: Apache-2.0
// Goal: a container gets the image that its pull policy and its pod's pull secrets allow.
// Method: the reconciler on a virtual clock against the runtime in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "absl/strings/escaping.h"
#include "agent/cri/fake_cri.h"
#include "agent/pods/pod_reconciler.h"
#include "common/sim_loop.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kImage[] = "registry.local/app:1";

v1::Secret LoginOf(const std::string& user, const std::string& password) {
  v1::Secret out;
  out.mutable_metadata()->set_namespace_("default");
  out.mutable_metadata()->set_name("login-" + user);
  out.set_type("kubernetes.io/dockerconfigjson");
  (*out.mutable_data())[".dockerconfigjson"] =
      absl::Base64Escape("{\"auths\":{\"registry.local\":{\"auth\":\"" +
                         absl::Base64Escape(user + ":" + password) + "\"}}}");
  return out;
}

class PodImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-images-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    PodReconcilerOptions options;
    options.config.log_root = folder_;
    options.config.files_root = folder_ + "/files";
    PodReconciler::Hooks hooks;
    hooks.report = [this](const v1::PodReport& report) { status = report.status(); };
    hooks.forget = [](const std::string&) {};
    hooks.event = [this](const v1::NodeEvent& event) {
      events.push_back(event.reason() + ": " + event.message());
    };
    hooks.network_ready = [] { return true; };
    hooks.name_server = [] { return "10.244.1.1"; };
    hooks.runtime = [](const absl::StatusOr<std::string>&) {};
    pods = std::make_unique<PodReconciler>(&loop, &cri, std::move(options), std::move(hooks));
    cri.registry = {kImage};
    pods->Start();
  }
  void TearDown() override {
    pods.reset();
    std::filesystem::remove_all(folder_);
  }
  void Want(const v1::Pod& pod, const std::vector<v1::Secret>& secrets = {}) {
    auto state = std::make_shared<NodeState>();
    state->complete = true;
    for (const v1::Secret& secret : secrets)
      state->secrets["default/" + secret.metadata().name()] = secret;
    state->pods[pod.metadata().uid()] = pod;
    pods->SetDesired(state, true);
  }
  bool Runs(absl::Duration limit = absl::Seconds(5)) {
    return loop.RunUntil([&] { return cri.RunningContainers() == 1; }, limit);
  }
  bool Waits(const std::string& reason) {
    return loop.RunUntil(
        [&] {
          return !status.container_statuses().empty() &&
                 status.container_statuses(0).state().waiting().reason() == reason;
        },
        absl::Seconds(5));
  }

  SimLoop loop;
  FakeCri cri{&loop};
  v1::PodStatus status;
  std::vector<std::string> events;
  std::unique_ptr<PodReconciler> pods;
  std::string folder_;
};

TEST_F(PodImagesTest, TellsTheRegistryWhoAsks) {
  cri.locked_images[kImage] = "ann:pw";
  v1::Pod pod = MakePod();
  pod.mutable_spec()->add_image_pull_secrets()->set_name("login-ann");
  Want(pod, {LoginOf("ann", "pw")});

  EXPECT_TRUE(Runs());
  EXPECT_THAT(cri.calls, Contains("PullImage registry.local/app:1 as ann"));
}

TEST_F(PodImagesTest, TriesOneSecretAfterTheOther) {
  cri.locked_images[kImage] = "ann:pw";
  v1::Pod pod = MakePod();
  for (const char* name : {"login-bob", "login-ann"})
    pod.mutable_spec()->add_image_pull_secrets()->set_name(name);
  Want(pod, {LoginOf("ann", "pw"), LoginOf("bob", "pw")});

  EXPECT_TRUE(Runs());
  EXPECT_EQ(cri.CountCalls("PullImage registry.local/app:1 as bob"), 1);
  EXPECT_THAT(events, Not(Contains(HasSubstr("Failed"))));
}

TEST_F(PodImagesTest, IsNobodyWithoutASecretAndSaysSo) {
  cri.locked_images[kImage] = "ann:pw";
  v1::Pod pod = MakePod();
  pod.mutable_spec()->add_image_pull_secrets()->set_name("login-ann");
  Want(pod);

  ASSERT_TRUE(Waits("ErrImagePull"));
  EXPECT_THAT(cri.calls, Contains("PullImage registry.local/app:1"));
  EXPECT_THAT(events, Contains("FailedToRetrieveImagePullSecret: Unable to retrieve some image "
                               "pull secrets (login-ann); attempting to pull the image may not "
                               "succeed."));
  EXPECT_THAT(events, Contains(HasSubstr("401 Unauthorized")));
}

TEST_F(PodImagesTest, PullsAgainAtOnceWhenTheSecretIsPutRight) {
  cri.locked_images[kImage] = "ann:pw";
  v1::Pod pod = MakePod();
  pod.mutable_spec()->add_image_pull_secrets()->set_name("login-ann");
  Want(pod, {LoginOf("ann", "wrong")});
  ASSERT_TRUE(Waits("ImagePullBackOff"));

  Want(pod, {LoginOf("ann", "pw")});
  EXPECT_TRUE(Runs(absl::Seconds(1)));
}

TEST_F(PodImagesTest, SaysThatASecretIsBroken) {
  v1::Secret broken = LoginOf("ann", "pw");
  (*broken.mutable_data())[".dockerconfigjson"] = absl::Base64Escape("{");
  v1::Pod pod = MakePod();
  pod.mutable_spec()->add_image_pull_secrets()->set_name("login-ann");
  Want(pod, {broken});

  ASSERT_TRUE(Waits("ErrImagePull"));
  EXPECT_EQ(cri.CountCalls("PullImage"), 0);
  EXPECT_THAT(events, Contains(HasSubstr("pull secret login-ann: .dockerconfigjson")));
}

TEST_F(PodImagesTest, DoesWhatThePolicySays) {
  v1::Pod pod = MakePod();
  pod.mutable_spec()->mutable_containers(0)->set_image_pull_policy("Never");
  Want(pod);
  ASSERT_TRUE(Waits("ErrImageNeverPull"));
  EXPECT_EQ(cri.CountCalls("PullImage"), 0);

  cri.images.insert(kImage);
  v1::Pod always = MakePod({"app"}, "Always", "other");
  always.mutable_spec()->mutable_containers(0)->set_image_pull_policy("Always");
  Want(always);
  EXPECT_TRUE(Runs());
  EXPECT_EQ(cri.CountCalls("PullImage"), 1);
}

}  // namespace
}  // namespace mesh::agent
