// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "dataplane/dataplane.h"
#include "mesh/shared/metrics_map.h"
#include "mesh/shared/service_traffic_map.h"

namespace mesh::dataplane {

// Row `index` of mesh_metrics: all CPUs added up.
MetricRow DecodeMetric(uint32_t index, const std::vector<mesh_metrics_value>& per_cpu);

// Adds a row of mesh_svc_count, all CPUs, to `to`.
void AddTraffic(const std::vector<mesh_service_traffic_value>& per_cpu, ServiceTraffic* to);

}  // namespace mesh::dataplane
