// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/network/resolver.h"
#include "mesh/v1/node.pb.h"

namespace mesh::agent {

// The records of the zone, or the counters, as `request` has its table.
void ListDns(const v1::ListDataplaneRequest& request, const Resolver& resolver,
             v1::DataplaneNode* out);

}  // namespace mesh::agent
