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

/* To the node `peer`, by the kernel's own tunnel. Returns 0 or nonzero. */
static MESH_FRAME int mesh_tunnel_set(struct __sk_buff *skb, __be32 peer, __u32 vni)
{
	struct bpf_tunnel_key tunnel;

	__builtin_memset(&tunnel, 0, sizeof(tunnel));
	tunnel.tunnel_id = vni;
	tunnel.remote_ipv4 = bpf_ntohl(peer);
	tunnel.local_ipv4 = bpf_ntohl(mesh_config.node_ip);
	tunnel.tunnel_ttl = 64;
	return (int)bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), BPF_F_ZERO_CSUM_TX);
}

/* The node that has the pod `ip`; null: no known one. */
static __always_inline struct mesh_tunnel_value *mesh_tunnel_find(const mesh_addr *ip)
{
	struct mesh_tunnel_key key = {.prefix_length = MESH_ADDRESS_BITS, .ip = *ip};

	return bpf_map_lookup_elem(&mesh_tunnel, &key);
}

/* Its address, 0 when no known node does. */
static __always_inline __be32 mesh_tunnel_lookup(const mesh_addr *ip)
{
	struct mesh_tunnel_value *value = mesh_tunnel_find(ip);

	return value ? value->node_ip : 0;
}
