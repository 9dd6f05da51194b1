// SPDX-License-Identifier: Apache-2.0
// The agent's figures for Prometheus: mesh_agent_* of itself, mesh_datapath_* of the kernel's maps.
// Labels: reasons and directions (an enumeration), names of maps, families, and the
// kServicesShown Services with most connections; the others are one, "(other)".
#pragma once

#include "agent/network/network.h"
#include "common/metrics.h"

namespace mesh::agent {

inline constexpr size_t kServicesShown = 200;

void WriteFigures(const NetworkFigures& figures, MetricsWriter& out);

}  // namespace mesh::agent
