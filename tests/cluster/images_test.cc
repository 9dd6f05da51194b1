// SPDX-License-Identifier: Apache-2.0
// How images come to a node: from a registry on the node's loopback, by tag and by digest, as the
// pull secrets of a pod or of its account say, several at once.
#include <gmock/gmock.h>

#include <memory>
#include <string>

#include "cli/local/process.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"
#include "tests/support/registry/registry.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

constexpr char kArchive[] = MESH_LOAD_ARCHIVE;
// The name that containerd knows the registry by.
constexpr char kName[] = "registry.test";

std::string PodOf(const std::string& name, const std::string& image, const std::string& spec = "") {
  return fmt::format(R"(apiVersion: v1
kind: Pod
metadata:
  name: {0}
  labels: {{app: {0}, kind: pulled}}
spec:
  terminationGracePeriodSeconds: 0
{2}  containers:
  - name: main
    image: {1}
    args: ["idle", "{0}"]
---
)",
                     name, image, spec);
}

std::string LoginOf(const std::string& name, const std::string& user, const std::string& password) {
  return fmt::format(R"(apiVersion: v1
kind: Secret
metadata: {{name: {0}}}
type: kubernetes.io/dockerconfigjson
stringData:
  .dockerconfigjson: '{{"auths":{{"{1}":{{"username":"{2}","password":"{3}"}}}}}}'
---
)",
                     name, kName, user, password);
}

// One cluster of one node for all tests.
class ImagesTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = new LocalCluster(1);
    if (!cluster_->running()) return;
    registry_ = new Registry(fmt::format("/proc/{}/ns/net", cluster_->Pid("n1", "containerd")));
    const std::string folder = cluster_->layout().NodeDataDir("n1") + "/registries/" + kName;
    EXPECT_TRUE(cli::local::MakeDirectories(folder).ok());
    EXPECT_TRUE(cli::local::WriteFile(folder + "/hosts.toml", registry_->HostsToml()).ok());
  }
  static void TearDownTestSuite() {
    delete cluster_;
    delete registry_;
    cluster_ = nullptr;
    registry_ = nullptr;
  }
  void SetUp() override {
    ASSERT_TRUE(cluster_->running());
    ASSERT_NE(registry_->port(), 0);
  }
  void TearDown() override { registry_->HoldLayers(0); }

  static LocalCluster& cluster() { return *cluster_; }
  static Registry& registry() { return *registry_; }
  static ServedImage Serve(const std::string& repository) {
    return registry().Add(kArchive, repository, "v1");
  }
  static std::string Name(const std::string& repository) {
    return fmt::format("{}/{}:v1", kName, repository);
  }
  static bool Runs(const std::string& pod) { return cluster().WaitForPods("app=" + pod, 1); }
  // Until the container waits with one of the two words of a pull that fails.
  static bool FailsToPull(const std::string& pod) {
    return Eventually([&] {
      const std::string text = cluster().Get({"pod", pod}).dump();
      return text.find("ErrImagePull") != std::string::npos ||
             text.find("ImagePullBackOff") != std::string::npos;
    });
  }

  static LocalCluster* cluster_;
  static Registry* registry_;
};
LocalCluster* ImagesTest::cluster_ = nullptr;
Registry* ImagesTest::registry_ = nullptr;

TEST_F(ImagesTest, ComeByTagAndByDigest) {
  const ServedImage tagged = Serve("open/tagged"), pinned = Serve("open/pinned");
  cluster().Apply(PodOf("tagged", Name("open/tagged")) +
                  PodOf("pinned", fmt::format("{}/open/pinned@{}", kName, pinned.manifest)));

  ASSERT_TRUE(Runs("tagged"));
  EXPECT_THAT(cluster().Get({"pod", "tagged"})["status"]["containerStatuses"].dump(),
              HasSubstr(tagged.manifest));
  ASSERT_TRUE(Runs("pinned"));
  EXPECT_THAT(cluster().Get({"pod", "pinned"})["status"]["containerStatuses"].dump(),
              HasSubstr(pinned.manifest));
  EXPECT_EQ(registry().Count("HEAD /v2/open/pinned/manifests/v1"), 0);
  EXPECT_THAT(cluster().MustMeshctl({"events"}), HasSubstr("Successfully pulled image"));

  // What is there is not asked for again.
  const int asked = registry().Count("HEAD /v2/open/tagged/manifests/v1");
  cluster().Apply(PodOf("again", Name("open/tagged")));
  ASSERT_TRUE(Runs("again"));
  EXPECT_EQ(registry().Count("HEAD /v2/open/tagged/manifests/v1"), asked);
}

TEST_F(ImagesTest, WhatTheRegistryLacksIsTold) {
  cluster().Apply(PodOf("lacking", Name("open/nothing")));
  ASSERT_TRUE(FailsToPull("lacking"));
  EXPECT_THAT(cluster().MustMeshctl({"describe", "pod", "lacking"}), HasSubstr("not found"));
}

TEST_F(ImagesTest, AreGivenToWhoHasTheSecretAndToNobodyElse) {
  Serve("team/locked");
  registry().Lock("team/locked", RegistryLock::kBasic, "ann", "right");
  const std::string secret = "  imagePullSecrets: [{name: login}]\n";
  cluster().Apply(LoginOf("login", "ann", "wrong") + PodOf("nobody", Name("team/locked")) +
                  PodOf("member", Name("team/locked"), secret));

  ASSERT_TRUE(FailsToPull("nobody"));
  ASSERT_TRUE(FailsToPull("member"));
  EXPECT_GT(registry().Refused("team/locked"), 0);
  EXPECT_THAT(cluster().MustMeshctl({"describe", "pod", "member"}), HasSubstr("401"));

  cluster().Apply(LoginOf("login", "ann", "right"));
  EXPECT_TRUE(Runs("member"));
}

TEST_F(ImagesTest, AreGivenForATokenWithTheSecretOfTheAccount) {
  Serve("team/tokens");
  registry().Lock("team/tokens", RegistryLock::kToken, "bob", "secret");
  cluster().Apply(LoginOf("of-robots", "bob", "secret") +
                  "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\n"
                  "imagePullSecrets: [{name: of-robots}]\n---\n");
  cluster().Apply(PodOf("robot", Name("team/tokens"), "  serviceAccountName: robot\n"));

  ASSERT_TRUE(Runs("robot"));
  EXPECT_GT(registry().Count("GET /token"), 0);
  EXPECT_EQ(cluster().Get({"pod", "robot"})["spec"]["imagePullSecrets"][0]["name"], "of-robots");
}

TEST_F(ImagesTest, SeveralComeAtOnce) {
  std::string manifest;
  for (const std::string name : {"one", "two", "three"}) {
    Serve("many/" + name);
    manifest += PodOf("many-" + name, Name("many/" + name));
  }
  // None is given its layer before all three are asked for.
  registry().HoldLayers(3);
  cluster().Apply(manifest);
  for (const std::string name : {"one", "two", "three"}) ASSERT_TRUE(Runs("many-" + name)) << name;
  EXPECT_TRUE(registry().held_together());
}

}  // namespace
}  // namespace mesh::testing
