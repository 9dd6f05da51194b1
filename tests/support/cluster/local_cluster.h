// SPDX-License-Identifier: Apache-2.0
// A whole cluster for a test: `meshctl local up` under a name of its own, so that a cluster of a
// developer is not disturbed. Needs root; without it the tests fail, they do not skip.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "cli/local/layout.h"
#include "cli/local/process.h"
#include "nlohmann/json.hpp"

namespace mesh::testing {

using Json = nlohmann::json;

// Longest wait for something that takes a second on a quiet machine.
inline constexpr absl::Duration kPatience = absl::Seconds(60);

// Whether `condition` becomes true before the deadline.
template <typename Condition>
bool Eventually(Condition&& condition, absl::Duration patience = kPatience) {
  return cli::local::WaitUntil(absl::Now() + patience, condition);
}

inline constexpr int kFamilies[] = {4, 6};

// "10.0.0.1:80", "[fd00::1]:80"
std::string HostPort(const std::string& ip, int port);
// That of `family` among texts such as a status lists; empty when none is.
std::string OfFamily(const std::vector<std::string>& ips, int family);
// Of a pod as JSON.
std::string PodIp(const Json& pod, int family = 4);

// What mesh-load printed.
struct LoadResult {
  long requests = 0, failures = 0;
  int64_t longest_gap_ms = 0;
  std::map<std::string, long> answers;  // by the name of the pod that answered
  std::map<std::string, long> errors;
  std::string text;  // as printed
};

// A mesh-load that runs until it is asked for its result.
class RunningLoad {
 public:
  RunningLoad(pid_t pid, int input, int output) : pid_(pid), input_(input), output_(output) {}
  ~RunningLoad();
  RunningLoad(const RunningLoad&) = delete;
  RunningLoad& operator=(const RunningLoad&) = delete;
  // Until the first request is answered; a failure when that takes longer than ten seconds.
  void AwaitAnswer();
  LoadResult Stop();

 private:
  pid_t pid_;
  int input_, output_;
};

class LocalCluster {
 public:
  // Starts it (after removing what an earlier run left) and loads the image localhost/mesh-load:v1.
  // With the families and the routing that MESH_TEST_IP_FAMILY and MESH_TEST_ROUTING say; without
  // them dual stack and VXLAN. `flags`: further ones of `local up`.
  explicit LocalCluster(int nodes = 3, const std::vector<std::string>& flags = {});
  // Removes it. After a failure the ends of the logs are printed first.
  ~LocalCluster();
  LocalCluster(const LocalCluster&) = delete;
  LocalCluster& operator=(const LocalCluster&) = delete;

  bool running() const { return running_; }
  const cli::local::Layout& layout() const { return layout_; }

  // meshctl against this cluster; standard output and error together.
  cli::local::Output Meshctl(std::vector<std::string> args, std::string_view input = {}) const;
  // The same; expects exit code 0 and answers standard output.
  std::string MustMeshctl(std::vector<std::string> args, std::string_view input = {}) const;
  // `get ARGS -o json`; discarded JSON when it fails.
  Json Get(std::vector<std::string> args) const;
  void Apply(std::string_view manifest) const;
  void LoadImage(const std::string& archive, const std::vector<std::string>& names = {}) const;

  // Pods of a selector that are Ready and not terminating.
  std::vector<Json> ReadyPods(const std::string& selector, const std::string& ns = "default") const;
  // Waits for exactly `count` of them.
  bool WaitForPods(const std::string& selector, size_t count,
                   const std::string& ns = "default") const;
  // Of one family (4 or 6); empty while it has none.
  std::string ClusterIp(const std::string& service, const std::string& ns = "default",
                        int family = 4) const;

  // Packets that the programs of all nodes have dropped or refused until now, for any of `reasons`
  // (none given: for any reason). Fails the test when it cannot be read.
  long Drops(const std::set<std::string>& reasons = {}) const;

  // `local status -o json`.
  Json Status() const;
  // Host PID of "agent", "containerd", "meshd" or "node-init" of a node; 0 when it does not run.
  pid_t Pid(const std::string& node, const std::string& service) const;
  // Host PID of the process of a pod whose command line has `marker`.
  pid_t PodPid(const std::string& marker) const;

  // Runs mesh-load in the network namespace of a process.
  LoadResult Load(pid_t where, const std::string& mode, const std::string& target, int count) const;
  // The same to each of `targets`, at the same time: what is dropped is waited for.
  std::vector<LoadResult> LoadEach(pid_t where, const std::string& mode,
                                   const std::vector<std::string>& targets, int count) const;
  // As a process of the node itself.
  LoadResult LoadOnNode(const std::string& node, const std::string& mode, const std::string& target,
                        int count) const;
  std::unique_ptr<RunningLoad> StartLoadOnNode(const std::string& node, const std::string& mode,
                                               const std::string& target) const;
  std::unique_ptr<RunningLoad> StartLoad(pid_t where, const std::string& mode,
                                         const std::string& target) const;
  // The same outside the cluster, as a host on the nodes' link.
  LoadResult LoadOutside(const std::string& mode, const std::string& target, int count) const;
  std::unique_ptr<RunningLoad> StartLoadOutside(const std::string& mode,
                                                const std::string& target) const;
  // A server there, at Layout::OutsideAddress(), for TCP and UDP; ends with the object.
  std::unique_ptr<RunningLoad> ServeOutside(int port, const std::string& name) const;

 private:
  std::string OutsideNetns() const;
  LoadResult LoadIn(const std::string& netns, const std::string& mode, const std::string& target,
                    int count) const;
  void PrintLogs() const;
  // One that no other test has.
  bool TakeName();
  cli::local::Layout layout_;
  int lock_ = -1;
  bool running_ = false;
};

// Manifests of the tests' own application: `replicas` pods of app NAME that answer with their name
// over TCP and UDP at port 9000, and a Service NAME at port 80 of both protocols.
std::string EchoManifest(const std::string& name, int replicas, const std::string& ns = "default");
// A pod that waits; its process is found by PodPid(name). `node` may be empty.
std::string ClientManifest(const std::string& name, const std::string& node = "",
                           const std::string& ns = "default");

// One cluster for each test.
class ClusterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    cluster_ = std::make_unique<LocalCluster>();
    ASSERT_TRUE(cluster_->running());
  }
  void TearDown() override { cluster_.reset(); }
  LocalCluster& cluster() { return *cluster_; }

 private:
  std::unique_ptr<LocalCluster> cluster_;
};

}  // namespace mesh::testing
