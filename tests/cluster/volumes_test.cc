// SPDX-License-Identifier: Apache-2.0
// Goal: a pod gets its environment and its volumes as the manifest says, sees changes, and keeps
// what it wrote over the end of its container and of the agent. Topology: one node, read through
// the processes' own view of their files.
#include <gmock/gmock.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

constexpr char kPod[] = R"(apiVersion: apps/v1
kind: Deployment
metadata:
  name: files
spec:
  selector:
    matchLabels:
      app: files
  strategy:
    type: Recreate
  template:
    metadata:
      labels:
        app: files
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: localhost/mesh-load:v1
        args: ["idle", "files"]
        envFrom:
        - prefix: ALL_
          configMapRef:
            name: settings
        - secretRef:
            name: none
            optional: true
        env:
        - name: COLOR
          valueFrom:
            configMapKeyRef:
              name: settings
              key: color
        - name: PASSWORD
          valueFrom:
            secretKeyRef:
              name: keys
              key: password
        - name: POD
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: MILLI
          valueFrom:
            resourceFieldRef:
              resource: limits.cpu
              divisor: 1m
        - name: TEXT
          value: $(COLOR) $(PASSWORD)
        resources:
          limits:
            cpu: 300m
        volumeMounts:
        - name: conf
          mountPath: /vol/conf
        - name: conf
          mountPath: /vol/one
          subPath: color
        - name: keys
          mountPath: /vol/keys
        - name: all
          mountPath: /vol/all
        - name: info
          mountPath: /vol/info
        - name: work
          mountPath: /vol/work
        - name: work
          mountPath: /vol/part
          subPathExpr: of-$(COLOR)
        - name: fast
          mountPath: /vol/fast
        - name: host
          mountPath: /vol/host
          readOnly: true
      volumes:
      - name: conf
        configMap:
          name: settings
      - name: keys
        secret:
          secretName: keys
          defaultMode: 0400
      - name: all
        projected:
          sources:
          - configMap:
              name: settings
              items:
              - key: color
                path: deep/color
          - secret:
              name: keys
          - downwardAPI:
              items:
              - path: name
                fieldRef:
                  fieldPath: metadata.name
      - name: info
        downwardAPI:
          items:
          - path: labels
            fieldRef:
              fieldPath: metadata.labels
      - name: work
        emptyDir: {{}}
      - name: fast
        emptyDir:
          medium: Memory
          sizeLimit: 8Mi
      - name: host
        hostPath:
          path: {}/host
          type: DirectoryOrCreate
)";

constexpr char kSecret[] = R"(apiVersion: v1
kind: Secret
metadata:
  name: keys
data:
  password: czNjcmV0
)";

std::string Settings(const std::string& color) {
  return fmt::format(
      "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: settings\ndata:\n  color: {}\n", color);
}

class VolumesTest : public ::testing::Test {
 protected:
  VolumesTest() {
    char folder[] = "/tmp/mesh-volumes-XXXXXX";
    EXPECT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  ~VolumesTest() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }

