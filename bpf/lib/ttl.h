/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a router owes to the packets it passes on: one off the time to live, and no surprise about
 * their length. */
#pragma once

#include "lib/family.h"
#include "lib/flow.h"
#include "lib/open.h"
#include "lib/packet.h"

/*
 * Whether this node counts as a router on the packet's way. It is counted where the packet comes in
 * from a pod or from outside; the other end of the tunnel is the same router, and what the node
 * itself sends or receives is not passed on.
 */
static __always_inline int mesh_is_routed(const struct mesh_source *source,
					  const struct mesh_flow_value *flow)
{
	return mesh_origin(source) != MESH_ORIGIN_OVERLAY &&
	       mesh_origin(source) != MESH_ORIGIN_NODE && flow->target != MESH_TARGET_HOST;
}

/* Length of the longest IP packet that `skb` becomes on the wire. */
static __always_inline __u32 mesh_wire_length(struct __sk_buff *skb,
					      const struct mesh_packet *packet)
{
	__u32 segment = skb->gso_size;
	__u8 word;

	if (!segment)
		return skb->len - ETH_HLEN;
	if (packet->key.proto == IPPROTO_UDP)
		return MESH_IP_HEADER_SIZE + sizeof(struct udphdr) + segment;
	if (bpf_skb_load_bytes(skb, MESH_L4_OFFSET + 12, &word, 1))
		return 0;
	return MESH_IP_HEADER_SIZE + (word >> 4) * 4 + segment;
}

/* Before anything of the packet is changed, because the sender must know it again. */
static __always_inline int mesh_road_check(struct __sk_buff *skb, const struct mesh_packet *packet,
					   const struct mesh_source *source,
					   const struct mesh_flow_value *flow)
{
	__u32 longest =
		flow->target == MESH_TARGET_DIRECT ? mesh_config.tunnel_mtu : mesh_config.pod_mtu;

	if (unlikely(packet->ttl <= 1) && mesh_is_routed(source, flow))
		return MESH_REASON_TTL;
	if (unlikely(skb->len > longest + ETH_HLEN) && packet->dont_fragment &&
	    (flow->target == MESH_TARGET_TUNNEL || flow->target == MESH_TARGET_DIRECT ||
	     flow->target == MESH_TARGET_NODE || flow->target == MESH_TARGET_POD_SHAPED) &&
	    mesh_wire_length(skb, packet) > longest)
		return MESH_REASON_TOO_BIG;
	return 0;
}
