// SPDX-License-Identifier: Apache-2.0
// Hooks, last words, deadline and standard input of real containers.
#include <gmock/gmock.h>

#include <string>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

// Each leaves what happened to it, in order, as its last words.
constexpr char kPods[] = R"(apiVersion: v1
kind: Pod
metadata:
  name: good
  labels:
    app: good
  annotations:
    mesh.io/probe-period-ms: "200"
spec:
  terminationGracePeriodSeconds: 10
  containers:
  - name: app
    image: localhost/toolbox:v1
    command: ["sh", "-c", "trap 'echo TERM >> /dev/termination-log; exit 3' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      postStart:
        exec:
          command: ["sh", "-c", "echo postStart > /dev/termination-log"]
      preStop:
        exec:
          command: ["sh", "-c", "echo preStop >> /dev/termination-log; sleep 0.5"]
    livenessProbe:
      exec:
        command: ["sh", "-c", "! test -e /tmp/dead"]
      failureThreshold: 1
---
apiVersion: v1
kind: Pod
metadata:
  name: bad
spec:
  containers:
  - name: app
    image: localhost/toolbox:v1
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      postStart:
        exec:
          command: ["sh", "-c", "echo no registry; exit 7"]
---
apiVersion: v1
kind: Pod
metadata:
  name: late
spec:
  activeDeadlineSeconds: 1
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: localhost/toolbox:v1
    command: ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
---
apiVersion: v1
kind: Pod
metadata:
  name: asks
  labels:
    app: asks
spec:
  restartPolicy: Never
  containers:
  - name: app
    image: localhost/toolbox:v1
    stdin: true
    stdinOnce: true  # without it the runtime tells nothing more once the input has ended
    terminationMessagePolicy: FallbackToLogsOnError
    command: ["sh", "-c", "read word; echo \"heard $word\"; exit 4"]
)";

class PodHooksTest : public ClusterTest {
 protected:
  Json Status(const std::string& pod) {
    const Json object = cluster().Get({"pod", pod});
    return object.value("status", Json::object());
  }
  Json Container(const std::string& pod) {
    const Json statuses = Status(pod).value("containerStatuses", Json::array());
    return statuses.empty() ? Json::object() : statuses[0];
  }
};

TEST_F(PodHooksTest, HooksLastWordsDeadlineAndStandardInput) {
  cluster().LoadImage(MESH_SOURCE_DIR "/build/images/toolbox.tar");
  cluster().Apply(kPods);
  ASSERT_TRUE(cluster().WaitForPods("app=good", 1));

  const auto touched = cluster().Meshctl({"exec", "good", "-c", "app", "--", "touch", "/tmp/dead"});
  ASSERT_EQ(touched.exit_code, 0) << touched.text;
  ASSERT_TRUE(Eventually([&] { return Container("good").value("restartCount", 0) == 1; }));
  const Json ended = Container("good")["lastState"]["terminated"];
  EXPECT_EQ(ended.value("message", ""), "postStart\npreStop\nTERM\n") << ended.dump(1);
  EXPECT_EQ(ended.value("exitCode", 0), 3);
  EXPECT_THAT(cluster().MustMeshctl({"describe", "pod", "good"}),
              HasSubstr("exec [sh -c echo preStop"));

  EXPECT_TRUE(Eventually([&] {
    return Container("bad")["state"].value("waiting", Json::object()).value("reason", "") ==
           "PostStartHookError";
  })) << Container("bad").dump(1);
  // It runs for a moment each time.
  EXPECT_TRUE(Eventually([&] {
    return cluster().Meshctl({"why", "pod/bad"}).text.find("no registry") != std::string::npos;
  }));
  EXPECT_THAT(cluster().MustMeshctl({"events"}), HasSubstr("FailedPostStartHook"));

  EXPECT_TRUE(Eventually([&] { return Status("late").value("reason", "") == "DeadlineExceeded"; }))
      << Status("late").dump(1);
  EXPECT_EQ(Status("late").value("phase", ""), "Failed");

  ASSERT_TRUE(cluster().WaitForPods("app=asks", 1));
  EXPECT_THAT(cluster().Meshctl({"attach", "-i", "asks"}, "hello\n").text,
              HasSubstr("heard hello"));
  EXPECT_TRUE(Eventually([&] { return Status("asks").value("phase", "") == "Failed"; }));
  EXPECT_EQ(Container("asks")["state"]["terminated"].value("message", ""), "heard hello\n");
}

}  // namespace
}  // namespace mesh::testing
