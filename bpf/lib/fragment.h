/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the map mesh_fragment: the ports of datagrams whose fragments are on their way. The first
 * fragment has them and leaves them here, the others follow it. Nothing is reassembled; one that
 * comes before its first is dropped, as nobody could say whose it is.
 */
#pragma once

#include "lib/family.h"
#include "lib/packet.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MESH_FRAGMENT_MAX_ENTRIES);
	__type(key, struct mesh_fragment_key);
	__type(value, struct mesh_fragment_value);
} mesh_fragment SEC(".maps");
MESH_TRACE_LIVE(mesh_fragment);

/* Notes the ports of a first fragment, or finds those of a later one. Returns 0 or a reason. */
static __always_inline int mesh_fragment_ports(struct __sk_buff *skb, struct mesh_packet *packet)
{
	struct mesh_fragment_key key = {
		.saddr = packet->key.saddr,
		.daddr = packet->key.daddr,
		.ifindex = skb->ifindex,
		.id = packet->fragment_id,
		.proto = packet->key.proto,
	};
	struct mesh_fragment_value ports, *known;

	if (packet->fragment == MESH_FRAGMENT_FIRST) {
		ports.sport = packet->key.sport;
		ports.dport = packet->key.dport;
		return bpf_map_update_elem(&mesh_fragment, &key, &ports, BPF_ANY)
			       ? MESH_REASON_FRAGMENT
			       : 0;
	}
	MESH_TRACE_TAKE(mesh_fragment, &key);
	known = bpf_map_lookup_elem(&mesh_fragment, &key);
	if (!known)
		return MESH_REASON_FRAGMENT;
	packet->key.sport = known->sport;
	packet->key.dport = known->dport;
	return 0;
}
