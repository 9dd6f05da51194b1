// SPDX-License-Identifier: Apache-2.0
#include "cli/local/cluster.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <ostream>
#include <set>
#include <sstream>
#include <thread>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "cli/local/cgroups.h"
#include "cli/local/containerd_config.h"
#include "cli/local/image_archive.h"
#include "cli/local/network.h"
#include "cli/local/node.h"
#include "cli/local/process.h"
#include "cli/local/requirements.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::cli::local {
namespace {

constexpr char kShimMountPoint[] = "/run/containerd";
constexpr char kSandboxImage[] = "localhost/mesh-pause:1";
constexpr char kImageNamespace[] = "k8s.io";  // the CRI's
constexpr absl::Duration kKillTimeout = absl::Seconds(20);

// Where the programs and the sandbox image of this build are.
struct Build {
  std::string bin;

  std::string Program(const char* name) const { return fmt::format("{}/{}", bin, name); }
  std::string PauseArchive() const { return fmt::format("{}/mesh-pause.tar", bin); }
  std::vector<std::string> Files() const {
    return {Program("meshd"), Program("mesh-agent"), Program("mesh-cni"), PauseArchive()};
  }
};

absl::StatusOr<Build> FindBuild() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return ErrnoStatus(errno, "read /proc/self/exe");
  const std::string_view self(path, static_cast<size_t>(size));
  return Build{std::string(self.substr(0, self.rfind('/')))};
}

