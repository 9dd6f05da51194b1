/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_AFFINITY_MAP_NAME "mesh_affinity"

/* Which backend a client had last. */
struct mesh_affinity_key {
	__u32 service_id;
	__be32 client;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_affinity_key) == 8, "ABI");

struct mesh_affinity_value {
	__u64 last_seen_ns; /* CLOCK_MONOTONIC_COARSE, at a new flow */
	__u32 backend_id;
	__u32 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_affinity_value) == 16, "ABI");

#define MESH_AFFINITY6_MAP_NAME "mesh_affinity6"

struct mesh_affinity6_key {
	__u32 service_id;
	struct mesh_in6 client;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_affinity6_key) == 20, "ABI");
