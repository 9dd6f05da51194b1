// SPDX-License-Identifier: Apache-2.0
// Goal: what a pod writes to the volume of a claim is there for the next pod, on the same node,
// whatever ends meanwhile; it goes when the claim is deleted, or stays where the class says so.
// Topology: two nodes, read through the processes' own view of their files.
#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

constexpr char kKeptClass[] = R"(apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: kept
provisioner: rancher.io/local-path
reclaimPolicy: Retain
volumeBindingMode: WaitForFirstConsumer
)";

// A claim and a Deployment of one pod that has it. {0}: name, {1}: a line with the class, or none.
constexpr char kApp[] = R"(apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {0}
spec:
  accessModes: [ReadWriteOnce]
  {1}
  resources:
    requests:
      storage: 1Gi
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {0}
spec:
  selector:
    matchLabels:
      app: {0}
  strategy:
    type: Recreate
  template:
    metadata:
      labels:
        app: {0}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: localhost/mesh-load:v1
        args: ["idle", "{0}"]
        volumeMounts:
        - name: data
          mountPath: /data
        - name: data
          mountPath: /part
          subPath: part
      volumes:
      - name: data
        persistentVolumeClaim:
          claimName: {0}
)";

constexpr char kWaiting[] = R"(apiVersion: v1
kind: Pod
metadata:
  name: waiting
spec:
  containers:
  - name: main
    image: localhost/mesh-load:v1
    args: ["idle", "waiting"]
  volumes:
  - name: data
    persistentVolumeClaim:
      claimName: nobody-made-it
)";

class ClaimsTest : public ::testing::Test {
 protected:
  pid_t NewPid(const std::string& app, pid_t old = 0) {
    pid_t out = 0;
    EXPECT_TRUE(Eventually([&] {
      out = cluster_.PodPid(app);
      return out != 0 && out != old;
    }));
    return out;
  }
  static std::string Inside(pid_t pid, const std::string& path) {
    return fmt::format("/proc/{}/root{}", pid, path);
  }
  static std::string Read(const std::string& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string NodeOf(const std::string& app) {
    const auto pods = cluster_.ReadyPods("app=" + app);
    return pods.empty() ? "" : pods[0].at("spec").at("nodeName").get<std::string>();
  }
  Json VolumeOf(const std::string& claim) {
    const Json found = cluster_.Get({"pvc", claim});
    return cluster_.Get({"pv", found.at("spec").at("volumeName").get<std::string>()});
  }
  std::string Phase(const std::string& kind, const std::string& name) {
    const Json found = cluster_.Get({kind, name});
    return found.is_object() ? found.value("/status/phase"_json_pointer, "") : "";
  }

  LocalCluster cluster_{2};
};

TEST_F(ClaimsTest, OutlivesPodsAndAgentsAndGoesAsItsPolicySays) {
  ASSERT_TRUE(cluster_.running());
  EXPECT_THAT(cluster_.MustMeshctl({"get", "sc"}), HasSubstr("local-path (default)"));
  cluster_.Apply(kWaiting);
  cluster_.Apply(kKeptClass);
  cluster_.Apply(fmt::format(kApp, "ledger", ""));
  cluster_.Apply(fmt::format(kApp, "archive", "storageClassName: kept"));
  ASSERT_TRUE(cluster_.WaitForPods("app=ledger", 1));
  ASSERT_TRUE(cluster_.WaitForPods("app=archive", 1));
  EXPECT_TRUE(Eventually([&] {
    return cluster_.MustMeshctl({"describe", "pod", "waiting"})
               .find("persistentvolumeclaim \"nobody-made-it\" not found") != std::string::npos;
  }));

  pid_t pid = NewPid("ledger");
  const std::string node = NodeOf("ledger");
  const Json volume = VolumeOf("ledger");
  const std::string path = volume.at("spec").at("hostPath").at("path");
  EXPECT_EQ(Phase("pvc", "ledger"), "Bound");
  EXPECT_TRUE(Eventually([&] { return Phase("pv", volume.at("metadata").at("name")) == "Bound"; }));
  EXPECT_THAT(cluster_.MustMeshctl({"get", "pvc"}), HasSubstr("local-path"));
  std::ofstream(Inside(pid, "/data/kept")) << "first";
  std::ofstream(Inside(pid, "/part/kept")) << "below";
  const pid_t archive = NewPid("archive");
  std::ofstream(Inside(archive, "/data/kept")) << "archived";

  // The pod, while its agent is killed.
  const std::string name =
      cluster_.ReadyPods("app=ledger").at(0).at("metadata").at("name").get<std::string>();
  const pid_t agent = cluster_.Pid(node, "agent");
  ASSERT_EQ(::kill(agent, SIGKILL), 0);
  cluster_.MustMeshctl({"delete", "pod", name, "--wait=false"});
  pid = NewPid("ledger", pid);
  ASSERT_TRUE(cluster_.WaitForPods("app=ledger", 1));
  EXPECT_EQ(NodeOf("ledger"), node);
  EXPECT_EQ(Read(Inside(pid, "/data/kept")), "first");
  EXPECT_EQ(Read(Inside(pid, "/data/part/kept")), "below");

  // A claim in use waits for its pod.
  cluster_.MustMeshctl({"delete", "pvc", "ledger", "--wait=false"});
  EXPECT_EQ(Read(Inside(pid, "/data/kept")), "first");
  const std::string kept = VolumeOf("archive").at("spec").at("hostPath").at("path");
  const std::string kept_name = VolumeOf("archive").at("metadata").at("name");
  cluster_.MustMeshctl({"delete", "deployment", "ledger", "archive"});
  cluster_.MustMeshctl({"delete", "pvc", "archive", "--wait=false"});
  EXPECT_TRUE(Eventually([&] { return !fs::exists(path); }));
  EXPECT_TRUE(Eventually([&] {
    return cluster_.Meshctl({"get", "pv", volume.at("metadata").at("name")}).exit_code != 0;
  }));
  EXPECT_TRUE(Eventually([&] { return Phase("pv", kept_name) == "Released"; }));
  EXPECT_EQ(Read(kept + "/kept"), "archived");
}

}  // namespace
}  // namespace mesh::testing
