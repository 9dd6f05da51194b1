// SPDX-License-Identifier: Apache-2.0
// How long a pod takes on a live local cluster of two nodes, and what an agent costs.
//
//   pod_to_serving      `meshctl apply` of one pod until its Service's address answers, beside the
//                       bare calls of the runtime (sandbox in the node's network, container, start)
//                       until the container answers
//   replicas_to_serving `meshctl apply` of ten replicas until all ten have answered, beside the
//   bare
//                       calls for as many on both nodes at the same time
//   killed_to_serving   SIGKILL of a container's process until its successor answers
//   agent_memory, agent_idle_cpu   of the agent of a node with so many pods
//
// usage: pods_bench [--rounds N] [--pods N]   (scripts/bench pods)
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "agent/cri/grpc_cri_client.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "tests/bench/figures.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh {
namespace {

using testing::LocalCluster;

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr absl::Duration kIdleFor = absl::Seconds(30);
constexpr int kReplicas = 10;
constexpr int kNodePort = 9000;  // of the first bare container, in the node's network

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "pods_bench: error: %s\n", what.c_str());
  std::exit(1);
}

template <typename T>
T Must(absl::StatusOr<T> result, const char* what) {
  if (!result.ok()) Die(fmt::format("{}: {}", what, result.status().ToString()));
  return *std::move(result);
}

// One line of a server of mesh-load, asked over TCP; empty while nobody answers.
std::string Ask(const std::string& ip, int port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  if (::inet_pton(AF_INET, ip.c_str(), &to.sin_addr) != 1) Die("no address: " + ip);
  const auto ready = [&](short events) {
    pollfd poll{fd.get(), events, 0};
    return ::poll(&poll, 1, 20) == 1 && (poll.revents & events) != 0;
  };
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) != 0 &&
      (errno != EINPROGRESS || !ready(POLLOUT))) {
    return "";
  }
  if (::send(fd.get(), "?\n", 2, MSG_NOSIGNAL) != 2 || !ready(POLLIN)) return "";
  char answer[256];
  const ssize_t size = ::recv(fd.get(), answer, sizeof answer, 0);
  return size > 0 ? std::string(answer, static_cast<size_t>(size)) : "";
}

// Asks from the network namespace of a process until `count` different servers have answered, and
// says when.
absl::Time AwaitAnswers(pid_t where, const std::string& ip, int port, size_t count) {
  absl::Time at;
  // A thread of its own: a namespace is entered for good.
  std::thread([&] {
    UniqueFd netns(::open(fmt::format("/proc/{}/ns/net", where).c_str(), O_RDONLY | O_CLOEXEC));
    if (!netns || ::setns(netns.get(), CLONE_NEWNET) != 0) Die("no network namespace to ask from");
    std::set<std::string> seen;
    const absl::Time deadline = absl::Now() + kPatience;
    while (seen.size() < count) {
      if (absl::Now() > deadline)
        Die(fmt::format("{}:{}: {} of {} answer", ip, port, seen.size(), count));
      if (std::string answer = Ask(ip, port); !answer.empty()) {
        seen.insert(std::move(answer));
      } else {
        absl::SleepFor(absl::Milliseconds(1));
      }
    }
    at = absl::Now();
  }).join();
  return at;
}

// A call of the runtime, waited for.
template <typename T, typename Call>
T Wait(const char* what, Call&& call) {
  std::promise<absl::StatusOr<T>> promise;
  call([&promise](absl::StatusOr<T> result) { promise.set_value(std::move(result)); });
  return Must<T>(promise.get_future().get(), what);
}

template <typename Call>
void WaitDone(const char* what, Call&& call) {
  std::promise<absl::Status> promise;
  call([&promise](absl::Status status) { promise.set_value(std::move(status)); });
  if (const absl::Status status = promise.get_future().get(); !status.ok())
    Die(fmt::format("{}: {}", what, status.ToString()));
}

