/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the programs know of the world outside the cluster. */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_NO_MASQUERADE_MAP_NAME "mesh_no_masq"
#define MESH_ANNOUNCE_MAP_NAME	    "mesh_announce"
#define MESH_NODE_MAP_NAME	    "mesh_node_ip"

/* LPM: destinations that see the pods' own addresses. Value: __u32 1. */
struct mesh_no_masquerade_key {
	__u32 prefix_length;
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_no_masquerade_key) == 8, "ABI");

/* Hash: addresses for which this node answers ARP on its uplink. Value: __u32 1. */
struct mesh_announce_key {
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_announce_key) == 4, "ABI");

/* Hash: addresses of the other nodes. Value: __u32 1. */
struct mesh_node_key {
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_node_key) == 4, "ABI");

#define MESH_NO_MASQUERADE6_MAP_NAME "mesh_no_masq6"
#define MESH_ANNOUNCE6_MAP_NAME	     "mesh_announce6"
#define MESH_NODE6_MAP_NAME	     "mesh_node_ip6"

struct mesh_no_masquerade6_key {
	__u32 prefix_length;
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_no_masquerade6_key) == 20, "ABI");

/* For these the node answers neighbour solicitations. */
struct mesh_announce6_key {
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_announce6_key) == 16, "ABI");

struct mesh_node6_key {
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_node6_key) == 16, "ABI");
