// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cli/local/cluster.h"
#include "nlohmann/json.hpp"

namespace mesh::cli::local {
namespace {

TEST(StatusToJson, ListsNodesWithAddressesNamespacesAndProcesses) {
  ClusterStatus status;
  status.running = true;
  status.nodes.push_back({.name = "n1",
                          .address = "10.89.0.11",
                          .address6 = "fd00:10:89::11",
                          .netns = "mesh-n1",
                          .containerd_socket = "/run/mesh/local/n1/containerd.sock",
                          .pids = {{"agent", 12}, {"containerd", 11}, {"meshd", 13}},
                          .ready = true});

  const auto json = nlohmann::json::parse(StatusToJson(Layout::Create("local").value(), status));

  EXPECT_EQ(json["running"], true);
  EXPECT_EQ(json["server"], "unix:///run/mesh/local/meshd.sock");
  const auto& node = json["nodes"][0];
  EXPECT_EQ(node["name"], "n1");
  EXPECT_EQ(node["address"], "10.89.0.11");
  EXPECT_EQ(node["address6"], "fd00:10:89::11");
  EXPECT_EQ(json["outsideAddress6"], "fd00:10:89::1");
  EXPECT_EQ(node["namespace"], "mesh-n1");
  EXPECT_EQ(node["namespacePath"], "/run/netns/mesh-n1");
  EXPECT_EQ(node["ready"], true);
  EXPECT_EQ(node["pids"]["agent"], 12);
  EXPECT_EQ(node["pids"]["containerd"], 11);
  EXPECT_EQ(node["pids"]["meshd"], 13);
}

}  // namespace
}  // namespace mesh::cli::local
