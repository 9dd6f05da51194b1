/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_TUNNEL_MAP_NAME "mesh_tunnel"

/* Pod range of another node; the layout is the kernel's bpf_lpm_trie_key. */
struct mesh_tunnel_key {
	__u32 prefix_length;
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_tunnel_key) == 8, "ABI");

struct mesh_tunnel_value {
	__be32 node_ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_tunnel_value) == 4, "ABI");

#define MESH_TUNNEL6_MAP_NAME "mesh_tunnel6"

struct mesh_tunnel6_key {
	__u32 prefix_length;
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_tunnel6_key) == 20, "ABI");

struct mesh_tunnel6_value {
	__be32 node_ip;		  /* end of the tunnel: the nodes talk IPv4 to each other */
	struct mesh_in6 node_ip6; /* next hop with native routing; "::": none */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_tunnel6_value) == 20, "ABI");
