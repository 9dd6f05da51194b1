/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where a flow stands in a Maglev table. Pure, and without any seed: all nodes come to the same
 * place, whichever of them a flow's packets reach.
 */
#pragma once

#include "mesh/shared/base.h"

static inline __u32 mesh_hash_rotate(__u32 word, int bits)
{
	return (word << bits) | (word >> (32 - bits));
}

/* One round of MurmurHash3 (32 bits). */
static inline __u32 mesh_hash_add(__u32 hash, __u32 word)
{
	hash ^= mesh_hash_rotate(word * 0xcc9e2d51, 15) * 0x1b873593;
	return mesh_hash_rotate(hash, 13) * 5 + 0xe6546b64;
}

static inline __u32 mesh_hash_end(__u32 hash)
{
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ (hash >> 16);
}

/* All in host order. `vip` is the frontend's: 0 for a NodePort. */
static inline __u32 mesh_flow_hash(__u32 client, __u32 vip, __u16 client_port, __u16 port,
				   __u8 proto)
{
	__u32 hash = mesh_hash_add(proto, client);

	hash = mesh_hash_add(hash, vip);
	return mesh_hash_end(mesh_hash_add(hash, (__u32)client_port << 16 | port));
}

/* With session affinity all flows of a client stand at one place. */
static inline __u32 mesh_client_hash(__u32 client)
{
	return mesh_hash_end(mesh_hash_add(0, client));
}

/* Of IPv6: the words of an address one after the other, in host order as above. */
static inline __u32 mesh_hash_add6(__u32 hash, const __u32 address[4])
{
	hash = mesh_hash_add(hash, address[0]);
	hash = mesh_hash_add(hash, address[1]);
	hash = mesh_hash_add(hash, address[2]);
	return mesh_hash_add(hash, address[3]);
}

static inline __u32 mesh_flow6_hash(const __u32 client[4], const __u32 vip[4], __u16 client_port,
				    __u16 port, __u8 proto)
{
	__u32 hash = mesh_hash_add6(mesh_hash_add6(proto, client), vip);

	return mesh_hash_end(mesh_hash_add(hash, (__u32)client_port << 16 | port));
}

static inline __u32 mesh_client6_hash(const __u32 client[4])
{
	return mesh_hash_end(mesh_hash_add6(0, client));
}

/* Spreads a hash evenly over 0..size-1. */
static inline __u32 mesh_hash_index(__u32 hash, __u32 size)
{
	return (__u32)(((__u64)hash * size) >> 32);
}
