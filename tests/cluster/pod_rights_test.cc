// SPDX-License-Identifier: Apache-2.0
// What pods say of their rights, their names and their place, as the kernel of the node has it.
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>
#include <string>

#include "cli/local/process.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using ::testing::HasSubstr;

// A pod whose process PodPid(name) finds; the lines stand below spec and below its container.
std::string PodWith(const std::string& name, const std::string& spec,
                    const std::string& container = "") {
  return fmt::format(R"(apiVersion: v1
kind: Pod
metadata:
  name: {0}
  labels: {{app: {0}, kind: rights}}
spec:
  terminationGracePeriodSeconds: 0
{1}  containers:
  - name: main
    image: localhost/mesh-load:v1
    args: ["idle", "{0}"]
{2}---
)",
                     name, spec, container);
}

std::string FileOf(pid_t pid, const std::string& path) {
  return cli::local::ReadFile(fmt::format("/proc/{}/{}", pid, path)).value_or("");
}

// A line of /proc/PID/status, its words with single blanks.
std::string StatusOf(pid_t pid, const std::string& key) {
  std::istringstream lines(FileOf(pid, "status"));
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(key + ":")) continue;
    std::istringstream words(line.substr(key.size() + 1));
    std::string out;
    for (std::string word; words >> word;) out += (out.empty() ? "" : " ") + word;
    return out;
  }
  return "";
}

// Which namespace a process is in.
ino_t Namespace(pid_t pid, const std::string& kind) {
  struct stat now = {};
  return ::stat(fmt::format("/proc/{}/ns/{}", pid, kind).c_str(), &now) == 0 ? now.st_ino : 0;
}

using PodRightsTest = ClusterTest;

TEST_F(PodRightsTest, AreWhatTheirManifestsSay) {
  cluster().Apply(
      "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}\n---\n" +
      PodWith("plain", "") +
      PodWith(
          "user",
          "  serviceAccountName: robot\n"
          "  securityContext: {runAsUser: 1000, runAsGroup: 2000, runAsNonRoot: true, fsGroup: "
          "3000, supplementalGroups: [4000]}\n"
          "  hostAliases: [{ip: 192.0.2.7, hostnames: [db.test]}]\n"
          "  dnsPolicy: None\n"
          "  dnsConfig: {nameservers: [192.0.2.53], searches: [shop.test]}\n",
          "    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, "
          "capabilities: {drop: [ALL]}}\n"
          "    resources: {limits: {cpu: 100m, memory: 32Mi}}\n") +
      PodWith("bind", "",
              "    securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}, "
              "seccompProfile: {type: Unconfined}}\n") +
      PodWith("host", "  hostPID: true\n  hostIPC: true\n") +
      PodWith("far1",
              "  affinity: {podAntiAffinity: "
              "{requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: "
              "kubernetes.io/hostname, labelSelector: {matchLabels: {app: far2}}}]}}\n") +
      PodWith("far2",
              "  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: "
              "[{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: "
              "far1}}}]}}\n"));
  ASSERT_TRUE(cluster().WaitForPods("kind=rights", 6));

  const pid_t user = cluster().PodPid("user");
  EXPECT_EQ(StatusOf(user, "Uid"), "1000 1000 1000 1000");
  EXPECT_EQ(StatusOf(user, "Gid"), "2000 2000 2000 2000");
  EXPECT_THAT(StatusOf(user, "Groups"), HasSubstr("3000 4000"));
  EXPECT_EQ(StatusOf(user, "NoNewPrivs"), "1");
  EXPECT_EQ(StatusOf(user, "CapBnd"), "0000000000000000");
  EXPECT_THAT(FileOf(user, "mounts"), HasSubstr(" / overlay ro,"));
  EXPECT_THAT(FileOf(user, "root/etc/hosts"), HasSubstr("192.0.2.7\tdb.test\n"));
  EXPECT_THAT(FileOf(user, "root/etc/resolv.conf"), HasSubstr("nameserver 192.0.2.53"));
  const Json json = cluster().Get({"pod", "user"});
  EXPECT_EQ(json["spec"]["serviceAccountName"], "robot");
  EXPECT_EQ(json["status"]["qosClass"], "Guaranteed");

  const pid_t plain = cluster().PodPid("plain");
  EXPECT_EQ(StatusOf(plain, "NoNewPrivs"), "0");
  EXPECT_EQ(StatusOf(plain, "Seccomp"), "2");
  EXPECT_NE(Namespace(plain, "pid"), Namespace(::getpid(), "pid"));
  EXPECT_EQ(cluster().Get({"pod", "plain"})["spec"]["serviceAccountName"], "default");

  const pid_t bind = cluster().PodPid("bind");
  EXPECT_EQ(StatusOf(bind, "CapBnd"), "0000000000000400");
  EXPECT_EQ(StatusOf(bind, "Seccomp"), "0");

  const pid_t host = cluster().PodPid("host");
  const pid_t agent = cluster().Pid(cluster().Get({"pod", "host"})["spec"]["nodeName"], "agent");
  EXPECT_EQ(Namespace(host, "pid"), Namespace(agent, "pid"));
  EXPECT_EQ(Namespace(host, "ipc"), Namespace(agent, "ipc"));
  EXPECT_NE(Namespace(host, "net"), Namespace(agent, "net"));

  EXPECT_NE(cluster().Get({"pod", "far1"})["spec"]["nodeName"],
            cluster().Get({"pod", "far2"})["spec"]["nodeName"]);

  // What must not be root, and is.
  cluster().Apply(PodWith("root", "  securityContext: {runAsNonRoot: true}\n"));
  EXPECT_TRUE(Eventually([&] {
    const Json pod = cluster().Get({"pod", "root"});
    return pod.dump().find("container has runAsNonRoot and image will run as root") !=
           std::string::npos;
  }));
  const auto refused =
      cluster().Meshctl({"apply", "-f", "-"}, PodWith("lost", "  serviceAccountName: nobody\n"));
  EXPECT_NE(refused.exit_code, 0);
  EXPECT_THAT(refused.text, HasSubstr("error looking up service account default/nobody: "
                                      "serviceaccount \"nobody\" not found"));
}

}  // namespace
}  // namespace mesh::testing