// Held while the cluster changes. The file goes with the last `down`.
absl::StatusOr<UniqueFd> Lock(const Layout& layout) {
  RETURN_IF_ERROR(MakeDirectories("/run/mesh"));
  while (true) {
    UniqueFd fd(::open(layout.LockFile().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (!fd) return ErrnoStatus(errno, "open " + layout.LockFile());
    if (::flock(fd.get(), LOCK_EX) != 0) return ErrnoStatus(errno, "lock " + layout.LockFile());
    // Another `down` may have removed the file while we waited for it.
    struct stat ours {
    }, named{};
    if (::fstat(fd.get(), &ours) == 0 && ::stat(layout.LockFile().c_str(), &named) == 0 &&
        ours.st_ino == named.st_ino) {
      return fd;
    }
  }
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

// Nodes that have a description, in their order: n1, n2, ..., n10.
std::vector<std::string> KnownNodes(const Layout& layout) {
  std::vector<std::string> nodes;
  for (int i = 0; i < kMaxNodes; ++i) {
    const std::string node = Layout::NodeName(i);
    if (Exists(layout.NodeRunDir(node) + "/node.json")) nodes.push_back(node);
  }
  return nodes;
}

pid_t ReadPid(const std::string& path) {
  const auto text = ReadFile(path);
  pid_t pid = 0;
  if (text.ok()) std::from_chars(text->data(), text->data() + text->size(), pid);
  return pid;
}

// The node's first process; 0 when it does not run. A PID that was given to another process since
// is told by its network namespace.
pid_t NodeInitPid(const Layout& layout, const std::string& node) {
  const pid_t pid = ReadPid(fmt::format("{}/{}", layout.NodeRunDir(node), kInitPidFile));
  struct stat netns {};
  if (pid == 0 || !IsAlive(pid) || ::stat(NetnsPath(layout.NetnsName(node)).c_str(), &netns) != 0 ||
      NamespaceInode(pid, "net") != netns.st_ino) {
    return 0;
  }
  return pid;
}

// --- nodes --------------------------------------------------------------------------------------

NodeSpec DescribeNode(const Layout& layout, const UpOptions& options, const Build& build,
                      int index) {
  const std::string node = Layout::NodeName(index);
  const std::string run = layout.NodeRunDir(node), data = layout.NodeDataDir(node);
  const std::string log = layout.LogDir(node);
  const std::string server = fmt::format("{}:{}", Layout::NodeAddress(0), kServerPort);
  NodeSpec spec{.name = node,
                .netns = NetnsPath(layout.NetnsName(node)),
                .cgroup = layout.NodeCgroup(node),
                .run_dir = run,
                .log_file = log + "/node-init.log",
                .shim_dir = run + "/shims",
                .address6 = options.dual() ? Layout::NodeAddress6(index) : "",
                .services = {}};
  if (index == 0) {
    spec.services.push_back(
        {"meshd",
         {build.Program("meshd"), "--data-dir", layout.DataDir() + "/meshd", "--listen", server,
          "--unix-socket", layout.Socket(), "--cluster-cidr", options.cluster_cidr,
          "--service-cidr", options.service_cidr, "--cluster-domain", options.cluster_domain,
          "--log-level", options.log_level},
         log + "/meshd.log"});
    std::vector<std::string>& argv = spec.services.back().argv;
    for (const absl::string_view pool :
         absl::StrSplit(*options.load_balancer_pool, ',', absl::SkipEmpty()))
      argv.insert(argv.end(), {"--load-balancer-pool", std::string(pool)});
    for (const std::string& range : options.non_masquerade_cidrs)
      argv.insert(argv.end(), {"--non-masquerade-cidrs", range});
    argv.insert(argv.end(), {"--routing", options.routing});
  }
  spec.services.push_back({"containerd",
                           {FindProgram("containerd").value_or("containerd"), "--config",
                            run + "/containerd.toml", "--log-level", "warn"},
                           log + "/containerd.log"});
  // The disk is the machine's, and nobody could bring back images that were loaded: none goes.
  spec.services.push_back(
      {"agent",
       {build.Program("mesh-agent"),
        "--node-name",
        node,
        "--node-ip",
        spec.address6.empty() ? Layout::NodeAddress(index)
                              : Layout::NodeAddress(index) + "," + spec.address6,
        "--server",
        server,
        "--listen",
        fmt::format("{}:{}", Layout::NodeAddress(index), kAgentPort),
        "--containerd-socket",
        layout.ContainerdSocket(node),
        "--run-dir",
        run,
        "--state-dir",
        data + "/agent",
        "--log-dir",
        data + "/pods",
        "--bpf-root",
        "/sys/fs/bpf",
        "--cni-bin-dir",
        data + "/cni/bin",
        "--cni-conf-dir",
        data + "/cni/conf",
        "--xdp",
        options.xdp,
        "--image-gc-high-threshold",
        "100",
        "--log-level",
        options.log_level},
       log + "/agent.log"});
  return spec;
}

absl::Status PrepareNode(const Layout& layout, const UpOptions& options, const Build& build,
                         int index) {
  const NodeSpec spec = DescribeNode(layout, options, build, index);
  const std::string run = layout.NodeRunDir(spec.name), data = layout.NodeDataDir(spec.name);
  for (const std::string& folder :
       {spec.shim_dir, layout.LogDir(spec.name), data + "/containerd", data + "/agent",
        data + "/pods", data + "/cni/bin", data + "/cni/conf", data + "/registries"}) {
    RETURN_IF_ERROR(MakeDirectories(folder));
  }
  ContainerdOptions containerd{.root = data + "/containerd",
                               .state = run + "/containerd",
                               .socket = layout.ContainerdSocket(spec.name),
                               .cni_bin_dir = data + "/cni/bin",
                               .cni_conf_dir = data + "/cni/conf",
                               .registries_dir = data + "/registries",
                               .sandbox_image = kSandboxImage};
  containerd.runtime = options.runtime;
  RETURN_IF_ERROR(WriteFile(run + "/containerd.toml", ContainerdConfig(containerd)));
  return WriteFile(run + "/node.json", NodeSpecToJson(spec));
}

// Beside the nodes: what `up` was told, for the next one.
std::string SettingsFile(const Layout& layout) { return layout.RunDir() + "/settings.json"; }

absl::Status WriteSettings(const Layout& layout, const UpOptions& options) {
  return WriteFile(SettingsFile(layout), nlohmann::json(SettingsOf(options)).dump(2) + "\n");
}

// Nothing of a cluster that an older meshctl made.
Settings ReadSettings(const Layout& layout) {
  const auto text = ReadFile(SettingsFile(layout));
  if (!text.ok()) return {};
  const nlohmann::json json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  Settings out;
  if (!json.is_object()) return out;
  for (const auto& [flag, value] : json.items()) {
    if (value.is_string()) out[flag] = value.get<std::string>();
  }
  return out;
}

// Calls `step` for all nodes at once; the first error by node order.
absl::Status ForAll(const std::vector<std::string>& nodes,
                    const std::function<absl::Status(const std::string&)>& step) {
  std::vector<absl::Status> results(nodes.size());
  std::vector<std::thread> threads;
  threads.reserve(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = Annotate(step(nodes[i]), "node " + nodes[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

std::string LastLines(const std::string& path, int lines) {
  const auto text = ReadFile(path);
  if (!text.ok() || text->empty()) return "";
  size_t start = text->size() - 1;
  while (start > 0 && lines > 0) {
    start = text->rfind('\n', start - 1);
    if (start == std::string::npos) return *text;
    --lines;
  }
  return text->substr(start == 0 ? 0 : start + 1);
}

absl::Status Import(const Layout& layout, const std::string& node, const std::string& archive) {
  return RunOrFail({"ctr", "--address", layout.ContainerdSocket(node), "--namespace",
                    kImageNamespace, "images", "import", archive})
      .status();
}

absl::Status StartNodeProcess(const Layout& layout, const std::string& node, absl::Time deadline) {
  RETURN_IF_ERROR(
      RunOrFail({"/proc/self/exe", "local", "node-start", layout.NodeRunDir(node) + "/node.json"})
          .status());
  const bool up = WaitUntil(deadline, [&] {
    return SocketAccepts(layout.ContainerdSocket(node)) || NodeInitPid(layout, node) == 0;
  });
  if (NodeInitPid(layout, node) == 0) {
    return absl::InternalError(fmt::format("the node ended while it started: {}",
                                           LastLines(layout.LogDir(node) + "/node-init.log", 3)));
  }
  if (!up) {
    return absl::DeadlineExceededError(fmt::format(
        "containerd does not answer: {}", LastLines(layout.LogDir(node) + "/containerd.log", 3)));
  }
  return absl::OkStatus();
}

absl::Status WaitReady(const Layout& layout, const std::vector<std::string>& nodes,
                       const ReadyNodes& ready, absl::Time deadline, std::ostream& out) {
  std::set<std::string> seen;
  absl::Status last;
  const bool all = WaitUntil(deadline, [&] {
    const auto names = ready("unix:" + layout.Socket());
    last = names.status();
    if (!names.ok()) return false;
    for (const std::string& name : *names) {
      if (seen.insert(name).second) out << "node " << name << " is ready" << std::endl;
    }
    return std::all_of(nodes.begin(), nodes.end(),
                       [&](const std::string& node) { return seen.count(node) > 0; });
  });
  if (all) return absl::OkStatus();
  if (!last.ok()) {
    const std::string log = layout.LogDir(Layout::NodeName(0)) + "/meshd.log";
    std::string words = LastLines(log, 1);
    while (words.ends_with('\n')) words.pop_back();
    return Annotate(last, fmt::format("meshd does not answer (its log, {}, ends with: {})", log,
                                      words.empty() ? "nothing" : words));
  }
  for (const std::string& node : nodes) {
    if (seen.count(node) > 0) continue;
    return absl::DeadlineExceededError(fmt::format(
        "node {} is not ready; its agent's log: {}/agent.log", node, layout.LogDir(node)));
  }
  return absl::OkStatus();
}

// The `up` that made the nodes may have been interrupted before its last steps.
absl::Status CompleteStart(const Layout& layout, const std::vector<std::string>& nodes,
                           const Build& build, const ReadyNodes* ready, absl::Time deadline) {
  RETURN_IF_ERROR(ForAll(nodes, [&](const std::string& node) {
    if (!WaitUntil(deadline, [&] { return SocketAccepts(layout.ContainerdSocket(node)); })) {
      return absl::Status(absl::DeadlineExceededError(fmt::format(
          "containerd does not answer (its log: {}/containerd.log)", layout.LogDir(node))));
    }
    return Import(layout, node, build.PauseArchive());
  }));
  std::ostringstream nothing_new;
  return ready == nullptr ? absl::OkStatus()
                          : WaitReady(layout, nodes, *ready, deadline, nothing_new);
}

// --- removal ------------------------------------------------------------------------------------

// The folder that the machine's own containerd uses too: only when it is empty.
bool RemoveIfEmpty(const std::string& path) { return ::rmdir(path.c_str()) == 0; }

absl::Status Remove(const Layout& layout) {
  ASSIGN_OR_RETURN(const std::vector<Hierarchy> hierarchies, HostHierarchies());
  std::set<pid_t> inits;
  for (const std::string& node : KnownNodes(layout)) {
    if (const pid_t init = NodeInitPid(layout, node); init != 0) inits.insert(init);
  }
  RETURN_IF_ERROR(KillAndWait(inits, kKillTimeout));
  // Whatever is left in the cluster's groups: a node whose description was lost, `local exec`.
  const absl::Time deadline = absl::Now() + kKillTimeout;
  while (true) {
    const std::set<int> left = CgroupProcesses(hierarchies, layout.ClusterCgroup());
    if (left.empty()) break;
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(fmt::format(
          "{} processes of the cluster do not end, for example {}", left.size(), *left.begin()));
    }
    RETURN_IF_ERROR(KillAndWait(std::set<pid_t>(left.begin(), left.end()), kKillTimeout));
  }
  RETURN_IF_ERROR(RemoveCgroup(hierarchies, layout.ClusterCgroup()));
  std::string commands;
  for (const std::string& name : OwnNetns(layout)) commands += fmt::format("netns del {}\n", name);
  if (!commands.empty()) RETURN_IF_ERROR(RunOrFail({"ip", "-batch", "-"}, commands).status());
  RemoveNetnsMount();
  RETURN_IF_ERROR(RemoveTree(layout.RunDir()));
  RETURN_IF_ERROR(RemoveTree(layout.DataDir()));
  RemoveIfEmpty("/var/lib/mesh");
  return absl::OkStatus();
}

bool AnythingLeft(const Layout& layout) {
  if (Exists(layout.RunDir()) || Exists(layout.DataDir()) || !OwnNetns(layout).empty()) return true;
  const auto hierarchies = HostHierarchies();
  return hierarchies.ok() &&
         std::any_of(hierarchies->begin(), hierarchies->end(), [&](const Hierarchy& hierarchy) {
           return Exists(fmt::format("{}/{}", hierarchy.mount_point, layout.ClusterCgroup()));
         });
}

}  // namespace

absl::Status Up(const Layout& layout, const UpOptions& given, const ReadyNodes& ready,
                std::ostream& out) {
  ASSIGN_OR_RETURN(UpOptions options, Resolve(given, KernelHasIpv6()));
  ASSIGN_OR_RETURN(const Build build, FindBuild());
  RETURN_IF_ERROR(CheckRequirements(ReadMachineFacts(build.Files())));
  if (options.runtime.empty()) options.runtime = FindProgram("crun") ? "crun" : "runc";
  if (!FindProgram(options.runtime)) {
    return absl::FailedPreconditionError(
        fmt::format("runtime \"{}\" is not installed", options.runtime));
  }
  ASSIGN_OR_RETURN(const UniqueFd lock, Lock(layout));
  ASSIGN_OR_RETURN(const ClusterStatus status, GetStatus(layout));
  const absl::Time deadline = absl::Now() + options.timeout;
  std::vector<std::string> dead;
  for (const NodeStatus& node : status.nodes) {
    if (node.pids.count("node-init") == 0) dead.push_back(node.name);
  }
  if (dead.size() < status.nodes.size()) {
    Settings running = ReadSettings(layout);
    running["--nodes"] = fmt::format("{}", status.nodes.size());
    RETURN_IF_ERROR(CheckSame(layout.cluster(), running, options));
    std::vector<std::string> nodes;
    for (const NodeStatus& node : status.nodes) nodes.push_back(node.name);
    // A node that went down comes back with what it had, as after a power cut; the others go on.
    for (const std::string& node : dead) {
      out << fmt::format("node {} is down: starting it again", node) << std::endl;
    }
    RETURN_IF_ERROR(ForAll(
        dead, [&](const std::string& node) { return StartNodeProcess(layout, node, deadline); }));
    if (dead.empty()) {
      out << fmt::format("cluster is already running ({} nodes)", nodes.size()) << std::endl;
    }
    return CompleteStart(layout, nodes, build, options.wait ? &ready : nullptr, deadline);
  }
  if (status.leftovers) {
    out << "removing what an earlier cluster left behind" << std::endl;
    RETURN_IF_ERROR(Remove(layout));
  }

  const absl::Time start = absl::Now();
  std::vector<std::string> nodes;
  for (int i = 0; i < options.nodes; ++i) nodes.push_back(Layout::NodeName(i));
  out << fmt::format("creating {} nodes: {} ... {} on {}", nodes.size(), nodes.front(),
                     nodes.back(), layout.FabricNetns())
      << std::endl;
  RETURN_IF_ERROR(MakeDirectories(kShimMountPoint));
  RETURN_IF_ERROR(MakeDirectories(layout.DataDir() + "/meshd"));
  for (int i = 0; i < options.nodes; ++i) {
    RETURN_IF_ERROR(PrepareNode(layout, options, build, i));
  }
  RETURN_IF_ERROR(WriteSettings(layout, options));
  RETURN_IF_ERROR(CreateNetwork(layout, options.nodes, options.dual()));
  RETURN_IF_ERROR(ForAll(
      nodes, [&](const std::string& node) { return StartNodeProcess(layout, node, deadline); }));
  out << fmt::format("containerd runs on every node ({})", options.runtime) << std::endl;
  RETURN_IF_ERROR(ForAll(
      nodes, [&](const std::string& node) { return Import(layout, node, build.PauseArchive()); }));
  if (options.wait) {
    RETURN_IF_ERROR(WaitReady(layout, nodes, ready, deadline, out));
  }
  out << fmt::format("cluster is {} ({} nodes, {:.1f} s)", options.wait ? "ready" : "started",
                     nodes.size(), absl::ToDoubleSeconds(absl::Now() - start))
      << std::endl;
  return absl::OkStatus();
}

absl::Status Down(const Layout& layout, std::ostream& out) {
  if (::geteuid() != 0) return absl::FailedPreconditionError("this needs root: run it with sudo");
  {
    ASSIGN_OR_RETURN(const UniqueFd lock, Lock(layout));
    if (AnythingLeft(layout)) {
      RETURN_IF_ERROR(Remove(layout));
      out << "cluster removed" << std::endl;
    } else {
      out << "no cluster is running" << std::endl;
    }
    ::unlink(layout.LockFile().c_str());
  }
  // Every cluster has a lock there. A folder that is removed takes along what other clusters' nodes
  // have mounted on it.
  if (RemoveIfEmpty("/run/mesh")) RemoveIfEmpty(kShimMountPoint);
  return absl::OkStatus();
}

absl::StatusOr<ClusterStatus> GetStatus(const Layout& layout) {
  ClusterStatus status;
  status.leftovers = AnythingLeft(layout);
  const std::vector<ProcessInfo> processes = ListProcesses();
  status.running = true;
  for (int i = 0; i < kMaxNodes; ++i) {
    const std::string node = Layout::NodeName(i);
    const std::string run = layout.NodeRunDir(node);
    if (!Exists(run + "/node.json")) continue;
    ASSIGN_OR_RETURN(const std::string json, ReadFile(run + "/node.json"));
    ASSIGN_OR_RETURN(const NodeSpec spec, NodeSpecFromJson(json));
    NodeStatus& row = status.nodes.emplace_back();
    row.name = node;
    row.address = Layout::NodeAddress(i);
    row.address6 = spec.address6;
    row.netns = layout.NetnsName(node);
    row.containerd_socket = layout.ContainerdSocket(node);
    const pid_t init = NodeInitPid(layout, node);
    if (init == 0) {
      status.running = false;
      continue;
    }
    row.pids["node-init"] = init;
    for (const ServiceSpec& service : spec.services) {
      const pid_t inner = ReadPid(ServicePidFile(run, service.name));
      for (const ProcessInfo& process : processes) {
        if (process.parent == init && process.inner_pid == inner)
          row.pids[service.name] = process.pid;
      }
    }
  }
  if (status.nodes.empty()) status.running = false;
  return status;
}

std::string NotRunningText(const Layout& layout) {
  return fmt::format("no cluster{} is running: start one with `meshctl local up{}`",
                     layout.NameFlag().empty() ? "" : fmt::format(" \"{}\"", layout.cluster()),
                     layout.NameFlag());
}

absl::StatusOr<int> Exec(const Layout& layout, const std::string& node,
                         const std::vector<std::string>& argv) {
  if (::geteuid() != 0) return absl::FailedPreconditionError("this needs root: run it with sudo");
  const std::vector<std::string> known = KnownNodes(layout);
  if (std::find(known.begin(), known.end(), node) == known.end()) {
    std::string names;
    for (const std::string& name : known) names += (names.empty() ? "" : ", ") + name;
    return known.empty()
               ? absl::NotFoundError(NotRunningText(layout))
               : absl::NotFoundError(fmt::format("node \"{}\" not found; nodes: {}", node, names));
  }
  const pid_t init = NodeInitPid(layout, node);
  if (init == 0) {
    return absl::FailedPreconditionError(fmt::format(
        "node \"{}\" is down: `meshctl local up{}` starts it again", node, layout.NameFlag()));
  }
  return ExecInNode(init, layout.NodeCgroup(node), argv);
}

absl::Status ExecOutside(const Layout& layout, const std::vector<std::string>& argv) {
  if (::geteuid() != 0) return absl::FailedPreconditionError("this needs root: run it with sudo");
  if (KnownNodes(layout).empty()) {
    return absl::NotFoundError(NotRunningText(layout));
  }
  const auto program = FindProgram(argv.front());
  if (!program) return absl::NotFoundError(argv.front() + ": command not found");
  const std::string netns = NetnsPath(layout.FabricNetns());
  const UniqueFd fd(::open(netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "open " + netns);
  if (::setns(fd.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "enter " + netns);
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  ::execv(program->c_str(), args.data());
  return ErrnoStatus(errno, "execute " + *program);
}

absl::Status LoadImage(const Layout& layout, const std::string& archive,
                       const std::vector<std::string>& names, std::ostream& out) {
  ASSIGN_OR_RETURN(const ArchiveIndex index, ReadArchiveIndex(archive));
  const absl::StatusOr<NamedArchive> named = NameImages(index, names);
  if (!named.ok()) return Annotate(named.status(), archive);
  const std::vector<std::string> nodes = KnownNodes(layout);
  if (nodes.empty()) {
    return absl::FailedPreconditionError(NotRunningText(layout));
  }
  const std::string renamed = fmt::format("{}/load-{}.tar", layout.DataDir(), ::getpid());
  {
    const UniqueFd fd(::open(renamed.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return ErrnoStatus(errno, "create " + renamed);
    if (absl::Status status = WriteRenamedArchive(archive, named->index, fd.get()); !status.ok()) {
      ::unlink(renamed.c_str());
      return status;
    }
  }
  const absl::Status imported =
      ForAll(nodes, [&](const std::string& node) { return Import(layout, node, renamed); });
  ::unlink(renamed.c_str());
  RETURN_IF_ERROR(imported);
  for (const std::string& name : named->names) {
    out << fmt::format("{} loaded on {} nodes", name, nodes.size()) << std::endl;
  }
  return absl::OkStatus();
}

}  // namespace mesh::cli::local
