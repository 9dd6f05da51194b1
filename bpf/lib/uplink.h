/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way of a packet that comes from outside the cluster. */
#pragma once

#include "lib/forward.h"
#ifdef MESH_IPV6
#include "lib/nd.h"
#else
#include "lib/arp.h"
#endif

static __always_inline int mesh_uplink_receive(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex, .origin = MESH_ORIGIN_UPLINK};

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
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}
