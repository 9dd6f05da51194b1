/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_tunnel: which node has which pods. */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_TUNNEL_MAX_ENTRIES);
	__type(key, struct mesh_tunnel_key);
	__type(value, struct mesh_tunnel_value);
} mesh_tunnel SEC(".maps");

/* Address of the node that has the pod `ip`, 0 when no known node does. */
static __always_inline __be32 mesh_tunnel_lookup(const mesh_addr *ip)
{
	struct mesh_tunnel_key key = {.prefix_length = MESH_ADDRESS_BITS, .ip = *ip};
	struct mesh_tunnel_value *value = bpf_map_lookup_elem(&mesh_tunnel, &key);

	return value ? value->node_ip : 0;
}
