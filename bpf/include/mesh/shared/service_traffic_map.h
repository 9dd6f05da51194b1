/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_SERVICE_TRAFFIC_MAP_NAME "mesh_svc_count"

/* Key: service_id of mesh_service_value. Written by the programs with its first connection. */
struct mesh_service_traffic_key {
	__u32 service_id;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service_traffic_key) == 4, "ABI");

/*
 * Buckets of handshakes: at most 125 us, 250 us, 500 us .. 1.024 s; the last one takes what is
 * above. A SYN that is sent again after a second is in one of the last two.
 */
#define MESH_HANDSHAKE_FIRST_NS 125000ULL
#define MESH_HANDSHAKE_BUCKETS	15

/* Of each CPU; those of clients of this node, and of clients outside that have dialled it. */
struct mesh_service_traffic_value {
	__u64 connections;  /* begun, of either protocol */
	__u64 handshake_ns; /* sum over the buckets: from the first SYN to its first answer */
	__u32 handshakes[MESH_HANDSHAKE_BUCKETS];
	__u32 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service_traffic_value) == 80, "ABI");

/* Index of the bucket. Pure; the tests read the same lines. */
static inline __u32 mesh_handshake_bucket(__u64 ns)
{
	__u64 limit_ns = MESH_HANDSHAKE_FIRST_NS;
	__u32 i;

	for (i = 0; i < MESH_HANDSHAKE_BUCKETS - 1 && ns > limit_ns; i++)
		limit_ns *= 2;
	return i;
}
