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
  // REQUIRES: looked at often enough that a pod which stays at its limit is seen there.
  std::vector<dataplane::FlowOwner> Reached(const dataplane::FlowUsage& usage);

 private:
  std::set<IpAddress> told_;
};

// For people.
std::string QuotaText(const dataplane::FlowOwner& owner, const dataplane::FlowUsage& usage);

}  // namespace mesh::agent
