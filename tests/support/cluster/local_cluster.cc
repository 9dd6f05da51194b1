// SPDX-License-Identifier: Apache-2.0
#include "tests/support/cluster/local_cluster.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <future>
#include <iostream>

#include "common/unique_fd.h"
#include "fmt/format.h"

extern char** environ;

namespace mesh::testing {
namespace {

using cli::local::Layout;
using cli::local::Output;

constexpr char kMeshctl[] = MESH_BIN_DIR "/meshctl";
constexpr char kLoad[] = MESH_BIN_DIR "/../tests/mesh-load";
constexpr char kLoadArchive[] = MESH_BIN_DIR "/../tests/mesh-load.tar";
// Clusters for tests that run at the same time, also of two build folders; more wait.
constexpr const char* kNames[] = {"test", "test2"};

// -1 and errno: none.
int LockName(const std::string& name, int flags) {
  UniqueFd lock(::open(fmt::format("/run/mesh-{}-cluster.lock", name).c_str(),
                       O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  return lock && ::flock(lock.get(), LOCK_EX | flags) == 0 ? lock.release() : -1;
}

LoadResult ParseLoad(const std::string& text) {
  LoadResult result;
  result.text = text;
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) {
    ADD_FAILURE() << "mesh-load printed: " << text;
    return result;
  }
  result.requests = json["requests"];
  result.failures = json["failures"];
  result.longest_gap_ms = json["longestGapMs"];
  json["answers"].get_to(result.answers);
  json["errors"].get_to(result.errors);
  return result;
}

std::string NetnsOf(pid_t process) { return fmt::format("/proc/{}/ns/net", process); }

std::vector<std::string> LoadCommand(const std::string& netns, std::vector<std::string> args) {
  std::vector<std::string> command = {"nsenter", "--net=" + netns, "--", kLoad};
  command.insert(command.end(), args.begin(), args.end());
  return command;
}

std::unique_ptr<RunningLoad> Start(const std::vector<std::string>& command) {
  int in[2], out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) std::abort();
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  pid_t pid = 0;
  EXPECT_EQ(::posix_spawnp(&pid, argv.front(), &actions, nullptr, argv.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  return std::make_unique<RunningLoad>(pid, in[1], out[0]);
}

// One that holds its connection has it when this returns.
std::unique_ptr<RunningLoad> StartMode(const std::string& mode,
                                       const std::vector<std::string>& command) {
  std::unique_ptr<RunningLoad> out = Start(command);
  if (mode.starts_with("hold")) out->AwaitAnswer();
  return out;
}

bool IsReady(const Json& pod) {
  if (pod["metadata"].contains("deletionTimestamp") || !pod.contains("status")) return false;
  for (const Json& condition : pod["status"].value("conditions", Json::array())) {
    if (condition["type"] == "Ready") return condition["status"] == "True";
  }
  return false;
}

}  // namespace

std::string HostPort(const std::string& ip, int port) {
  const bool ipv6 = ip.find(':') != std::string::npos;
  return ipv6 ? fmt::format("[{}]:{}", ip, port) : fmt::format("{}:{}", ip, port);
}

std::string OfFamily(const std::vector<std::string>& ips, int family) {
  for (const std::string& ip : ips) {
    if ((ip.find(':') != std::string::npos) == (family == 6)) return ip;
  }
  return "";
}

std::string PodIp(const Json& pod, int family) {
  std::vector<std::string> ips;
  if (pod.contains("status")) {
    for (const Json& ip : pod["status"].value("podIPs", Json::array())) ips.push_back(ip["ip"]);
  }
  return OfFamily(ips, family);
}

RunningLoad::~RunningLoad() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ::close(input_);
  ::close(output_);
}

void RunningLoad::AwaitAnswer() {
  pollfd output = {output_, POLLIN, 0};
  char line = 0;
  if (::poll(&output, 1, 10'000) != 1 || ::read(output_, &line, 1) != 1)
    ADD_FAILURE() << "no request of this load is answered";
}

LoadResult RunningLoad::Stop() {
  ::close(input_);
  std::string text;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(output_, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(output_);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
  return ParseLoad(text);
}

LocalCluster::LocalCluster(int nodes, const std::vector<std::string>& flags)
    : layout_(Layout::Create(kNames[0]).value()) {
  if (!TakeName()) {
    ADD_FAILURE() << "cannot lock the name of a cluster: " << std::strerror(errno);
    return;
  }
  Meshctl({"local", "down", "--name", layout_.cluster()});
  const char* routing = std::getenv("MESH_TEST_ROUTING");
  const char* family = std::getenv("MESH_TEST_IP_FAMILY");
  std::vector<std::string> command = {"local",       "up",
                                      "--name",      layout_.cluster(),
                                      "--nodes",     std::to_string(nodes),
                                      "--ip-family", family == nullptr ? "dual" : family,
                                      "--routing",   routing == nullptr ? "vxlan" : routing};
  command.insert(command.end(), flags.begin(), flags.end());
  const Output up = Meshctl(command);
  running_ = up.exit_code == 0;
  if (!running_) ADD_FAILURE() << "the cluster does not start: " << up.text;
  if (running_) LoadImage(kLoadArchive);
}

bool LocalCluster::TakeName() {
  for (const char* name : kNames) {
    if ((lock_ = LockName(name, LOCK_NB)) < 0) continue;
    layout_ = Layout::Create(name).value();
    return true;
  }
  lock_ = LockName(kNames[0], 0);
  return lock_ >= 0;
}

LocalCluster::~LocalCluster() {
  if (::testing::Test::HasFailure()) PrintLogs();
  if (lock_ < 0) return;
  if (std::getenv("MESH_KEEP_CLUSTER") == nullptr) {
    const Output down = Meshctl({"local", "down", "--name", layout_.cluster()});
    EXPECT_EQ(down.exit_code, 0) << down.text;
  }
  ::close(lock_);
}

void LocalCluster::PrintLogs() const {
  std::cout << Meshctl({"get", "pods", "-A", "-o", "wide"}).text
            << Meshctl({"get", "events", "-A"}).text;
  for (const char* node : {"n1", "n2", "n3"}) {
    for (const char* log : {"node-init", "meshd", "agent", "containerd"}) {
      const auto text = cli::local::ReadFile(fmt::format("{}/{}.log", layout_.LogDir(node), log));
      if (!text.ok() || text->empty()) continue;
      constexpr size_t kShown = 4000;
      std::cout << fmt::format("--- {} {}\n", node, log)
                << text->substr(text->size() > kShown ? text->size() - kShown : 0) << std::endl;
    }
  }
}

Output LocalCluster::Meshctl(std::vector<std::string> args, std::string_view input) const {
  args.insert(args.begin(), {"env", "MESH_SERVER=unix:" + layout_.Socket(), kMeshctl});
  const auto output = cli::local::RunProgram(args, input);
  if (!output.ok()) return {.exit_code = -1, .text = output.status().ToString()};
  return *output;
}

std::string LocalCluster::MustMeshctl(std::vector<std::string> args, std::string_view input) const {
  // Warnings go to standard error: keep what is parsed clean of them.
  std::vector<std::string> command = {"sh",    "-c",  "exec \"$@\" 2>/dev/null",
                                      "sh",    "env", "MESH_SERVER=unix:" + layout_.Socket(),
                                      kMeshctl};
  command.insert(command.end(), args.begin(), args.end());
  const auto output = cli::local::RunProgram(command, input);
  EXPECT_TRUE(output.ok()) << output.status();
  if (!output.ok()) return "";
  if (output->exit_code != 0) {
    ADD_FAILURE() << "meshctl " << ::testing::PrintToString(args) << " exited with "
                  << output->exit_code << ": " << output->text << Meshctl(args, input).text;
  }
  return output->text;
}

Json LocalCluster::Get(std::vector<std::string> args) const {
  std::vector<std::string> command = {"sh",     "-c",  "exec \"$@\" 2>/dev/null",
                                      "sh",     "env", "MESH_SERVER=unix:" + layout_.Socket(),
                                      kMeshctl, "get"};
  command.insert(command.end(), args.begin(), args.end());
  command.insert(command.end(), {"-o", "json"});
  const auto output = cli::local::RunProgram(command);
  return Json::parse(output.ok() ? output->text : "", nullptr, false);
}

void LocalCluster::Apply(std::string_view manifest) const {
  const Output output = Meshctl({"apply", "-f", "-"}, manifest);
  EXPECT_EQ(output.exit_code, 0) << output.text;
}

void LocalCluster::LoadImage(const std::string& archive,
                             const std::vector<std::string>& names) const {
  std::vector<std::string> args = {"local", "load-image", "--name", layout_.cluster(), archive};
  for (const std::string& name : names) args.insert(args.end(), {"--as", name});
  const Output output = Meshctl(args);
  EXPECT_EQ(output.exit_code, 0) << output.text;
}

std::vector<Json> LocalCluster::ReadyPods(const std::string& selector,
                                          const std::string& ns) const {
  const Json list = Get({"pods", "-n", ns, "-l", selector});
  std::vector<Json> ready;
  if (list.is_discarded() || !list.contains("items")) return ready;
  for (const Json& pod : list["items"]) {
    if (IsReady(pod)) ready.push_back(pod);
  }
  return ready;
}

bool LocalCluster::WaitForPods(const std::string& selector, size_t count,
                               const std::string& ns) const {
  return Eventually([&] { return ReadyPods(selector, ns).size() == count; });
}

std::string LocalCluster::ClusterIp(const std::string& service, const std::string& ns,
                                    int family) const {
  const Json json = Get({"service", service, "-n", ns});
  if (json.is_discarded() || !json.contains("spec")) return "";
  return OfFamily(json["spec"].value("clusterIPs", std::vector<std::string>()), family);
}

long LocalCluster::Drops(const std::set<std::string>& reasons) const {
  const Json metrics =
      Json::parse(MustMeshctl({"bpf", "metrics", "list", "-o", "json"}), nullptr, false);
  if (metrics.is_discarded()) ADD_FAILURE() << "no metrics";
  long drops = 0;
  for (const Json& node : metrics.value("nodes", Json::array())) {
    for (const Json& row : node.value("metrics", Json::array())) {
      const std::string reason = row["reason"];
      if (reason == "forwarded" || (!reasons.empty() && !reasons.contains(reason))) continue;
      // 64-bit numbers are strings in the JSON form of protobuf.
      const Json packets = row.value("packets", Json("0"));
      drops += packets.is_string() ? std::stol(packets.get<std::string>()) : packets.get<long>();
    }
  }
  return drops;
}

Json LocalCluster::Status() const {
  return Json::parse(Meshctl({"local", "status", "--name", layout_.cluster(), "-o", "json"}).text,
                     nullptr, false);
}

pid_t LocalCluster::Pid(const std::string& node, const std::string& service) const {
  const Json status = Status();
  if (status.is_discarded()) return 0;
  for (const Json& row : status["nodes"]) {
    if (row["name"] == node) return row["pids"].value(service, 0);
  }
  return 0;
}

pid_t LocalCluster::PodPid(const std::string& marker) const {
  const std::string word = '\0' + marker + '\0';
  for (const auto& process : cli::local::ListProcesses()) {
    const auto command = cli::local::ReadFile(fmt::format("/proc/{}/cmdline", process.pid));
    const auto cgroup = cli::local::ReadFile(fmt::format("/proc/{}/cgroup", process.pid));
    if (command.ok() && cgroup.ok() && command->find(word) != std::string::npos &&
        command->find("mesh-load") != std::string::npos &&
        cgroup->find(layout_.ClusterCgroup() + "/") != std::string::npos) {
      return process.pid;
    }
  }
  return 0;
}

std::string LocalCluster::OutsideNetns() const { return "/run/netns/" + layout_.FabricNetns(); }

LoadResult LocalCluster::LoadIn(const std::string& netns, const std::string& mode,
                                const std::string& target, int count) const {
  const auto output =
      cli::local::RunProgram(LoadCommand(netns, {mode, target, std::to_string(count)}));
  EXPECT_TRUE(output.ok()) << output.status();
  return ParseLoad(output.ok() ? output->text : "");
}

LoadResult LocalCluster::Load(pid_t where, const std::string& mode, const std::string& target,
                              int count) const {
  return LoadIn(NetnsOf(where), mode, target, count);
}

std::vector<LoadResult> LocalCluster::LoadEach(pid_t where, const std::string& mode,
                                               const std::vector<std::string>& targets,
                                               int count) const {
  std::vector<std::future<LoadResult>> running;
  for (const std::string& target : targets) {
    running.push_back(
        std::async(std::launch::async, [&, this] { return Load(where, mode, target, count); }));
  }
  std::vector<LoadResult> out;
  for (std::future<LoadResult>& one : running) out.push_back(one.get());
  return out;
}

LoadResult LocalCluster::LoadOnNode(const std::string& node, const std::string& mode,
                                    const std::string& target, int count) const {
  return ParseLoad(Meshctl({"local", "exec", "--name", layout_.cluster(), node, "--", kLoad, mode,
                            target, std::to_string(count)})
                       .text);
}

LoadResult LocalCluster::LoadOutside(const std::string& mode, const std::string& target,
                                     int count) const {
  return LoadIn(OutsideNetns(), mode, target, count);
}

std::unique_ptr<RunningLoad> LocalCluster::StartLoad(pid_t where, const std::string& mode,
                                                     const std::string& target) const {
  return StartMode(mode, LoadCommand(NetnsOf(where), {mode, target}));
}

std::unique_ptr<RunningLoad> LocalCluster::StartLoadOnNode(const std::string& node,
                                                           const std::string& mode,
                                                           const std::string& target) const {
  return StartMode(mode, {"env", "MESH_SERVER=unix:" + layout_.Socket(), kMeshctl, "local", "exec",
                          "--name", layout_.cluster(), node, "--", kLoad, mode, target});
}

std::unique_ptr<RunningLoad> LocalCluster::StartLoadOutside(const std::string& mode,
                                                            const std::string& target) const {
  return StartMode(mode, LoadCommand(OutsideNetns(), {mode, target}));
}

std::unique_ptr<RunningLoad> LocalCluster::ServeOutside(int port, const std::string& name) const {
  return Start(LoadCommand(OutsideNetns(), {"serve", std::to_string(port), name}));
}

std::string EchoManifest(const std::string& name, int replicas, const std::string& ns) {
  return fmt::format(R"(apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {ns}
spec:
  ipFamilyPolicy: PreferDualStack
  selector:
    app: {name}
  ports:
  - name: tcp
    port: 80
    targetPort: echo
  - name: udp
    port: 80
    protocol: UDP
    targetPort: 9000
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {ns}
spec:
  replicas: {replicas}
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: localhost/mesh-load:v1
        args: ["serve", "9000", "-"]
        ports:
        - name: echo
          containerPort: 9000
        - containerPort: 9000
          protocol: UDP
)",
                     fmt::arg("name", name), fmt::arg("ns", ns), fmt::arg("replicas", replicas));
}

std::string ClientManifest(const std::string& name, const std::string& node,
                           const std::string& ns) {
  return fmt::format(R"(apiVersion: v1
kind: Pod
metadata:
  name: {0}
  namespace: {1}
  labels:
    app: {0}
spec:
  terminationGracePeriodSeconds: 0
{2}  containers:
  - name: client
    image: localhost/mesh-load:v1
    args: ["idle", "{0}"]
)",
                     name, ns, node.empty() ? "" : fmt::format("  nodeName: {}\n", node));
}

}  // namespace mesh::testing
