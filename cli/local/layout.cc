// SPDX-License-Identifier: Apache-2.0
#include "cli/local/layout.h"

#include <algorithm>

#include "absl/status/status.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

constexpr size_t kMaxClusterName = 20;

bool IsAlphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

}  // namespace

absl::StatusOr<Layout> Layout::Create(std::string_view cluster) {
  const bool valid = !cluster.empty() && cluster.size() <= kMaxClusterName &&
                     IsAlphanumeric(cluster.front()) && IsAlphanumeric(cluster.back()) &&
                     std::all_of(cluster.begin(), cluster.end(),
                                 [](char c) { return IsAlphanumeric(c) || c == '-'; });
  if (!valid) {
    return absl::InvalidArgumentError(
        fmt::format("cluster name \"{}\": give at most {} lower-case letters, digits and '-'",
                    cluster, kMaxClusterName));
  }
  return Layout(std::string(cluster));
}

std::string Layout::NameFlag() const {
  return cluster_ == kDefaultCluster ? "" : " --name " + cluster_;
}

std::string Layout::NodeName(int index) { return fmt::format("n{}", index + 1); }
std::string Layout::NodeAddress(int index) { return fmt::format("10.89.0.{}", 11 + index); }

std::string Layout::OutsideAddress() { return "10.89.0.1"; }

// The last number reads as in the IPv4 address.
std::string Layout::NodeAddress6(int index) { return fmt::format("fd00:10:89::{}", 11 + index); }
std::string Layout::OutsideAddress6() { return "fd00:10:89::1"; }

std::string Layout::NetnsName(std::string_view node) const {
  return cluster_ == kDefaultCluster ? fmt::format("mesh-{}", node)
                                     : fmt::format("mesh-{}-{}", cluster_, node);
}

bool Layout::OwnsNetns(std::string_view netns) const {
  if (netns == FabricNetns()) return true;
  const std::string prefix = NetnsName("n");
  if (netns.size() <= prefix.size() || netns.substr(0, prefix.size()) != prefix) return false;
  const std::string_view index = netns.substr(prefix.size());
  return std::all_of(index.begin(), index.end(), [](char c) { return c >= '0' && c <= '9'; });
}

std::string Layout::RunDir() const { return "/run/mesh/" + cluster_; }
std::string Layout::DataDir() const { return "/var/lib/mesh/" + cluster_; }
std::string Layout::LockFile() const { return RunDir() + ".lock"; }
std::string Layout::Socket() const { return RunDir() + "/meshd.sock"; }
std::string Layout::NodeRunDir(std::string_view node) const {
  return fmt::format("{}/{}", RunDir(), node);
}
std::string Layout::NodeDataDir(std::string_view node) const {
  return fmt::format("{}/{}", DataDir(), node);
}
std::string Layout::ContainerdSocket(std::string_view node) const {
  return NodeRunDir(node) + "/containerd.sock";
}
std::string Layout::LogDir(std::string_view node) const { return NodeDataDir(node) + "/log"; }
std::string Layout::ClusterCgroup() const { return "mesh-" + cluster_; }
std::string Layout::NodeCgroup(std::string_view node) const {
  return fmt::format("{}/{}", ClusterCgroup(), node);
}

}  // namespace mesh::cli::local
