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
