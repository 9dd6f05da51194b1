// SPDX-License-Identifier: Apache-2.0
// The agent's figures for Prometheus: mesh_agent_* of itself, mesh_datapath_* of the kernel's maps.
// Labels: reasons and directions (an enumeration), names of maps, families.
#pragma once

#include "agent/network/network.h"
#include "common/metrics.h"

namespace mesh::agent {

void WriteFigures(const NetworkFigures& figures, MetricsWriter& out);

}  // namespace mesh::agent
