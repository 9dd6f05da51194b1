/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_OWNER_MAP_NAME "mesh_owner"

/*
 * Who answers for a flow's place in the table: the pod that began it, of whichever node, else the
 * pod of this node that it goes to; 0 the node itself (and what it forwards from outside). Beyond
 * the rows that there are nobody is limited.
 */
struct mesh_owner_key {
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_owner_key) == 4, "ABI");

/* The row of all flows together. */
#define MESH_OWNER_ALL 0xffffffff

struct mesh_owner_value {
	/* The programs add new flows, the collector puts it right. */
	__u32 flows;
	/* In the row of all: flows that have room in the table. Else 0. */
	__u32 capacity;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_owner_value) == 8, "ABI");

/* Flows that every owner may have whatever the others do, of 256 parts of the table. */
#define MESH_OWNER_FLOOR(capacity) ((capacity) / 256)

/*
 * How many flows an owner may have: as many as are free. So one that takes all it can get ends at
 * half of the table, two at a third each, and room is always left for those who have little. What
 * an owner has above it stays; it only gets nothing new.
 */
static inline __u32 mesh_owner_limit(__u32 capacity, __u32 all_flows)
{
	__u32 free = all_flows < capacity ? capacity - all_flows : 0;
	__u32 floor = MESH_OWNER_FLOOR(capacity);

	return free > floor ? free : floor;
}

#define MESH_OWNER6_MAP_NAME "mesh_owner6"

/* The row of all flows together is that of the address of ones only. */
struct mesh_owner6_key {
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_owner6_key) == 16, "ABI");
