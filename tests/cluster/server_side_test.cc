// SPDX-License-Identifier: Apache-2.0
// Server-side apply on a running cluster: two managers of one Deployment, with its controller as a
// third. No pod needs to run.
#include <gmock/gmock.h>

#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kWeb[] = R"(apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: app
        image: localhost/mesh-load:v1
        env: [{name: A, value: "1"}]
)";
// What another has to say of it.
constexpr char kScale[] = R"(apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {tier: front}
spec:
  replicas: 2
)";
constexpr char kLabel[] = R"(apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {tier: front}
)";

TEST(ServerSideApply, TwoManagersShareADeployment) {
  const LocalCluster cluster(1);
  ASSERT_TRUE(cluster.running());
  const auto apply = [&](const std::string& manager, const char* manifest,
                         std::vector<std::string> more = {}) {
    std::vector<std::string> args = {"apply", "--server-side", "--field-manager=" + manager, "-f",
                                     "-"};
    args.insert(args.end(), more.begin(), more.end());
    return cluster.Meshctl(args, manifest);
  };
  const auto replicas = [&] { return cluster.Get({"deployment", "web"})["spec"]["replicas"]; };

  EXPECT_THAT(apply("one", kWeb).text, HasSubstr("deployment.apps/web serverside-applied\n"));
  // A conflict names field and owner, and changes nothing.
  const auto refused = apply("two", kScale);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.text, HasSubstr("error: Apply failed with 1 conflict: conflict with \"one\": "
                                      ".spec.replicas\nPlease review the fields above"));
  EXPECT_EQ(replicas(), 1);
  // The difference is shown without a write.
  const auto diff = cluster.Meshctl(
      {"diff", "--server-side", "--field-manager=two", "--force-conflicts", "-f", "-"}, kScale);
  EXPECT_EQ(diff.exit_code, 1);
  EXPECT_THAT(diff.text, HasSubstr("-  replicas: 1\n+  replicas: 2\n"));
  EXPECT_EQ(replicas(), 1);
  // Force takes the field over, and nothing else.
  EXPECT_EQ(apply("two", kScale, {"--force-conflicts"}).exit_code, 0);
  EXPECT_EQ(replicas(), 2);
  EXPECT_THAT(apply("one", kWeb).text, HasSubstr("conflict with \"two\": .spec.replicas"));

  // Owners are shown when asked for.
  const auto owners = [&] {
    return cluster.MustMeshctl({"get", "deployment", "web", "-o", "yaml", "--show-managed-fields"});
  };
  EXPECT_THAT(owners(), HasSubstr("manager: two"));
  EXPECT_THAT(owners(), HasSubstr("k:{\"name\":\"app\"}:"));
  EXPECT_THAT(cluster.MustMeshctl({"get", "deployment", "web", "-o", "yaml"}),
              Not(HasSubstr("managedFields")));

  // What the only owner says no more goes: back to the default.
  EXPECT_EQ(apply("two", kLabel).exit_code, 0);
  EXPECT_EQ(replicas(), 1);
  EXPECT_EQ(cluster.Get({"deployment", "web"})["metadata"]["labels"]["tier"], "front");

  // Another verb is an owner, too.
  cluster.MustMeshctl({"scale", "--replicas=3", "deployment/web"});
  EXPECT_THAT(apply("one", kWeb).text,
              HasSubstr("conflict with \"meshctl\" using apps/v1: .spec.replicas"));
}

}  // namespace
}  // namespace mesh::testing
