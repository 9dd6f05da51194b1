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
