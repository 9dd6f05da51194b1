/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_OWNER_MAP_NAME "mesh_owner"

/*
 * Who answers for a flow's place in the table: the pod of this node that began it, else the pod of
 * this node that it goes to; 0 the node itself (and what it forwards from outside).
 */
struct mesh_owner_key {
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_owner_key) == 4, "ABI");

struct mesh_owner_value {
	/* The programs add new flows, the collector puts it right. */
	__u32 flows;
	/* New flows beyond it are refused (quota). Set by the collector from what the others use.
	 */
	__u32 limit;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_owner_value) == 8, "ABI");
