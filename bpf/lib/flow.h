/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_flow: connection tracking. */
#pragma once

#include "lib/checksum.h"
#include "lib/family.h"
#include "lib/moving.h"
#include "lib/owner.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_FLOW_MAX_ENTRIES);
	__type(key, struct mesh_flow_key);
	__type(value, struct mesh_flow_value);
} mesh_flow SEC(".maps");
MESH_TRACE_LIVE(mesh_flow);

/* Key of the other direction: this one as it leaves, swapped. */
static __always_inline void mesh_flow_partner_key(const struct mesh_flow_value *flow, __u8 proto,
						  struct mesh_flow_key *out)
{
	__builtin_memset(out, 0, sizeof(*out));
	out->saddr = flow->daddr;
	out->daddr = flow->saddr;
	out->sport = flow->dport;
	out->dport = flow->sport;
	out->proto = proto;
}

static __always_inline int mesh_flow_key_equal(const struct mesh_flow_key *a,
					       const struct mesh_flow_key *b)
{
	/* Without branches: the verifier follows every way of each. */
	return mesh_addr_equal(&a->saddr, &b->saddr) & mesh_addr_equal(&a->daddr, &b->daddr) &
	       !((a->sport ^ b->sport) | (a->dport ^ b->dport) | (a->proto ^ b->proto));
}

#ifdef MESH_TRACE
#define MESH_TRACE_MET(i) ((struct mesh_flow_key *)mesh_trace.met[i])

static __always_inline void mesh_flow_take_row(const struct mesh_flow_key *key)
{
	if (!mesh_flow_key_equal(key, MESH_TRACE_MET(0)) &&
	    !mesh_flow_key_equal(key, MESH_TRACE_MET(1)))
		MESH_TRACE_TAKE(mesh_flow, key);
}

/* The entries that come with `key`, and their partners. */
static MESH_FRAME void mesh_flow_take(const struct mesh_flow_key *key)
{
	struct mesh_flow_key partner;
	struct mesh_flow_value *flow;

	mesh_flow_take_row(key);
	flow = bpf_map_lookup_elem(&mesh_flow, key);
	if (!flow || flow->flags & MESH_FLOW_ONE_WAY)
		return;
	mesh_flow_partner_key(flow, key->proto, &partner);
	mesh_flow_take_row(&partner);
}

/* The same for the packet itself, before all else. */
static MESH_FRAME void mesh_flow_take_met(const struct mesh_flow_key *key)
{
	struct mesh_flow_value *flow;

	mesh_flow_take(key);
	*MESH_TRACE_MET(0) = *key;
	flow = bpf_map_lookup_elem(&mesh_flow, key);
	if (flow && !(flow->flags & MESH_FLOW_ONE_WAY))
		mesh_flow_partner_key(flow, key->proto, MESH_TRACE_MET(1));
}
#else
#define mesh_flow_take(key)                                                                        \
	do {                                                                                       \
	} while (0)
#define mesh_flow_take_met(key)                                                                    \
	do {                                                                                       \
	} while (0)
#endif

/* The other entry of a flow, itself when it has only one; NULL: it is gone. */
static __always_inline const struct mesh_flow_value *
mesh_flow_partner(const struct mesh_flow_value *flow, __u8 proto)
{
	struct mesh_flow_key key;

	if (flow->flags & MESH_FLOW_ONE_WAY)
		return flow;
	mesh_flow_partner_key(flow, proto, &key);
	return bpf_map_lookup_elem(&mesh_flow, &key);
}

/* Address that serves the flow: where its packets go in the end. */
static __always_inline void mesh_flow_server(const struct mesh_flow_value *flow, mesh_addr *out)
{
	*out = flow->daddr;
	if (flow->target != MESH_TARGET_DIRECT)
		return;
#ifdef MESH_IPV6
	*out = flow->next_hop;
#else
	__builtin_memcpy(out, flow->destination_mac, 4);
#endif
}

/* Whether the other entry, which is not there, is still to be carried over. */
static __always_inline int mesh_flow_partner_comes(const struct mesh_flow_value *flow, __u8 proto)
{
	struct mesh_flow_key key;

	if (!mesh_taking_over)
		return 0;
	mesh_flow_partner_key(flow, proto, &key);
	return mesh_moving_has(&key);
}

/* Whether the flow's time is over. A half whose other half is gone is over. */
static __always_inline int mesh_flow_over(const struct mesh_flow_value *flow, __u8 proto,
					  __u64 now_ns)
{
	const struct mesh_flow_value *partner = mesh_flow_partner(flow, proto);

	if (!partner)
		return !mesh_flow_partner_comes(flow, proto);
	if (flow->flags & MESH_FLOW_REPLY)
		return mesh_flow_expired(proto, partner, flow, now_ns);
	return mesh_flow_expired(proto, flow, partner, now_ns);
}

