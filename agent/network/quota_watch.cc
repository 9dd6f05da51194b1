// SPDX-License-Identifier: Apache-2.0
#include "agent/network/quota_watch.h"

#include <utility>

#include "fmt/format.h"

namespace mesh::agent {

std::vector<dataplane::FlowOwner> QuotaWatch::Reached(const dataplane::FlowUsage& usage,
                                                      const std::set<IpAddress>& refused) {
  std::vector<dataplane::FlowOwner> out;
  std::set<IpAddress> now;
  for (const dataplane::FlowOwner& owner : usage.owners) {
    if (owner.pod.empty()) continue;
    const bool was_told = told_.contains(owner.ip);
    const bool full = owner.flows >= owner.limit || refused.contains(owner.ip);
    const bool near = uint64_t{owner.flows} * 10 > uint64_t{owner.limit} * 9;
    if (full || (was_told && near)) now.insert(owner.ip);
    if (full && !was_told) out.push_back(owner);
  }
  told_ = std::move(now);
  return out;
}

std::string QuotaText(const dataplane::FlowOwner& owner, const dataplane::FlowUsage& usage) {
  return fmt::format(
      "it has {} flows, as many as it may while others have their part of the node's {}: new ones "
      "are refused until some end; see `meshctl bpf ct stats`",
      owner.flows, owner.ip.is_v4() ? usage.capacity : usage.capacity6);
}

}  // namespace mesh::agent
