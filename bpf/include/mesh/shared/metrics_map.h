/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/drop_reason.h"

#define MESH_METRICS_MAP_NAME "mesh_metrics"

#define MESH_DIRECTION_EGRESS  0 /* from a pod */
#define MESH_DIRECTION_INGRESS 1 /* to a pod */

/* Index of the per-CPU array. */
#define MESH_METRICS_INDEX(reason, direction) ((reason)*2 + (direction))
#define MESH_METRICS_MAX_ENTRIES	      (MESH_REASON_COUNT * 2)

struct mesh_metrics_value {
	__u64 packets;
	__u64 bytes; /* with the Ethernet header */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_metrics_value) == 16, "ABI");
