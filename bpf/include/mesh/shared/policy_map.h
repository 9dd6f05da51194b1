/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the policies say that select a pod, for one direction: a set. Two lookups decide: who the
 * peer is for the set (its class: peers about whom the same rules speak are one), and what the
 * rules of the class say about protocol and port.
 */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_POLICY_PEER_MAP_NAME   "mesh_pol_peer"
#define MESH_POLICY_BLOCK_MAP_NAME  "mesh_pol_block"
#define MESH_POLICY_BLOCK6_MAP_NAME "mesh_pol_block6"
#define MESH_POLICY_PORT_MAP_NAME   "mesh_pol_port"

/* Peers that are pods. One without a row is of the set's class for everybody. */
struct mesh_policy_peer_key {
	__u32 set;
	__u32 identity;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_peer_key) == 8, "ABI");

struct mesh_policy_class {
	__u32 number; /* never 0 */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_class) == 4, "ABI");

/* All other peers, by address; the layout is the kernel's bpf_lpm_trie_key. */
struct mesh_policy_block_key {
	__u32 prefix_length; /* 32 of the set, and those of the range */
	__u32 set;
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_block_key) == 12, "ABI");

struct mesh_policy_block6_key {
	__u32 prefix_length;
	__u32 set;
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_block6_key) == 24, "ABI");

/*
 * What is said about packets whose protocol and port begin with these bits. No row: nothing, the
 * packet is dropped.
 */
struct mesh_policy_port_key {
	__u32 prefix_length; /* 32 of the class; then 0, 8 (of the protocol) .. 24 (of the port) */
	__u32 class_number;
	__u8 proto;
	__u8 port[2]; /* of the receiver, network order */
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_port_key) == 12, "ABI");

#define MESH_VERDICT_ALLOW 1
#define MESH_VERDICT_DENY  2
/* What the next tier says; of the last one: nothing. */
#define MESH_VERDICT_PASS 3

struct mesh_policy_decision {
	__u8 verdict; /* MESH_VERDICT_* */
	__u8 tier;    /* 0: NetworkPolicies; others are not given yet */
	__u8 pad0[2];
	__u32 rule; /* the agent knows which policy's */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_decision) == 8, "ABI");

/* Packets that were dropped because no rule of the set allows them. Of each CPU; written by the
 * programs with the first one. */
#define MESH_POLICY_DROPS_MAP_NAME "mesh_pol_drops"

struct mesh_policy_drops_key {
	__u32 set;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_drops_key) == 4, "ABI");

struct mesh_policy_drops_value {
	__u64 packets;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_policy_drops_value) == 8, "ABI");
