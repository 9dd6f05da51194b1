// SPDX-License-Identifier: Apache-2.0
#include "cli/local/cluster.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace mesh::cli::local {

std::string StatusToJson(const Layout& layout, const ClusterStatus& status) {
  using Json = nlohmann::ordered_json;
  Json nodes = Json::array();
  bool dual = false;
  for (const NodeStatus& node : status.nodes) {
    dual |= !node.address6.empty();
    Json pids = Json::object();
    for (const auto& [name, pid] : node.pids) pids[name] = pid;
    nodes.push_back({{"name", node.name},
                     {"address", node.address},
                     {"address6", node.address6},
                     {"namespace", node.netns},
                     {"namespacePath", "/run/netns/" + node.netns},
                     {"containerdSocket", node.containerd_socket},
                     {"logDir", layout.LogDir(node.name)},
                     {"ready", node.ready},
                     {"pids", pids}});
  }
  const Json json = {{"name", layout.cluster()},
                     {"running", status.running},
                     {"server", "unix://" + layout.Socket()},
                     {"fabricNamespace", layout.FabricNetns()},
                     {"outsideAddress", Layout::OutsideAddress()},
                     {"outsideAddress6", dual ? Layout::OutsideAddress6() : ""},
                     {"nodes", nodes}};
  return json.dump(2) + "\n";
}

}  // namespace mesh::cli::local
