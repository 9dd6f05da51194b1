/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packets to other nodes, put into the tunnel by the program: straight to the uplink instead of
 * through mesh_vxlan and the node's whole output path. What it cannot do is left to that way: no
 * uplink, a next hop that is not known yet, a packet that has to be cut, one that is in a tunnel
 * already.
 */
#pragma once

#include "lib/family.h"
#include "lib/flow.h"
#include "lib/metrics.h"
#include "lib/open.h"
#include "lib/outer.h"
#include "lib/ttl.h"

#define MESH_ENCAP_LEFT -1 /* to the kernel's tunnel; the packet is unchanged */

/*
 * So that a packet which is to be segmented, here or by the card, is known as one of a tunnel. Its
 * segments keep their length: the pods' MTU leaves room for the headers.
 */
#define MESH_ENCAP_FLAGS                                                                           \
	(BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_ENCAP_L4_UDP |   \
	 BPF_F_ADJ_ROOM_ENCAP_L2(ETH_HLEN) | BPF_F_ADJ_ROOM_ENCAP_L2_ETH)

/*
 * Whether this program knows who takes packets to the flow's node. Asks with the first packet of a
 * second; that one goes by the kernel, which looks after its neighbours only when it uses them.
 */
static __always_inline int mesh_next_hop_known(struct __sk_buff *skb, int first_of_second,
					       struct mesh_flow_value *flow)
{
	struct mesh_scratch_value *scratch;
	__u32 zero = 0;

	if (!mesh_config.uplink_ifindex)
		return 0;
	if (unlikely(first_of_second || mesh_next_hop_unknown(flow))) {
		scratch = bpf_map_lookup_elem(&mesh_scratch, &zero);
		if (scratch)
			mesh_next_hop_learn(skb, flow, &scratch->fib);
		return 0;
	}
	return 1;
}

/* Whether this program may write the headers. */
static __always_inline int mesh_encap_may(struct __sk_buff *skb, const struct mesh_packet *packet,
					  struct mesh_flow_value *flow)
{
	if (!mesh_next_hop_known(skb, packet->first_of_second, flow))
		return 0;
	if (likely(skb->len <= mesh_config.tunnel_mtu + ETH_HLEN))
		return 1;
	/* One that may be cut, by the sender's leave, is cut by the kernel. */
	return skb->len + MESH_OUTER_SIZE - ETH_HLEN <= 0xffff &&
	       mesh_wire_length(skb, packet) <= mesh_config.tunnel_mtu;
}

/* Returns the program's verdict, or MESH_ENCAP_LEFT. */
static MESH_FRAME int mesh_encap(struct __sk_buff *skb, const struct mesh_packet *packet,
				 struct mesh_flow_value *flow, __u32 direction)
{
	void *data, *data_end;
	__u32 inner_length = skb->len;
	__u32 *from, *to;

	if (!mesh_encap_may(skb, packet, flow))
		return MESH_ENCAP_LEFT;
	if (bpf_skb_adjust_room(skb, MESH_OUTER_SIZE, BPF_ADJ_ROOM_MAC, MESH_ENCAP_FLAGS))
		return MESH_ENCAP_LEFT;
	data = (void *)(long)skb->data;
	data_end = (void *)(long)skb->data_end;
	if (data + MESH_OUTER_SIZE + ETH_HLEN > data_end) {
		mesh_count(skb, MESH_REASON_KERNEL, direction);
		return TC_ACT_SHOT;
	}
	/* The room is behind the packet's own addresses, which belong behind the room. */
	from = data;
	to = data + MESH_OUTER_SIZE;
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	*(__u16 *)(to + 3) = *(__u16 *)(from + 3);
	mesh_outer_write(data, flow, inner_length, packet->tos);
	MESH_NOTE(ENCAPSULATED, 0, 0, 0);
	mesh_count_bytes(MESH_REASON_FORWARDED, direction, inner_length);
	return bpf_redirect(mesh_config.uplink_ifindex, 0);
}