/* Whether a TCP flow has been closed by both sides, or reset. */
static __always_inline int mesh_flow_has_closed(const struct mesh_flow_value *flow)
{
	const struct mesh_flow_value *partner;

	if (flow->tcp_rst)
		return 1;
	partner = mesh_flow_partner(flow, IPPROTO_TCP);
	return partner && (partner->tcp_rst || (flow->tcp_fin && partner->tcp_fin));
}

/*
 * A TCP packet that neither opens nor closes. After a reset it tells that the reset was not taken:
 * whoever has sent it, its sequence number was none of the connection's (RFC 5961).
 */
static __always_inline void mesh_flow_lives(struct mesh_flow_value *flow)
{
	flow->tcp_data = 1;
	flow->tcp_rst = 0;
}

/* Sets a byte of a row, at a constant offset, to 1. Returns what it was; a full barrier. */
static __always_inline __u8 mesh_row_set(void *row, __u32 offset)
{
	union {
		__u8 bytes[4];
		__u32 word;
	} set = {0};

	set.bytes[offset & 3] = 1;
	set.word = __sync_fetch_and_or((__u32 *)(row + (offset & ~3u)), set.word);
	return set.bytes[offset & 3];
}

/*
 * Notes a FIN, or else a reset, of a connection whose end is waited for. Returns whether it ends
 * with it. Where the last packets of both sides come at once, on two CPUs, it is one of them.
 */
static MESH_FRAME int mesh_flow_ends(struct mesh_flow_value *flow, int fin)
{
	const struct mesh_flow_value *opener = flow, *partner;
	int had_closed = mesh_flow_has_closed(flow);

	if (fin)
		mesh_row_set(flow, offsetof(struct mesh_flow_value, tcp_fin));
	else
		mesh_row_set(flow, offsetof(struct mesh_flow_value, tcp_rst));
	if (had_closed || !mesh_flow_has_closed(flow))
		return 0;
	partner = mesh_flow_partner(flow, IPPROTO_TCP);
	if (partner && flow->flags & MESH_FLOW_REPLY)
		opener = partner;
	return !mesh_row_set((void *)opener, offsetof(struct mesh_flow_value, tcp_ended));
}

/* Whether a new connection may take the flow's place: it is closing, or over. */
static __always_inline int mesh_flow_finished(const struct mesh_flow_value *flow, __u8 proto,
					      __u64 now_ns)
{
	const struct mesh_flow_value *partner;

	if (flow->tcp_rst)
		return 1;
	partner = mesh_flow_partner(flow, proto);
	if (!partner)
		return !mesh_flow_partner_comes(flow, proto);
	if (partner->tcp_rst || (flow->tcp_fin && partner->tcp_fin))
		return 1;
	return mesh_flow_over(flow, proto, now_ns);
}

/*
 * Writes over the entry at `place`, of `key`. An entry may be deleted at any time and is another
 * flow's then: what was written into such a one is made worthless, and its next packet is judged
 * like the first. Returns whether it stands.
 */
static __always_inline int mesh_flow_write(const struct mesh_flow_key *key,
					   struct mesh_flow_value *place,
					   const struct mesh_flow_value *value)
{
	*place = *value;
	if (likely(bpf_map_lookup_elem(&mesh_flow, key) == place))
		return 1;
	place->in_ifindex = 0;
	place->flags = 0;
	return 0;
}

/* Both entries. `flow` is not valid afterwards. */
static __always_inline void mesh_flow_delete(const struct mesh_flow_key *key,
					     const struct mesh_flow_value *flow)
{
	struct mesh_flow_key partner;

	mesh_owner_sub(&flow->owner);
	if (!(flow->flags & MESH_FLOW_ONE_WAY)) {
		mesh_flow_partner_key(flow, key->proto, &partner);
		bpf_map_delete_elem(&mesh_flow, &partner);
	}
	bpf_map_delete_elem(&mesh_flow, key);
}

/* Fills the checksum differences between `key` and what leaves. */
static MESH_FRAME void mesh_flow_set_diffs(const struct mesh_flow_key *key,
					   struct mesh_flow_value *flow)
{
	flow->address_diff = 0;
	flow->port_diff = 0;
	if (!mesh_addr_equal(&flow->saddr, &key->saddr) ||
	    !mesh_addr_equal(&flow->daddr, &key->daddr))
		flow->address_diff =
			mesh_csum_fold32(mesh_csum_replace_addr(&key->saddr, &flow->saddr) +
					 mesh_csum_replace_addr(&key->daddr, &flow->daddr));
	if (flow->sport != key->sport || flow->dport != key->dport)
		flow->port_diff = mesh_csum_fold32(mesh_csum_replace(key->sport, flow->sport) +
						   mesh_csum_replace(key->dport, flow->dport));
}
