/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * IPv4 or IPv6: every program is compiled once for each family from the same lines, the second time
 * with -DMESH_IPV6. What is named here without a number is of the program's own family: the type of
 * an address, the rows and maps that hold addresses, the ranges of the configuration, the programs
 * themselves. What differs by more than the address stands in files with a 4 or a 6 in their name.
 */
#pragma once

#include "lib/common.h"
#include "mesh/shared/affinity_map.h"
#include "mesh/shared/backend_map.h"
#include "mesh/shared/endpoint_map.h"
#include "mesh/shared/flow_hash.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/fragment_map.h"
#include "mesh/shared/identity_map.h"
#include "mesh/shared/outside_map.h"
#include "mesh/shared/owner_map.h"
#include "mesh/shared/policy_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/source_range_map.h"
#include "mesh/shared/tunnel_map.h"

#ifdef MESH_IPV6

typedef struct mesh_in6 mesh_addr;

volatile const struct mesh_config6 mesh_config6 = {};

#define MESH_ETH_P	    ETH_P_IPV6
#define MESH_AF		    10 /* AF_INET6 */
#define MESH_ADDRESS_BITS   128
#define MESH_IP_HEADER_SIZE 40
#define MESH_IPPROTO_ICMP   IPPROTO_ICMPV6
#define MESH_ECHO	    128 /* of ICMP */
#define MESH_ECHO_REPLY	    129

/* A frame of its own, gone before the way down: the addresses take the room on the stack. */
#define MESH_FRAME __noinline __attribute__((unused)) /* not every program has a use for each */

/* Rows. */
#define mesh_affinity_key      mesh_affinity6_key
#define mesh_announce_key      mesh_announce6_key
#define mesh_backend_value     mesh_backend6_value
#define mesh_endpoint_key      mesh_endpoint6_key
#define mesh_flow_key	       mesh_flow6_key
#define mesh_flow_value	       mesh_flow6_value
#define mesh_fragment_key      mesh_fragment6_key
#define mesh_identity_key      mesh_identity6_key
#define mesh_no_masquerade_key mesh_no_masquerade6_key
#define mesh_owner_key	       mesh_owner6_key
#define mesh_policy_block_key  mesh_policy_block6_key
#define mesh_service_key       mesh_service6_key
#define mesh_source_range_key  mesh_source_range6_key
#define mesh_tunnel_key	       mesh_tunnel6_key
#define mesh_tunnel_value      mesh_tunnel6_value

/* Maps. */
#define mesh_affinity  mesh_affinity6
#define mesh_announce  mesh_announce6
#define mesh_backend   mesh_backend6
#define mesh_endpoint  mesh_endpoint6
#define mesh_flow      mesh_flow6
#define mesh_flow_was  mesh_flow_was6
#define mesh_fragment  mesh_fragment6
#define mesh_identity  mesh_identity6
#define mesh_no_masq   mesh_no_masq6
#define mesh_owner     mesh_owner6
#define mesh_pol_block mesh_pol_block6
#define mesh_service   mesh_service6
#define mesh_src_range mesh_src_range6
#define mesh_tunnel    mesh_tunnel6
#define mesh_turnout   mesh_turnout6

/* Programs. */
#define mesh_from_pod mesh_from_pod6
#define mesh_node     mesh_node6
#define mesh_overlay  mesh_overlay6
#define mesh_uplink   mesh_uplink6

/* The kernel keeps 15 characters, and the 6 tells whose they are (dataplane/net/tc.cc). */
#define mesh_turn_pod	 mesh_turn6_pod
#define mesh_turn_node	 mesh_turn6_node
#define mesh_turn_over	 mesh_turn6_over
#define mesh_turn_uplink mesh_turn6_uplink

/*
 * Declares `name`, which points at the address at `from`: a copy where that is a word, which the
 * verifier then knows to stay the same.
 */
#define MESH_ADDR_OF(name, from) const mesh_addr *name = (from)

/*
 * Read where it is needed: the words of an address that the compiler keeps at hand are more than
 * there are registers, and the stack has no room for them.
 */
#define mesh_word(address, i) (*(const volatile __u32 *)&(address)->w[i])

/* Without branches: the verifier follows every way of each. */
#define mesh_words_differ(a, b)                                                                    \
	((mesh_word(a, 0) ^ mesh_word(b, 0)) | (mesh_word(a, 1) ^ mesh_word(b, 1)) |               \
	 (mesh_word(a, 2) ^ mesh_word(b, 2)) | (mesh_word(a, 3) ^ mesh_word(b, 3)))

static __always_inline int mesh_addr_equal(const mesh_addr *a, const mesh_addr *b)
{
	return !mesh_words_differ(a, b);
}

static __always_inline void mesh_addr_copy(mesh_addr *to, const mesh_addr *from)
{
#pragma unroll
	for (int i = 0; i < 4; i++)
		*(volatile __u32 *)&to->w[i] = mesh_word(from, i);
}

