// SPDX-License-Identifier: Apache-2.0
// Probes, init containers and sidecars of real containers.
#include <gmock/gmock.h>

#include <string>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

// Serves /www on port 8080; ready while /www/healthz is there, live while /tmp/dead is not.
constexpr char kWeb[] = R"(apiVersion: v1
kind: Service
metadata:
  name: web
spec:
  selector:
    app: web
  ports:
  - port: 80
    targetPort: http
---
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels:
    app: web
  annotations:
    mesh.io/probe-period-ms: "200"
spec:
  terminationGracePeriodSeconds: 5
  initContainers:
  - name: first
    image: localhost/toolbox:v1
    command: ["true"]
  - name: proxy
    image: localhost/toolbox:v1
    restartPolicy: Always
    command: ["sh", "-c", "trap 'exit 0' TERM; touch /tmp/started; while :; do sleep 0.1; done"]
    startupProbe:
      exec:
        command: ["cat", "/tmp/started"]
  containers:
  - name: web
    image: localhost/toolbox:v1
    command: ["sh", "-c", "mkdir -p /www; echo ok > /www/healthz; exec httpd -f -p 8080 -h /www"]
    ports:
    - name: http
      containerPort: 8080
    readinessProbe:
      httpGet:
        path: /healthz
        port: http
      failureThreshold: 1
    livenessProbe:
      exec:
        command: ["sh", "-c", "! test -e /tmp/dead"]
      failureThreshold: 1
)";

class PodLifeTest : public ClusterTest {
 protected:
  void Run(const std::string& command) {
    const auto output = cluster().Meshctl({"exec", "web", "-c", "web", "--", "sh", "-c", command});
    EXPECT_EQ(output.exit_code, 0) << output.text;
  }
  bool Endpoint(bool ready) {
    return Eventually([&] {
      const Json slices = cluster().Get({"endpointslices"});
      if (!slices.contains("items")) return false;
      for (const Json& slice : slices["items"]) {
        for (const Json& endpoint : slice.value("endpoints", Json::array())) {
          if (endpoint["conditions"].value("ready", false) == ready) return true;
        }
      }
      return false;
    });
  }
};

TEST_F(PodLifeTest, AnEndpointComesAndGoesWithReadinessAndLivenessRestarts) {
  cluster().LoadImage(MESH_SOURCE_DIR "/build/images/toolbox.tar");
  cluster().Apply(kWeb);
  ASSERT_TRUE(cluster().WaitForPods("app=web", 1));
  const Json pod = cluster().Get({"pod", "web"});
  const Json& inits = pod["status"]["initContainerStatuses"];
  ASSERT_EQ(inits.size(), 2U) << pod.dump(1);
  EXPECT_EQ(inits[0]["state"]["terminated"]["reason"], "Completed");
  EXPECT_TRUE(inits[1]["started"].get<bool>());
  EXPECT_THAT(cluster().MustMeshctl({"get", "pods"}), HasSubstr("2/2"));
  ASSERT_TRUE(Endpoint(true));

  Run("mv /www/healthz /www/away");
  EXPECT_TRUE(Endpoint(false));
  EXPECT_THAT(cluster().Meshctl({"why", "pod/web"}).text,
              HasSubstr("HTTP probe failed with statuscode: 404"));
  Run("mv /www/away /www/healthz");
  EXPECT_TRUE(Endpoint(true));

  Run("touch /tmp/dead");
  EXPECT_TRUE(Eventually([&] {
    const Json now = cluster().Get({"pod", "web"});
    return now["status"]["containerStatuses"][0].value("restartCount", 0) == 1;
  }));
  EXPECT_THAT(cluster().MustMeshctl({"events"}),
              HasSubstr("Container web failed liveness probe, will be restarted"));
  EXPECT_TRUE(cluster().WaitForPods("app=web", 1));
}

}  // namespace
}  // namespace mesh::testing
