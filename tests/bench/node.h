// SPDX-License-Identifier: Apache-2.0
// The dataplane of this repository as a contestant: a node in a network namespace of its own, with
// its real programs, tables and links.
#pragma once

#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/model/state.h"
#include "tests/bench/topology.h"

namespace mesh::bench {

// Runs `act` inside a namespace and comes back.
template <typename Act>
auto Inside(const std::string& netns, Act act) -> decltype(act()) {
  UniqueFd home(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  UniqueFd there(open(Namespaces::PathOf(netns).c_str(), O_RDONLY | O_CLOEXEC));
  if (setns(there.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns " + netns);
  auto result = act();
  if (setns(home.get(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns back");
  return result;
}

struct RealPort {
  uint16_t port = 80, backend_port = 8080;
  dataplane::Protocol protocol = dataplane::Protocol::kTcp;
  uint16_t node_port = 0;
};

// A Service that packets are really sent to.
struct RealService {
  std::string name, vip;
  std::vector<std::string> backends;  // addresses
  std::vector<RealPort> ports = {RealPort()};
  bool direct_return = false;
};

inline constexpr uint32_t kBenchIdentity = 256;

// `others` Services of `endpoints` backends each that nobody dials, and the real ones. The others'
// addresses are those from 10.97.0.0 on: the Service range must be 10.96.0.0/12.
dataplane::DesiredState Services(int others, int endpoints, const std::vector<RealService>& real);

// Node number `number`: 192.0.2.<number>, pods 10.244.<number>.0/24.
dataplane::NodeConfig NodeNumber(int number);
dataplane::Peer PeerNumber(int number);

// Ranges and addresses of IPv6 beside those of IPv4: mesh::testing::ToIpv6() of each.
void AddIpv6(dataplane::NodeConfig* config);
void AddIpv6(dataplane::Peer* peer);
// Makes it one of IPv6, its backends too.
void MakeIpv6(dataplane::Service* service);

struct BenchNode {
  std::string netns;
  std::unique_ptr<dataplane::KernelDataplane> dataplane;
  std::string map_dir;  // where its maps are pinned
};

// In `netns`, which has the node's address already. `bpf_root` is this node's own.
absl::StatusOr<BenchNode> StartNode(const std::string& netns, const std::string& bpf_root,
                                    const dataplane::NodeConfig& config,
                                    const dataplane::DesiredState& desired);

// Gives the pod in `pod_netns` its eth0 with `ip`, and `ip6` when that is not empty.
absl::StatusOr<dataplane::Endpoint> AddPod(BenchNode& node, const std::string& pod_netns,
                                           const std::string& ip, const std::string& ip6 = "",
                                           uint32_t identity = kBenchIdentity);

}  // namespace mesh::bench