static __always_inline int mesh_addr_is_zero(const mesh_addr *address)
{
	return !(mesh_word(address, 0) | mesh_word(address, 1) | mesh_word(address, 2) |
		 mesh_word(address, 3));
}

/* Whether the address is that field of the node's configuration (gateway, node_ip). */
#define mesh_is_own(address, field) (!mesh_words_differ(address, &mesh_config6.field))

#define mesh_outside_word(address, range, i)                                                       \
	((mesh_word(address, i) & mesh_config6.range##_mask.w[i]) ^ mesh_config6.range##_base.w[i])

/* Not 0: the address is outside of that range of the configuration (pod, cluster, service). */
#define mesh_outside_own(address, range)                                                           \
	(mesh_outside_word(address, range, 0) | mesh_outside_word(address, range, 1) |             \
	 mesh_outside_word(address, range, 2) | mesh_outside_word(address, range, 3))

/* Whether the address is in it. */
#define mesh_in_own(address, range) (!mesh_outside_own(address, range))

/* Word by word: a copy of volatile data would go by way of the stack. */
#define mesh_copy_own(to, field)                                                                   \
	do {                                                                                       \
		(to)->w[0] = mesh_config6.field.w[0];                                              \
		(to)->w[1] = mesh_config6.field.w[1];                                              \
		(to)->w[2] = mesh_config6.field.w[2];                                              \
		(to)->w[3] = mesh_config6.field.w[3];                                              \
	} while (0)

/* This node's address as a router's: it may have none outside of the cluster. */
#define mesh_copy_router(to)                                                                       \
	do {                                                                                       \
		if (mesh_config6.node_ip.w[0] | mesh_config6.node_ip.w[1] |                        \
		    mesh_config6.node_ip.w[2] | mesh_config6.node_ip.w[3])                         \
			mesh_copy_own(to, node_ip);                                                \
		else                                                                               \
			mesh_copy_own(to, gateway);                                                \
	} while (0)

/* Last 4 bytes of an address, in network order: in a node's range they tell which it is. */
static __always_inline __be32 mesh_addr_tail(const mesh_addr *address)
{
	return address->w[3];
}

/* The pod of this node whose address ends with `tail`. */
static __always_inline void mesh_addr_of_pod(mesh_addr *out, __be32 tail)
{
	out->w[0] = mesh_config6.pod_base.w[0];
	out->w[1] = mesh_config6.pod_base.w[1];
	out->w[2] = mesh_config6.pod_base.w[2];
	out->w[3] = tail;
}

static __always_inline void mesh_addr_hairpin(mesh_addr *out)
{
	out->w[0] = bpf_htonl(MESH_HAIRPIN_ADDRESS6_0);
	out->w[1] = bpf_htonl(MESH_HAIRPIN_ADDRESS6_1);
	out->w[2] = bpf_htonl(MESH_HAIRPIN_ADDRESS6_2);
	out->w[3] = bpf_htonl(MESH_HAIRPIN_ADDRESS6_3);
}

/* Whether it stands for an address of the node that one of its processes has dialled. */
static __always_inline int mesh_addr_stands_for_own(const mesh_addr *address)
{
	return !((mesh_word(address, 0) ^ bpf_htonl(MESH_OWN_ADDRESS6_0)) |
		 (mesh_word(address, 1) ^ bpf_htonl(MESH_OWN_ADDRESS6_1)) |
		 (mesh_word(address, 2) ^ bpf_htonl(MESH_OWN_ADDRESS6_2)) |
		 (mesh_word(address, 3) ^ bpf_htonl(MESH_OWN_ADDRESS6_3)));
}

static __always_inline __u32 mesh_hash_of_client(const mesh_addr *client)
{
	const __u32 words[4] = {bpf_ntohl(client->w[0]), bpf_ntohl(client->w[1]),
				bpf_ntohl(client->w[2]), bpf_ntohl(client->w[3])};

	return mesh_client6_hash(words);
}

/* Of who draws source ports: a client outside has a whole /64 to choose from. */
static __always_inline __u32 mesh_hash_of_holder(const mesh_addr *holder, int outside)
{
	__u32 hash = mesh_hash_add(0, bpf_ntohl(mesh_word(holder, 0)));

	hash = mesh_hash_add(hash, bpf_ntohl(mesh_word(holder, 1)));
	if (!outside) {
		hash = mesh_hash_add(hash, bpf_ntohl(mesh_word(holder, 2)));
		hash = mesh_hash_add(hash, bpf_ntohl(mesh_word(holder, 3)));
	}
	return hash;
}

static __always_inline __u32 mesh_hash_of_flow(const mesh_addr *client, const mesh_addr *vip,
					       __be16 client_port, __be16 port, __u8 proto)
{
	const __u32 client_words[4] = {bpf_ntohl(client->w[0]), bpf_ntohl(client->w[1]),
				       bpf_ntohl(client->w[2]), bpf_ntohl(client->w[3])};
	const __u32 vip_words[4] = {bpf_ntohl(vip->w[0]), bpf_ntohl(vip->w[1]),
				    bpf_ntohl(vip->w[2]), bpf_ntohl(vip->w[3])};

	return mesh_flow6_hash(client_words, vip_words, bpf_ntohs(client_port), bpf_ntohs(port),
			       proto);
}

/* What an address that is replaced, and the one in its place, add to a sum. */
static __always_inline __u64 mesh_csum_from_addr(const mesh_addr *from)
{
	return (__u64)(__u32)~mesh_word(from, 0) + (__u32)~mesh_word(from, 1) +
	       (__u32)~mesh_word(from, 2) + (__u32)~mesh_word(from, 3);
}
static __always_inline __u64 mesh_csum_to_addr(const mesh_addr *to)
{
	return (__u64)mesh_word(to, 0) + mesh_word(to, 1) + mesh_word(to, 2) + mesh_word(to, 3);
}

/* What replacing `from` by `to` adds to a sum. */
static __always_inline __u64 mesh_csum_replace_addr(const mesh_addr *from, const mesh_addr *to)
{
	return mesh_csum_from_addr(from) + mesh_csum_to_addr(to);
}

static __always_inline __u32 mesh_addr_fold(const mesh_addr *address)
{
	return mesh_word(address, 0) ^ mesh_word(address, 1) ^ mesh_word(address, 2) ^
	       mesh_word(address, 3);
}

/* To groups: nothing of theirs is forwarded. */
static __always_inline int mesh_addr_is_group(const mesh_addr *address)
{
	return (address->w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

#else

typedef __be32 mesh_addr;

#define MESH_ETH_P	    ETH_P_IP
#define MESH_AF		    2 /* AF_INET */
#define MESH_ADDRESS_BITS   32
#define MESH_IP_HEADER_SIZE 20
#define MESH_IPPROTO_ICMP   IPPROTO_ICMP
#define MESH_ECHO	    8
#define MESH_ECHO_REPLY	    0

#define MESH_FRAME __always_inline

#define MESH_ADDR_OF(name, from) const mesh_addr name##_copy = *(from), *name = &name##_copy

static __always_inline int mesh_addr_equal(const mesh_addr *a, const mesh_addr *b)
{
	return *a == *b;
}

static __always_inline int mesh_addr_is_zero(const mesh_addr *address)
{
	return !*address;
}

#define mesh_is_own(address, field) (*(address) == mesh_config.field)
#define mesh_outside_own(address, range)                                                           \
	((*(address)&mesh_config.range##_mask) ^ mesh_config.range##_base)
#define mesh_in_own(address, range) (!mesh_outside_own(address, range))
#define mesh_copy_own(to, field)    (*(to) = mesh_config.field)

static __always_inline __be32 mesh_addr_tail(const mesh_addr *address)
{
	return *address;
}

static __always_inline void mesh_addr_of_pod(mesh_addr *out, __be32 tail)
{
	*out = tail;
}

static __always_inline void mesh_addr_hairpin(mesh_addr *out)
{
	*out = bpf_htonl(MESH_HAIRPIN_ADDRESS);
}

static __always_inline int mesh_addr_stands_for_own(const mesh_addr *address)
{
	return *address == bpf_htonl(MESH_OWN_ADDRESS);
}

static __always_inline __u32 mesh_hash_of_client(const mesh_addr *client)
{
	return mesh_client_hash(bpf_ntohl(*client));
}

static __always_inline __u32 mesh_hash_of_holder(const mesh_addr *holder, int outside)
{
	return mesh_hash_add(0, bpf_ntohl(*holder));
}

static __always_inline __u32 mesh_hash_of_flow(const mesh_addr *client, const mesh_addr *vip,
					       __be16 client_port, __be16 port, __u8 proto)
{
	return mesh_flow_hash(bpf_ntohl(*client), bpf_ntohl(*vip), bpf_ntohs(client_port),
			      bpf_ntohs(port), proto);
}

static __always_inline __u64 mesh_csum_replace_addr(const mesh_addr *from, const mesh_addr *to)
{
	return (__u64)(__u32) ~*from + *to;
}

static __always_inline __u32 mesh_addr_fold(const mesh_addr *address)
{
	return *address;
}

/* 224.0.0.0/3: to groups and to everybody. */
static __always_inline int mesh_addr_is_group(const mesh_addr *address)
{
	return (*address & bpf_htonl(0xe0000000)) == bpf_htonl(0xe0000000);
}

#endif

/* Whether the packet is of the other family, whose program stands behind this one at its hook. */
static __always_inline int mesh_is_of_other_family(const struct __sk_buff *skb)
{
#ifdef MESH_IPV6
	return 0; /* it stands before this one */
#else
	return skb->protocol == bpf_htons(ETH_P_IPV6) && mesh_config.ipv6;
#endif
}

/* Headers stand at fixed places: packets with IP options are refused. */
#define MESH_L3_OFFSET ((int)sizeof(struct ethhdr))
#define MESH_L4_OFFSET (MESH_L3_OFFSET + MESH_IP_HEADER_SIZE)

/* After the renames: the life of the flows of this family. */
#include "mesh/shared/flow_state.h"
