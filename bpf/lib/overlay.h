/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way of a packet that another node has sent; its tunnel key is at hand. */
#pragma once

#include "lib/forward.h"

static __always_inline int mesh_overlay_receive(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex, .origin = MESH_ORIGIN_OVERLAY};
	struct bpf_tunnel_key tunnel = {};

	if (skb->protocol != bpf_htons(ETH_P_IP))
		return mesh_drop(skb, MESH_REASON_UNSUPPORTED, MESH_DIRECTION_INGRESS);
	if (bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel), 0))
		return mesh_drop(skb, MESH_REASON_UNKNOWN_PEER, MESH_DIRECTION_INGRESS);
	source.peer = bpf_htonl(tunnel.remote_ipv4);
	source.identity = tunnel.tunnel_id & MESH_VNI_IDENTITY_MASK;
	source.through_service = !!(tunnel.tunnel_id & MESH_VNI_SERVICE);
	if (source.through_service) {
		void *data = (void *)(long)skb->data;
		struct ethhdr *eth = data;

		if ((void *)(eth + 1) > (void *)(long)skb->data_end)
			return mesh_drop(skb, MESH_REASON_INVALID, MESH_DIRECTION_INGRESS);
		source.service_identity = (__u32)eth->h_source[2] << 24 | eth->h_source[3] << 16 |
					  eth->h_source[4] << 8 | eth->h_source[5];
		if (source.identity == MESH_IDENTITY_WORLD_DIRECT) {
			source.identity = MESH_IDENTITY_WORLD;
			__builtin_memcpy(&source.backend_ip, eth->h_dest, 4);
			__builtin_memcpy(&source.backend_port, eth->h_dest + 4, 2);
		}
	}
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}
