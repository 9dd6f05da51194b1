// SPDX-License-Identifier: Apache-2.0
// Where a local cluster keeps what: names of namespaces and cgroups, directories, addresses. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace mesh::cli::local {

inline constexpr int kMaxNodes = 64;
inline constexpr int kServerPort = 6440;
inline constexpr int kAgentPort = 6441;
inline constexpr char kDefaultCluster[] = "local";

// One cluster on this machine. Clusters of different names share nothing but the machine: the same
// addresses stand in different network namespaces.
class Layout {
 public:
  // INVALID_ARGUMENT unless `cluster` is a DNS label of at most 20 characters.
  static absl::StatusOr<Layout> Create(std::string_view cluster);

  const std::string& cluster() const { return cluster_; }
  // " --name NAME", as `meshctl local` is told of this cluster; "" for the one it takes by itself.
  std::string NameFlag() const;
  // "n1" for index 0.
  static std::string NodeName(int index);
  // 10.89.0.11 for index 0.
  static std::string NodeAddress(int index);
  // Of the world outside the cluster, on the nodes' link: the namespace FabricNetns(). The nodes'
  // default gateway.
  static std::string OutsideAddress();
  // The same in IPv6, in a dual-stack cluster: fd00:10:89::11 for index 0.
  static std::string NodeAddress6(int index);
  static std::string OutsideAddress6();

  // The network namespaces, as `ip netns` lists them: mesh-n1, mesh-fabric; for a cluster of
  // another name mesh-NAME-n1, mesh-NAME-fabric.
  std::string NetnsName(std::string_view node) const;
  std::string FabricNetns() const { return NetnsName("fabric"); }
  // Whether a name in /run/netns belongs to this cluster.
  bool OwnsNetns(std::string_view netns) const;

  // /run/mesh/NAME: sockets and state that ends with the cluster.
  std::string RunDir() const;
  // /var/lib/mesh/NAME: images, containers, logs, the store.
  std::string DataDir() const;
  std::string LockFile() const;
  std::string Socket() const;
  std::string NodeRunDir(std::string_view node) const;
  std::string NodeDataDir(std::string_view node) const;
  std::string ContainerdSocket(std::string_view node) const;
  std::string LogDir(std::string_view node) const;
  // Below the root of each cgroup hierarchy.
  std::string ClusterCgroup() const;
  std::string NodeCgroup(std::string_view node) const;

 private:
  explicit Layout(std::string cluster) : cluster_(std::move(cluster)) {}
  std::string cluster_;
};

}  // namespace mesh::cli::local
