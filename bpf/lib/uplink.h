/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way of a packet that comes from outside the cluster. */
#pragma once

#define MESH_ORIGIN MESH_ORIGIN_UPLINK
#include "lib/forward.h"
#ifdef MESH_IPV6
#include "lib/nd.h"
#else
#include "lib/arp.h"
#endif

/*
 * Why no flow can be made of a packet to an address that this node announces; 0: one can, or it is
 * the node's. Nobody but these programs would tell the sender: the node's stack does not have the
 * address.
 */
static __always_inline int mesh_uplink_refusal(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
#ifdef MESH_IPV6
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;
	mesh_addr *daddr = &ip->daddr;
	__u8 *protocol = &ip->next;
#else
	struct iphdr *ip = data + MESH_L3_OFFSET;
	mesh_addr *daddr = &ip->daddr;
	__u8 *protocol = &ip->protocol;
#endif

	if ((void *)(ip + 1) > data_end)
		return 0;
#ifdef MESH_IPV6
	if (*protocol == IPPROTO_FRAGMENT)
		return 0;
#else
	if (unlikely(ip->ihl != 5))
		return mesh_is_announced(daddr) ? MESH_REASON_UNSUPPORTED : 0;
#endif
	if (likely(*protocol == IPPROTO_TCP || *protocol == IPPROTO_UDP ||
		   *protocol == MESH_IPPROTO_ICMP) ||
	    !mesh_is_announced(daddr))
		return 0;
	return *protocol == IPPROTO_SCTP ? MESH_REASON_SCTP : MESH_REASON_UNSUPPORTED;
}

static __always_inline int mesh_uplink_receive(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex};
	int reason;

#ifdef MESH_IPV6
	int answer = mesh_nd_answer(skb);

	if (answer != TC_ACT_UNSPEC)
		return answer;
#else
	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return mesh_arp_answer(skb);
	if (mesh_is_of_other_family(skb))
		return TC_ACT_UNSPEC;
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
#endif
	reason = mesh_uplink_refusal(skb);
	if (unlikely(reason))
		return mesh_turn_away(skb, &source, reason, MESH_DIRECTION_INGRESS);
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}
