// SPDX-License-Identifier: Apache-2.0
// The nodes as the scheduler sees them: one index per node, plain arrays for what every pod looks
// at. Built from a ClusterState, then changed by each placement of the same pass, so that a burst
// of pods is placed as if one after another.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "controlplane/scheduler/request.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

struct NodeTable {
  // Nodes by name; all vectors have this size.
  std::vector<std::string> names;
  std::vector<const v1::Node*> nodes;
  std::vector<uint8_t> ready;
  std::vector<uint8_t> schedulable;
  std::vector<int64_t> cpu_allocatable, memory_allocatable, pods_allocatable;
  std::vector<int64_t> cpu_used, memory_used, pods_used;
  // For scores: pods without requests count as a small one.
  std::vector<int64_t> cpu_weighed, memory_weighed;

  // Ports of the node that its pods have; empty on most.
  std::vector<std::vector<HostPort>> host_ports;

  static NodeTable Build(const ClusterState& state);
  size_t size() const { return names.size(); }
  // -1 when there is no such node.
  int IndexOf(const std::string& name) const;
  // Counts a pod on the node, or (sign -1) takes it off again.
  void Add(int node, const Request& request, int sign = 1);
  // Takes ports of the node, or asks whether they are free.
  void AddHostPorts(int node, const std::vector<HostPort>& ports);
  bool HasHostPorts(int node, const std::vector<HostPort>& ports) const;
};

// What a pod gets.
struct PodAddresses {
  IpAddress v4;
  std::optional<IpAddress> v6;
};

// Hands out pod addresses: of IPv4, and where the node has a range of IPv6 the one with the same
// number there. Hosts .2 to .239 of a /24: the first two are the network and the node
// itself, the upper sixteenth belongs to attachments that agents make by themselves. Addresses go
// round, so that one that was just given back is used again last.
class AddressPool {
 public:
  // Where each node's round stands; kept between passes. An entry that is missing begins after the
  // address of the node's youngest pod.
  using Cursors = std::map<std::string, uint32_t>;

  // Takes the addresses of all pods as used. `cursors` outlives this.
  AddressPool(const ClusterState& state, const NodeTable& table, Cursors* cursors);
  bool HasFree(int node) const;
  // REQUIRES: HasFree(node).
  PodAddresses Take(int node);

 private:
  struct Range {
    IpPrefix prefix;
    std::optional<IpPrefix> prefix6;
    uint32_t first = 0, end = 0;  // host numbers
    uint32_t used_count = 0;
    std::vector<bool> used;  // by host number
    uint32_t cursor = 0;
  };
  const NodeTable& table_;
  std::vector<Range> ranges_;
  Cursors* cursors_;
};

}  // namespace mesh::controlplane
