/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers for the addresses that this node announces; the node itself does not have them. */
#pragma once

#include "lib/common.h"
#include "lib/metrics.h"
#include "lib/outside.h"

/* Ethernet and IPv4, RFC 826. */
struct mesh_arp {
	__be16 hardware, protocol;
	__u8 hardware_length, protocol_length;
	__be16 operation;
	__u8 sender_mac[6];
	__be32 sender;
	__u8 target_mac[6];
	__be32 target;
} __attribute__((packed));

#define MESH_ARP_REQUEST 1
#define MESH_ARP_REPLY	 2

/* Anything but a question about an announced address is the node's. */
static __always_inline int mesh_arp_answer(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct mesh_arp *arp = data + ETH_HLEN;
	__u8 *mac = data;
	__be32 target;

	if ((void *)(arp + 1) > data_end) {
		if (bpf_skb_pull_data(skb, ETH_HLEN + sizeof(*arp)))
			return TC_ACT_OK;
		data = (void *)(long)skb->data;
		data_end = (void *)(long)skb->data_end;
		arp = data + ETH_HLEN;
		mac = data;
		if ((void *)(arp + 1) > data_end)
			return TC_ACT_OK;
	}
	if (arp->hardware != bpf_htons(1) || arp->protocol != bpf_htons(ETH_P_IP) ||
	    arp->hardware_length != ETH_ALEN || arp->protocol_length != 4 ||
	    arp->operation != bpf_htons(MESH_ARP_REQUEST))
		return TC_ACT_OK;
	target = arp->target;
	/* Somebody tells his own address: nothing is asked. */
	if (arp->sender == target || !mesh_is_announced(&target))
		return TC_ACT_OK;
	{
		int i;

		arp->operation = bpf_htons(MESH_ARP_REPLY);
		arp->target = arp->sender;
		arp->sender = target;
		__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
		__builtin_memcpy(mac, arp->sender_mac, ETH_ALEN);
#pragma unroll
		for (i = 0; i < ETH_ALEN; i++) {
			arp->sender_mac[i] = mesh_config.uplink_mac[i];
			mac[ETH_ALEN + i] = mesh_config.uplink_mac[i];
		}
	}
	mesh_count(skb, MESH_REASON_ANSWERED, MESH_DIRECTION_INGRESS);
	return bpf_redirect(skb->ifindex, 0);
}
