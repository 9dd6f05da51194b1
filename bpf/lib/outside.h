/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the maps mesh_announce, mesh_no_masq and mesh_node_ip: the world outside the cluster. */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_ANNOUNCE_MAX_ENTRIES);
	__type(key, struct mesh_announce_key);
	__type(value, __u32);
} mesh_announce SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_NO_MASQUERADE_MAX_ENTRIES);
	__type(key, struct mesh_no_masquerade_key);
	__type(value, __u32);
} mesh_no_masq SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_TUNNEL_MAX_ENTRIES);
	__type(key, struct mesh_node_key);
	__type(value, __u32);
} mesh_node_ip SEC(".maps");

/* Whether the address is another node's: that of its end of the tunnel. */
static __always_inline int mesh_is_peer(__be32 ip)
{
	struct mesh_node_key key = {.ip = ip};

	return ip && bpf_map_lookup_elem(&mesh_node_ip, &key) != NULL;
}

#ifdef MESH_IPV6
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_TUNNEL_MAX_ENTRIES);
	__type(key, struct mesh_node6_key);
	__type(value, __u32);
} mesh_node_ip6 SEC(".maps");

/* Whether the address is another node's. */
static __always_inline int mesh_is_node(const mesh_addr *ip)
{
	struct mesh_node6_key key = {.ip = *ip};

	return bpf_map_lookup_elem(&mesh_node_ip6, &key) != NULL;
}

/* The nodes talk IPv4 to each other. */
static __always_inline int mesh_enters_tunnel(__u8 proto, __be16 port, const mesh_addr *ip)
{
	return 0;
}
#else
static __always_inline int mesh_is_node(const mesh_addr *ip)
{
	return mesh_is_peer(*ip);
}

/*
 * Whether it would come out of the tunnel at another node: who writes the tunnel's headers himself
 * and is masqueraded has the address of a node, and would be believed whatever he says.
 */
static __always_inline int mesh_enters_tunnel(__u8 proto, __be16 port, const mesh_addr *ip)
{
	return proto == IPPROTO_UDP && port == bpf_htons(MESH_VXLAN_PORT) && mesh_is_peer(*ip);
}
#endif

static __always_inline int mesh_is_announced(const mesh_addr *ip)
{
	struct mesh_announce_key key = {.ip = *ip};

	return bpf_map_lookup_elem(&mesh_announce, &key) != NULL;
}

/* Whether the destination sees the pods' own addresses. */
static __always_inline int mesh_is_not_masqueraded(const mesh_addr *ip)
{
	struct mesh_no_masquerade_key key = {.prefix_length = MESH_ADDRESS_BITS, .ip = *ip};

	return bpf_map_lookup_elem(&mesh_no_masq, &key) != NULL;
}
