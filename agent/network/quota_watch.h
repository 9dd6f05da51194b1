// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <vector>

#include "common/ip_address.h"
#include "dataplane/dataplane.h"

namespace mesh::agent {

// Which pods have as many flows as they may (docs/adr/0015): told once, and again only after they
// have had a tenth less. Pods of other nodes are their own node's to tell.
class QuotaWatch {
 public:
  //   refused  who was refused for it since the last look: flows may have ended by now
  std::vector<dataplane::FlowOwner> Reached(const dataplane::FlowUsage& usage,
                                            const std::set<IpAddress>& refused);

 private:
  std::set<IpAddress> told_;
};

// For people.
std::string QuotaText(const dataplane::FlowOwner& owner, const dataplane::FlowUsage& usage);

}  // namespace mesh::agent