  // The process of the container, another one than `old`; 0: none yet.
  pid_t NewPid(pid_t old = 0) {
    pid_t out = 0;
    EXPECT_TRUE(Eventually([&] {
      out = cluster_.PodPid("files");
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
  static std::vector<std::string> EnvironmentOf(pid_t pid) {
    std::vector<std::string> out;
    std::ifstream in(fmt::format("/proc/{}/environ", pid));
    for (std::string entry; std::getline(in, entry, '\0');) out.push_back(entry);
    return out;
  }
  bool Becomes(const std::string& path, const std::string& content) {
    return Eventually([&] { return Read(path) == content; });
  }
  // What is mounted below folders of pods, in the node.
  size_t MountsOfPods() {
    std::ifstream in(fmt::format("/proc/{}/mountinfo", cluster_.Pid("n1", "agent")));
    size_t out = 0;
    for (std::string line; std::getline(in, line);) {
      if (line.find("/agent/pods/") != std::string::npos) ++out;
    }
    return out;
  }

  std::string folder_;
  LocalCluster cluster_{1};
};

TEST_F(VolumesTest, AreThereFollowTheirObjectsAndOutliveContainerAndAgent) {
  ASSERT_TRUE(cluster_.running());
  cluster_.Apply(fmt::format(kPod, folder_) + "---\n" + kSecret);
  const auto waiting = [&] {
    const Json pods = cluster_.Get({"pods", "-l", "app=files"});
    if (!pods.is_object()) return std::string();
    const Json found = pods.value("/items/0/status/containerStatuses/0/state/waiting"_json_pointer,
                                  Json::object());
    return found.value("reason", "") + ": " + found.value("message", "");
  };
  ASSERT_TRUE(Eventually([&] {
    return waiting().find("configmap \"settings\" not found") != std::string::npos;
  })) << waiting();
  EXPECT_THAT(waiting(), HasSubstr("CreateContainerConfigError"));

  cluster_.Apply(Settings("green"));
  ASSERT_TRUE(cluster_.WaitForPods("app=files", 1));
  pid_t pid = NewPid();
  const std::string name =
      cluster_.ReadyPods("app=files")[0].at("metadata").at("name").get<std::string>();
  EXPECT_THAT(EnvironmentOf(pid),
              IsSupersetOf({std::string("ALL_color=green"), std::string("COLOR=green"),
                            std::string("PASSWORD=s3cret"), "POD=" + name, std::string("MILLI=300"),
                            std::string("TEXT=green s3cret")}));
  EXPECT_EQ(Read(Inside(pid, "/vol/conf/color")), "green");
  EXPECT_EQ(Read(Inside(pid, "/vol/one")), "green");
  EXPECT_EQ(Read(Inside(pid, "/vol/keys/password")), "s3cret");
  EXPECT_EQ(fs::status(Inside(pid, "/vol/keys/password")).permissions(), fs::perms::owner_read);
  EXPECT_EQ(Read(Inside(pid, "/vol/all/deep/color")), "green");
  EXPECT_EQ(Read(Inside(pid, "/vol/all/password")), "s3cret");
  EXPECT_EQ(Read(Inside(pid, "/vol/all/name")), name);
  EXPECT_THAT(Read(Inside(pid, "/vol/info/labels")), HasSubstr("app=\"files\""));
  // Two with secrets, one that asks for memory, two subPaths.
  EXPECT_EQ(MountsOfPods(), 5u);
  EXPECT_EQ(fs::space(Inside(pid, "/vol/fast")).capacity, 8u << 20);
  std::ofstream(folder_ + "/host/from-the-node") << "hello";
  EXPECT_EQ(Read(Inside(pid, "/vol/host/from-the-node")), "hello");
  EXPECT_FALSE(std::ofstream(Inside(pid, "/vol/host/no")).is_open());
  EXPECT_FALSE(std::ofstream(Inside(pid, "/vol/conf/no")).is_open());
  for (const char* path : {"/vol/work/kept", "/vol/part/kept", "/vol/fast/kept"}) {
    std::ofstream(Inside(pid, path)) << path;
  }
  EXPECT_EQ(Read(Inside(pid, "/vol/work/of-green/kept")), "/vol/part/kept");
  EXPECT_THAT(cluster_.MustMeshctl({"describe", "pod", name}),
              HasSubstr("/vol/conf from conf (rw)"));

  cluster_.Apply(Settings("blue"));
  EXPECT_TRUE(Becomes(Inside(pid, "/vol/conf/color"), "blue"));
  EXPECT_TRUE(Becomes(Inside(pid, "/vol/all/deep/color"), "blue"));
  EXPECT_EQ(Read(Inside(pid, "/vol/one")), "green");

  // The agent, and a change while it is away.
  const pid_t agent = cluster_.Pid("n1", "agent");
  ASSERT_EQ(::kill(agent, SIGKILL), 0);
  cluster_.Apply(Settings("red"));
  ASSERT_TRUE(Eventually([&] {
    const pid_t now = cluster_.Pid("n1", "agent");
    return now != 0 && now != agent;
  }));
  EXPECT_TRUE(Becomes(Inside(pid, "/vol/conf/color"), "red"));
  EXPECT_EQ(MountsOfPods(), 5u);

  // The container.
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  pid = NewPid(pid);
  EXPECT_TRUE(Becomes(Inside(pid, "/vol/one"), "red"));
  EXPECT_EQ(Read(Inside(pid, "/vol/work/kept")), "/vol/work/kept");
  EXPECT_EQ(Read(Inside(pid, "/vol/fast/kept")), "/vol/fast/kept");
  EXPECT_EQ(Read(Inside(pid, "/vol/work/of-green/kept")), "/vol/part/kept");
  EXPECT_EQ(Read(Inside(pid, "/vol/keys/password")), "s3cret");
  EXPECT_EQ(MountsOfPods(), 5u);

  cluster_.MustMeshctl({"delete", "deployment", "files"});
  EXPECT_TRUE(Eventually([&] { return MountsOfPods() == 0; }));
  const fs::path pods = cluster_.layout().NodeDataDir("n1") + "/agent/pods";
  EXPECT_TRUE(Eventually([&] { return fs::is_empty(pods); }));
  EXPECT_EQ(Read(folder_ + "/host/from-the-node"), "hello");
}

}  // namespace
}  // namespace mesh::testing
