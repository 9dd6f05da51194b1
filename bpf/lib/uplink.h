/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way of a packet that comes from outside the cluster. */
#pragma once

#include "lib/arp.h"
#include "lib/forward.h"

static __always_inline int mesh_uplink_receive(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex, .origin = MESH_ORIGIN_UPLINK};

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return mesh_arp_answer(skb);
	if (skb->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_OK;
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}
