// SPDX-License-Identifier: Apache-2.0
#include "agent/network/fixed_config.h"

#include "fmt/format.h"

namespace mesh::agent {
namespace {

std::string Text(const IpPrefix& range) { return range.is_set() ? range.ToString() : "none"; }

std::string Text(dataplane::Routing routing) {
  return routing == dataplane::Routing::kNative ? "native" : "vxlan";
}

}  // namespace

absl::StatusOr<std::string> CheckFixed(const dataplane::NodeConfig& open,
                                       const dataplane::NodeConfig& now) {
  const bool ipv6_stays = open.has_ipv6() && now.has_ipv6();
  const struct {
    const char* what;
    std::string before, now;
    bool in_use;
  } things[] = {
      {"pod range of this node", Text(open.pod_cidr), Text(now.pod_cidr), true},
      {"pod range of the cluster", Text(open.cluster_cidr), Text(now.cluster_cidr), true},
      {"service range", Text(open.service_cidr), Text(now.service_cidr), true},
      {"IPv6 pod range of this node", Text(open.pod_cidr6), Text(now.pod_cidr6), ipv6_stays},
      {"IPv6 pod range of the cluster", Text(open.cluster_cidr6), Text(now.cluster_cidr6),
       ipv6_stays},
      {"IPv6 service range", Text(open.service_cidr6), Text(now.service_cidr6), ipv6_stays},
      {"routing", Text(open.routing), Text(now.routing), false},
  };
  std::string waiting;
  for (const auto& thing : things) {
    if (thing.before == thing.now) continue;
    const std::string line =
        fmt::format("the {} changed from {} to {}", thing.what, thing.before, thing.now);
    if (thing.in_use)
      return absl::FailedPreconditionError(line + ": stop its pods and restart the agent");
    if (waiting.empty()) waiting = line + ": restart the agent, then its pods";
  }
  return waiting;
}

}  // namespace mesh::agent