double Milliseconds(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

class Bench {
 public:
  Bench(int rounds, int pods) : rounds_(rounds), pods_(pods), cluster_(2) {
    if (!cluster_.running()) Die("no cluster");
    for (const char* node : {"n1", "n2"})
      cri_.push_back(agent::NewGrpcCriClient(cluster_.layout().ContainerdSocket(node)));
    cluster_.Apply(testing::ClientManifest("asker", "n1"));
    if (!cluster_.WaitForPods("app=asker", 1)) Die("the pod that asks does not start");
    asker_ = cluster_.PodPid("asker");
  }

  void Run() {
    PodToServing();
    Replicas();
    Killed();
    Idle();
    for (const bench::Figure& figure : figures_) std::printf("%s\n", bench::ToJson(figure).c_str());
  }

 private:
  // A pod by the bare calls, in the network of the node, until it answers; its sandbox.
  std::string StartBare(int node, int port) {
    agent::CriClient& cri = *cri_[static_cast<size_t>(node)];
    const std::string name = fmt::format("bare-{}-{}", port, ++bare_);
    agent::cri::PodSandboxConfig sandbox;
    sandbox.mutable_metadata()->set_name(name);
    sandbox.mutable_metadata()->set_namespace_("bare");
    sandbox.mutable_metadata()->set_uid(name);
    sandbox.mutable_linux()->mutable_security_context()->mutable_namespace_options()->set_network(
        agent::cri::NODE);
    agent::cri::CreateContainerRequest request;
    *request.mutable_sandbox_config() = sandbox;
    request.mutable_config()->mutable_metadata()->set_name("echo");
    request.mutable_config()->mutable_image()->set_image("localhost/mesh-load:v1");
    for (const std::string& word :
         {std::string("serve"), std::to_string(port), std::string("bare")})
      request.mutable_config()->add_args(word);

    auto id = Wait<std::string>("sandbox", [&](auto done) { cri.RunSandbox(sandbox, done); });
    request.set_pod_sandbox_id(id);
    const auto container =
        Wait<std::string>("container", [&](auto done) { cri.CreateContainer(request, done); });
    WaitDone("start", [&](auto done) { cri.StartContainer(container, done); });
    AwaitAnswers(cluster_.Pid(fmt::format("n{}", node + 1), "agent"), "127.0.0.1", port, 1);
    return id;
  }

  void EndBare(int node, const std::string& id) {
    agent::CriClient& cri = *cri_[static_cast<size_t>(node)];
    WaitDone("stop", [&](auto done) { cri.StopSandbox(id, done); });
    WaitDone("remove", [&](auto done) { cri.RemoveSandbox(id, done); });
  }

  double Bare() {
    const absl::Time start = absl::Now();
    const std::string id = StartBare(0, kNodePort);
    const double took = Milliseconds(absl::Now() - start);
    EndBare(0, id);
    return took;
  }

  // kReplicas at the same time, half of them on each node.
  double BareReplicas() {
    const absl::Time start = absl::Now();
    std::vector<std::future<std::string>> started;
    for (int i = 0; i < kReplicas; ++i) {
      started.push_back(
          std::async(std::launch::async, [this, i] { return StartBare(i % 2, kNodePort + i); }));
    }
    std::vector<std::string> ids;
    for (auto& one : started) ids.push_back(one.get());
    const double took = Milliseconds(absl::Now() - start);
    for (int i = 0; i < kReplicas; ++i) EndBare(i % 2, ids[static_cast<size_t>(i)]);
    return took;
  }

  void PodToServing() {
    cluster_.Apply(testing::EchoManifest("one", 0));
    const std::string ip = cluster_.ClusterIp("one");
    std::vector<double> pods, bare;
    for (int i = 0; i < rounds_; ++i) {
      bare.push_back(Bare());
      const std::string name = fmt::format("one-{}", i);
      const std::string pod = fmt::format(R"(apiVersion: v1
kind: Pod
metadata:
  name: {}
  labels: {{app: one}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
  - name: echo
    image: localhost/mesh-load:v1
    args: ["serve", "9000", "-"]
    ports:
    - name: echo
      containerPort: 9000
)",
                                          name);
      const absl::Time start = absl::Now();
      cluster_.Apply(pod);
      pods.push_back(Milliseconds(AwaitAnswers(asker_, ip, 80, 1) - start));
      cluster_.MustMeshctl({"delete", "pod", name, "--now", "--wait"});
    }
    const double served = bench::Median(pods), reference = bench::Median(bare);
    std::printf("one pod: %.0f ms, bare calls of the runtime: %.0f ms\n", served, reference);
    figures_.push_back({.name = "pod_to_serving_p50",
                        .value = served,
                        .unit = "ms",
                        .reference = "bare_cri_p50",
                        .ratio = served / reference});
    figures_.push_back({.name = "bare_cri_p50", .value = reference, .unit = "ms"});
    figures_.push_back({.name = "pod_over_bare_cri", .value = served - reference, .unit = "ms"});
  }

  void Replicas() {
    std::vector<double> took, bare;
    for (int i = 0; i < rounds_; ++i) {
      bare.push_back(BareReplicas());
      const std::string name = fmt::format("ten-{}", i);
      cluster_.Apply(testing::EchoManifest(name, 0));
      const std::string ip = cluster_.ClusterIp(name);
      const std::string manifest = testing::EchoManifest(name, kReplicas);
      const absl::Time start = absl::Now();
      cluster_.Apply(manifest);
      took.push_back(Milliseconds(AwaitAnswers(asker_, ip, 80, kReplicas) - start));
      cluster_.Apply(testing::EchoManifest(name, 0));
      if (!cluster_.WaitForPods("app=" + name, 0)) Die("pods do not end");
    }
    const double served = bench::Median(took), reference = bench::Median(bare);
    std::printf("%d replicas on two nodes: %.0f ms, bare calls of the runtime: %.0f ms\n",
                kReplicas, served, reference);
    figures_.push_back({.name = "replicas_10_to_serving_p50",
                        .value = served,
                        .unit = "ms",
                        .reference = "bare_cri_10_p50",
                        .ratio = served / reference});
    figures_.push_back({.name = "bare_cri_10_p50", .value = reference, .unit = "ms"});
  }

  // Each round another container: the second death of one waits for its back-off.
  void Killed() {
    cluster_.Apply(testing::EchoManifest("victim", rounds_));
    if (!cluster_.WaitForPods("app=victim", static_cast<size_t>(rounds_))) Die("pods do not start");
    std::vector<double> took;
    for (const testing::Json& pod : cluster_.ReadyPods("app=victim")) {
      const std::string ip = testing::PodIp(pod);
      const pid_t pid = PidOfPod(pod["metadata"]["uid"]);
      const absl::Time start = absl::Now();
      if (::kill(pid, SIGKILL) != 0) Die("the container's process is gone");
      while (cli::local::IsAlive(pid)) absl::SleepFor(absl::Microseconds(200));
      took.push_back(Milliseconds(AwaitAnswers(asker_, ip, 9000, 1) - start));
    }
    std::printf("container killed: serving again after %.0f ms\n", bench::Median(took));
    figures_.push_back(
        {.name = "killed_to_serving_p50", .value = bench::Median(took), .unit = "ms"});
    cluster_.Apply(testing::EchoManifest("victim", 0));
    if (!cluster_.WaitForPods("app=victim", 0)) Die("pods do not end");
  }

  // The process of a pod's container, by the folder of its log: its control group has no uid here.
  pid_t PidOfPod(const std::string& uid) {
    const auto containers = Wait<std::vector<agent::cri::Container>>(
        "containers", [&](auto done) { CriOf(uid).ListContainers(uid, done); });
    if (containers.empty()) Die("no container of the pod");
    for (const auto& process : cli::local::ListProcesses()) {
      const auto cgroup = cli::local::ReadFile(fmt::format("/proc/{}/cgroup", process.pid));
      if (cgroup.ok() && cgroup->find(containers[0].id()) != std::string::npos) return process.pid;
    }
    Die("no process of the container");
  }

  agent::CriClient& CriOf(const std::string& uid) {
    const auto here = Wait<std::vector<agent::cri::Container>>(
        "containers", [&](auto done) { cri_[0]->ListContainers(uid, done); });
    return here.empty() ? *cri_[1] : *cri_[0];
  }

  void Idle() {
    // Both nodes get as many: the asked number on the first.
    cluster_.Apply(testing::EchoManifest("crowd", 2 * pods_));
    if (!cluster_.WaitForPods("app=crowd", static_cast<size_t>(2 * pods_)))
      Die("pods do not start");
    size_t here = 0;
    for (const testing::Json& pod : cluster_.ReadyPods("app=crowd"))
      here += pod["spec"]["nodeName"] == "n1" ? 1 : 0;
    const pid_t agent = cluster_.Pid("n1", "agent");
    absl::SleepFor(absl::Seconds(5));  // what starting them left to do
    const double before = CpuSeconds(agent);
    const absl::Time start = absl::Now();
    absl::SleepFor(kIdleFor);
    const double share = (CpuSeconds(agent) - before) / absl::ToDoubleSeconds(absl::Now() - start);
    const double memory = ResidentMegabytes(agent);
    std::printf("agent with %zu pods: %.1f MB, %.2f %% of a core at rest\n", here, memory,
                share * 100);
    figures_.push_back(
        {.name = fmt::format("agent_memory_{}_pods", here), .value = memory, .unit = "MB"});
    figures_.push_back(
        {.name = fmt::format("agent_idle_cpu_{}_pods", here), .value = share * 100, .unit = "%"});
  }

  static double CpuSeconds(pid_t pid) {
    const std::string stat = Must(cli::local::ReadFile(fmt::format("/proc/{}/stat", pid)), "stat");
    std::istringstream words(stat.substr(stat.rfind(')') + 2));
    std::string word;
    double ticks = 0;
    for (int i = 3; i <= 15 && words >> word; ++i) {
      if (i >= 14) ticks += std::stod(word);
    }
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }

  static double ResidentMegabytes(pid_t pid) {
    const std::string text =
        Must(cli::local::ReadFile(fmt::format("/proc/{}/status", pid)), "status");
    const size_t at = text.find("VmRSS:");
    if (at == std::string::npos) Die("no VmRSS");
    return std::stod(text.substr(at + 6)) * 1024 / 1e6;
  }

  const int rounds_, pods_;
  LocalCluster cluster_;
  std::vector<std::unique_ptr<agent::CriClient>> cri_;  // by node
  std::atomic<int> bare_ = 0;
  pid_t asker_ = 0;
  std::vector<bench::Figure> figures_;
};

}  // namespace
}  // namespace mesh

int main(int argc, char** argv) {
  int rounds = 9, pods = 50;
  CLI::App app("What a pod takes, and an agent", "pods_bench");
  app.add_option("--rounds", rounds, "of each kind")->check(CLI::Range(1, 30));
  app.add_option("--pods", pods, "on each node, for what an agent costs")
      ->check(CLI::Range(1, 100));
  CLI11_PARSE(app, argc, argv);
  mesh::Bench(rounds, pods).Run();
  return 0;
}
