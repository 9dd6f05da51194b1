// SPDX-License-Identifier: Apache-2.0
// What the control plane says, in the dataplane's terms. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/state/node_state.h"
#include "dataplane/model/state.h"

namespace mesh::agent {

// INVALID_ARGUMENT names the range or address that does not parse. REQUIRES: nothing; an empty
// `config` (no Welcome yet) is UNAVAILABLE.
absl::StatusOr<dataplane::NodeConfig> BuildNodeConfig(const v1::Welcome& config,
                                                      const std::string& node_name,
                                                      const std::string& node_ip, int uplink_mtu);

struct Translation {
  dataplane::DesiredState desired;
  // One line per thing that cannot be programmed and was left out, with its reason.
  std::vector<std::string> skipped;
};

// Services without a ClusterIP (headless) have nothing to program and are left out silently.
Translation BuildDesiredState(const NodeState& state);

}  // namespace mesh::agent
