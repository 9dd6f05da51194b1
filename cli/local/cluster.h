// SPDX-License-Identifier: Apache-2.0
// A cluster of nodes on this machine, made of namespaces.
//
// It touches nothing of the machine's own network: every interface is created inside a namespace of
// the cluster, and every address is used there only.
#pragma once

#include <functional>
#include <iosfwd>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/local/layout.h"

namespace mesh::cli::local {

struct NodeStatus {
  std::string name;
  std::string address;
  std::string address6;  // empty: none
  std::string netns;     // as `ip netns` lists it
  std::string containerd_socket;
  // Host view: "node-init", "containerd", "agent", "meshd" (first node). Only what runs.
  std::map<std::string, pid_t> pids;
  bool ready = false;
};

struct ClusterStatus {
  // Every node's first process lives.
  bool running = false;
  // Something of it is there: processes, namespaces, control groups or folders.
  bool leftovers = false;
  std::vector<NodeStatus> nodes;
};

// Names of the nodes that the control plane reports Ready. Errors mean "not yet".
using ReadyNodes =
    std::function<absl::StatusOr<std::vector<std::string>>(const std::string& server)>;

enum class IpFamilies : uint8_t {
  kAsGiven,  // as the ranges have it; without ranges dual where the kernel has IPv6
  kIpv4,
  kDual,
};

struct UpOptions {
  int nodes = 3;
  bool wait = true;
  absl::Duration timeout = absl::Seconds(60);
  // "runc", "crun"; empty: crun, which starts a container in half the time, when it is there, else
  // runc.
  std::string runtime;
  std::string log_level = "info";
  IpFamilies families = IpFamilies::kAsGiven;
  // One range, or one of each family ("A,B"). Empty: the default of the families.
  std::string cluster_cidr, service_cidr;
  // "vxlan", "native"
  std::string routing = "vxlan";
  std::string cluster_domain = "cluster.local";
  // Addresses for Services of type LoadBalancer; on the nodes' link, so that the outside finds them
  // by ARP and neighbour discovery. Unset: the default of the families; empty: none.
  std::optional<std::string> load_balancer_pool;
  // Destinations outside of the cluster that see the pods' own addresses, a range each.
  std::vector<std::string> non_masquerade_cidrs;
  // "auto", "on", "off"; see mesh-agent --xdp.
  std::string xdp = "auto";
  // Flags that were given ("--xdp"): a cluster that runs must have their values. In the others it
  // may differ.
  std::set<std::string> asked;

  // REQUIRES: resolved.
  bool dual() const { return cluster_cidr.find(',') != std::string::npos; }
};

// The options with every default filled in. INVALID_ARGUMENT when families and ranges contradict
// each other, and for a pool beside the nodes' link. Pure.
absl::StatusOr<UpOptions> Resolve(const UpOptions& options, bool kernel_has_ipv6);

// What a cluster is made with: the values of its flags.
using Settings = std::map<std::string, std::string>;
// REQUIRES: resolved, and the runtime is known.
Settings SettingsOf(const UpOptions& options);
// FAILED_PRECONDITION, naming every flag that was given and what the cluster runs with instead. A
// flag that `running` does not know is not compared. Pure.
absl::Status CheckSame(const std::string& cluster, const Settings& running,
                       const UpOptions& wanted);

// Starts the cluster and, with `wait`, returns when all nodes are Ready. Progress goes to `out`. OK
// when it runs already with the options that are given (else FAILED_PRECONDITION), after what an
// interrupted start of it left undone. What a crash left behind is removed first.
absl::Status Up(const Layout& layout, const UpOptions& options, const ReadyNodes& ready,
                std::ostream& out);
// Ends every process and removes namespaces, control groups and folders. OK when there is nothing.
absl::Status Down(const Layout& layout, std::ostream& out);
absl::StatusOr<ClusterStatus> GetStatus(const Layout& layout);
std::string StatusToJson(const Layout& layout, const ClusterStatus& status);

// Of a command for a cluster that is not there: its name, and the command that starts it.
std::string NotRunningText(const Layout& layout);
// Runs a command in a node; see ExecInNode. NOT_FOUND when the node does not run.
absl::StatusOr<int> Exec(const Layout& layout, const std::string& node,
                         const std::vector<std::string>& argv);
// Runs a command outside the cluster, in a network namespace on the nodes' link; like exec(3) it
// returns only when that fails. Everything but the network is the caller's.
absl::Status ExecOutside(const Layout& layout, const std::vector<std::string>& argv);
// Imports an image archive on every node, under its own names and those of `names`.
absl::Status LoadImage(const Layout& layout, const std::string& archive,
                       const std::vector<std::string>& names, std::ostream& out);

}  // namespace mesh::cli::local
