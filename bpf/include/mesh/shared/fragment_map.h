/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_FRAGMENT_MAP_NAME "mesh_fragment"

/* The ports that the first fragment of a datagram had; the others have none. */
struct mesh_fragment_key {
	__be32 saddr, daddr;
	__u32 ifindex; /* where it came in */
	__be16 id;
	__u8 proto;
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_fragment_key) == 16, "ABI");

struct mesh_fragment_value {
	__be16 sport, dport;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_fragment_value) == 4, "ABI");

#define MESH_FRAGMENT6_MAP_NAME "mesh_fragment6"

struct mesh_fragment6_key {
	struct mesh_in6 saddr, daddr;
	__u32 ifindex;
	__be32 id;
	__u8 proto;
	__u8 pad0[3];
};
MESH_SHARED_ASSERT(sizeof(struct mesh_fragment6_key) == 44, "ABI");
