/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Neighbour discovery (RFC 4861): answers for the addresses that this node announces; the node
 * itself does not have them. The IPv6 of lib/arp.h.
 */
#pragma once

#include "lib/checksum.h"
#include "lib/family.h"
#include "lib/metrics.h"
#include "lib/outside.h"
#include "lib/packet.h"

#define MESH_ICMP6_SOLICITATION	 135
#define MESH_ICMP6_ADVERTISEMENT 136

/* 4.3 and 4.4, with the one option that goes with each: who has the link-layer address. */
struct mesh_nd {
	__u8 type, code;
	__sum16 checksum;
	__be32 flags; /* of an advertisement */
	struct mesh_in6 target;
	__u8 option, option_length; /* in units of 8 bytes */
	__u8 mac[6];
};
_Static_assert(sizeof(struct mesh_nd) == 32, "RFC 4861, 4.3");

#define MESH_ND_SOURCE_MAC 1
#define MESH_ND_TARGET_MAC 2
#define MESH_ND_SOLICITED  0x40000000
#define MESH_ND_OVERRIDE   0x20000000

/*
 * The solicitation in the packet, when it is a right one of the usual form: from somebody who has
 * an address (not one who looks for others that have the address he is about to take) and tells his
 * link-layer address. NULL: nothing of the sort.
 */
static __always_inline struct mesh_nd *mesh_nd_solicitation(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;
	struct mesh_nd *nd = data + MESH_L4_OFFSET;

	if ((void *)(ip + 1) > data_end || ip->next != IPPROTO_ICMPV6)
		return NULL;
	if ((void *)(nd + 1) > data_end) {
		if (skb->len < MESH_L4_OFFSET + sizeof(*nd) ||
		    bpf_skb_pull_data(skb, MESH_L4_OFFSET + sizeof(*nd)))
			return NULL;
		data = (void *)(long)skb->data;
		data_end = (void *)(long)skb->data_end;
		ip = data + MESH_L3_OFFSET;
		nd = data + MESH_L4_OFFSET;
		if ((void *)(nd + 1) > data_end)
			return NULL;
	}
	if (nd->type != MESH_ICMP6_SOLICITATION || nd->code || ip->hop_limit != 255 ||
	    ip->length != bpf_htons(sizeof(*nd)) || nd->option != MESH_ND_SOURCE_MAC ||
	    nd->option_length != 1 || mesh_addr_is_zero(&ip->saddr) ||
	    mesh_addr_is_group(&ip->saddr) || mesh_addr_equal(&ip->saddr, &nd->target))
		return NULL;
	return nd;
}

/* Of the message with both addresses before it, and the rest of the pseudo header. */
static __always_inline __u32 mesh_nd_sum(const struct mesh_ip6 *ip)
{
	const __u16 *half = (const __u16 *)&ip->saddr;
	__u64 sum = bpf_htons(sizeof(struct mesh_nd)) + bpf_htons(IPPROTO_ICMPV6);

#pragma unroll
	for (int i = 0; i < (int)(sizeof(struct mesh_nd) + 32) / 2; i++)
		sum += half[i];
	return mesh_csum_fold32(sum);
}

/* Turns the solicitation into its answer: `mac` has the address. Nonzero: its checksum is wrong. */
static __always_inline int mesh_nd_advertise(struct __sk_buff *skb, const __u8 *mac)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;
	struct mesh_nd *nd = data + MESH_L4_OFFSET;

	if ((void *)(nd + 1) > data_end)
		return -1;
	if (mesh_csum_apply((__sum16)0xffff, mesh_nd_sum(ip)))
		return -1;
	mesh_addr_copy(&ip->daddr, &ip->saddr);
	mesh_addr_copy(&ip->saddr, &nd->target);
	__builtin_memcpy(eth->h_dest, nd->mac, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	nd->type = MESH_ICMP6_ADVERTISEMENT;
	nd->checksum = 0;
	nd->flags = bpf_htonl(MESH_ND_SOLICITED | MESH_ND_OVERRIDE);
	nd->option = MESH_ND_TARGET_MAC;
	__builtin_memcpy(nd->mac, mac, ETH_ALEN);
	nd->checksum = mesh_csum_apply((__sum16)0xffff, mesh_nd_sum(ip));
	return 0;
}

/* The verdict for a question about an announced address; TC_ACT_UNSPEC: it is none. */
static __noinline int mesh_nd_answer(struct __sk_buff *skb)
{
	struct mesh_nd *nd = mesh_nd_solicitation(skb);
	__u8 mac[ETH_ALEN];

	if (!nd || !mesh_is_announced(&nd->target))
		return TC_ACT_UNSPEC;
#pragma unroll
	for (int i = 0; i < ETH_ALEN; i++)
		mac[i] = mesh_config.uplink_mac[i];
	if (mesh_nd_advertise(skb, mac))
		return TC_ACT_OK;
	mesh_count(skb, MESH_REASON_ANSWERED, MESH_DIRECTION_INGRESS);
	return bpf_redirect(skb->ifindex, 0);
}
