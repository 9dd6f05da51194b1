/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_BACKEND_MAP_NAME "mesh_backend"

struct mesh_backend_key {
	__u32 backend_id;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_backend_key) == 4, "ABI");

#define MESH_BACKEND_ACTIVE   1
#define MESH_BACKEND_DRAINING 2 /* in no slot; keeps its flows, of UDP those in use */
#define MESH_BACKEND_LEFT     3 /* of no Service any more: TCP, likewise, until its last flow ends */

/* A backend belongs to one Service port; the same pod behind two has two rows. */
struct mesh_backend_value {
	__be32 ip;
	__be16 port;
	__u8 proto;
	__u8 state; /* MESH_BACKEND_* */
	__u32 service_id;
	__u16 weight; /* least-loaded: flows per weight are compared; 0 counts as 1 */
	__u8 scopes;  /* MESH_SCOPE_BIT of each set it is in: affinity stays inside the set */
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_backend_value) == 16, "ABI");

#define MESH_BACKEND6_MAP_NAME "mesh_backend6"

struct mesh_backend6_value {
	struct mesh_in6 ip;
	__be16 port;
	__u8 proto;
	__u8 state; /* MESH_BACKEND_* */
	__u32 service_id;
	__u16 weight;
	__u8 scopes;
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_backend6_value) == 28, "ABI");
