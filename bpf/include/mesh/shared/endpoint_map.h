/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_ENDPOINT_MAP_NAME	    "mesh_endpoint"
#define MESH_ENDPOINT_NAME_MAP_NAME "mesh_ep_name"

#define MESH_ENDPOINT_SHAPED 1 /* what it receives waits in the queue of its host-side veth */

/* A pod of this node. */
struct mesh_endpoint_key {
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_endpoint_key) == 4, "ABI");

struct mesh_endpoint_value {
	__u32 ifindex; /* host side of the veth */
	__u32 identity;
	__u8 pod_mac[6];
	__u8 host_mac[6];
	__u32 flags; /* MESH_ENDPOINT_* */
	__u32 ns;    /* of its namespace; 0: the same number as identity */
	/*
	 * The set of mesh_pol_peer that judges what it receives and sends, and the class of peers
	 * that the set has no row for. Set 0: no policy selects it for that direction.
	 */
	__u32 ingress, ingress_class;
	__u32 egress, egress_class;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_endpoint_value) == 44, "ABI");

/* For people and for a restarted agent; no program reads it. Zero-padded. */
struct mesh_endpoint_name {
	char container_id[128];
	char ifname[16];
	char ns[64];
	char pod[256];
};
MESH_SHARED_ASSERT(sizeof(struct mesh_endpoint_name) == 464, "ABI");

#define MESH_ENDPOINT6_MAP_NAME "mesh_endpoint6"

/* The second address of a pod; the value is that of mesh_endpoint. Its names are found by ifindex.
 */
struct mesh_endpoint6_key {
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_endpoint6_key) == 16, "ABI");
