/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the maps of policies: what a set of them says about a peer. A pod is asked about by its
 * identity, all else by its address.
 */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_POLICY_PEER_MAX_ENTRIES);
	__type(key, struct mesh_policy_peer_key);
	__type(value, struct mesh_policy_class);
} mesh_pol_peer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_POLICY_PORT_MAX_ENTRIES);
	__type(key, struct mesh_policy_port_key);
	__type(value, struct mesh_policy_decision);
} mesh_pol_port SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_POLICY_BLOCK_MAX_ENTRIES);
	__type(key, struct mesh_policy_block_key);
	__type(value, struct mesh_policy_class);
} mesh_pol_block SEC(".maps");

#ifdef MESH_TRACE

#define mesh_policy_drop(set) 0

#else

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_POLICY_DROPS_MAX_ENTRIES);
	__type(key, struct mesh_policy_drops_key);
	__type(value, struct mesh_policy_drops_value);
} mesh_pol_drops SEC(".maps");

static const struct mesh_policy_drops_value mesh_no_policy_drops;

/* A packet is dropped by the set. Without room for a row it is not counted. Returns 0. */
static MESH_FRAME int mesh_policy_drop(__u32 set)
{
	struct mesh_policy_drops_key key = {.set = set};
	struct mesh_policy_drops_value *row = bpf_map_lookup_elem(&mesh_pol_drops, &key);

	if (!row) {
		bpf_map_update_elem(&mesh_pol_drops, &key, &mesh_no_policy_drops, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&mesh_pol_drops, &key);
	}
	if (row)
		row->packets++;
	return 0;
}

#endif

#define MESH_JUDGED_FROM_POD  1 /* the client is a pod of this node, and may be restricted */
#define MESH_JUDGED_FROM_NODE 2 /* a process of this node */
#define MESH_JUDGED_TO_NODE   4 /* the server is this node */
#define MESH_JUDGED_SERVICE   8 /* through a Service of the receiver's namespace */

/* What lib/judge.h judges: the client as the server sees it, and who serves in the end. */
struct mesh_judged {
	mesh_addr client, server;
	__u32 identity;			      /* of the client */
	__u32 facts;			      /* MESH_JUDGED_* */
	struct mesh_policy_port_key port_key; /* protocol and the server's port */
	struct mesh_policy_block_key block_key;
};

static __always_inline void mesh_judged_port(struct mesh_judged *judged, __u8 proto, __be16 port)
{
	judged->port_key.proto = proto;
	__builtin_memcpy(judged->port_key.port, &port, 2);
	judged->port_key.pad0 = 0;
}

/* What a peer is asked about by; the rest is pods, also those that are not known. */
static __always_inline int mesh_is_judged_by_address(__u32 identity)
{
	return identity == MESH_IDENTITY_HOST || identity == MESH_IDENTITY_WORLD;
}

/* Whether the set admits a flow to or from a peer. `egress`: the peer is the server. */
static __always_inline int mesh_set_admits(struct mesh_judged *judged, __u32 set, __u32 everybody,
					   __u32 identity, int egress)
{
	struct mesh_policy_class *known;
	struct mesh_policy_decision *decision;
	__u32 number = everybody;

	if (mesh_is_judged_by_address(identity)) {
		judged->block_key.prefix_length = 32 + MESH_ADDRESS_BITS;
		judged->block_key.set = set;
		if (egress)
			judged->block_key.ip = judged->server;
		else
			judged->block_key.ip = judged->client;
		known = bpf_map_lookup_elem(&mesh_pol_block, &judged->block_key);
	} else {
		struct mesh_policy_peer_key key = {.set = set, .identity = identity};

		known = bpf_map_lookup_elem(&mesh_pol_peer, &key);
	}
	if (known)
		number = known->number;
	judged->port_key.prefix_length = 32 + 24;
	judged->port_key.class_number = number;
	decision = bpf_map_lookup_elem(&mesh_pol_port, &judged->port_key);
	if (egress)
		MESH_NOTE(EGRESS, identity, decision ? decision->verdict : 0,
			  decision ? decision->rule : 0);
	else
		MESH_NOTE(INGRESS, identity, decision ? decision->verdict : 0,
			  decision ? decision->rule : 0);
	return decision && decision->verdict == MESH_VERDICT_ALLOW;
}
