/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The way of a packet that another node has sent; its tunnel key is at hand. */
#pragma once

#define MESH_ORIGIN MESH_ORIGIN_OVERLAY
#include "lib/forward.h"

/*
 * What the node of the client tells with the packet. Without branches: the verifier would follow
 * each of their ends through the whole pipeline, one after the other.
 */
static __always_inline void mesh_overlay_source(const struct ethhdr *eth, __u32 vni,
						struct mesh_source *source)
{
	__u32 service = (vni & MESH_VNI_SERVICE) / MESH_VNI_SERVICE;
	__u32 identity = vni & MESH_VNI_IDENTITY_MASK;
	/* 1 when they are equal: only 0 - 1 has the highest bit. */
	__u32 direct = ((identity ^ MESH_IDENTITY_WORLD_DIRECT) - 1) >> 31;
	__u32 service_mask = mesh_mask_of(service);
	__u32 direct_mask = mesh_mask_of(service & direct);
	__u32 backend_ip, service_identity;
	__be16 backend_port;

	__builtin_memcpy(&service_identity, eth->h_source + 2, 4);
	__builtin_memcpy(&backend_ip, eth->h_dest, 4);
	__builtin_memcpy(&backend_port, eth->h_dest + 4, 2);
	source->through_service = service;
	source->service_identity = bpf_ntohl(service_identity) & service_mask;
	source->identity =
		identity ^ ((MESH_IDENTITY_WORLD_DIRECT ^ MESH_IDENTITY_WORLD) & direct_mask);
	source->backend_ip = backend_ip & direct_mask;
	source->backend_port = backend_port & direct_mask;
}

/*
 * The VNI that a packet came with, and the node; below zero: it came by no tunnel, or to another
 * address of this node, where nodes send nothing.
 */
static MESH_FRAME int mesh_tunnel_get(struct __sk_buff *skb, __be32 *peer)
{
	struct bpf_tunnel_key tunnel = {};

#ifdef MESH_TRACE
	/* A packet of a test run cannot have a tunnel's key. */
	*peer = *(volatile __be32 *)&mesh_trace.peer;
	return *(volatile __u32 *)&mesh_trace.vni & 0xffffff;
#endif
	if (bpf_skb_get_tunnel_key(skb, &tunnel, sizeof(tunnel), 0) ||
	    bpf_htonl(tunnel.local_ipv4) != mesh_config.node_ip)
		return -1;
	*peer = bpf_htonl(tunnel.remote_ipv4);
	return tunnel.tunnel_id & 0xffffff;
}

static __always_inline int mesh_overlay_receive(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex};
	struct ethhdr *eth;
	int vni;

	if (mesh_is_of_other_family(skb))
		return TC_ACT_UNSPEC;
	if (skb->protocol != bpf_htons(MESH_ETH_P))
		return mesh_drop(skb, MESH_REASON_UNSUPPORTED, MESH_DIRECTION_INGRESS);
	vni = mesh_tunnel_get(skb, &source.peer);
	if (vni < 0)
		return mesh_drop(skb, MESH_REASON_UNKNOWN_PEER, MESH_DIRECTION_INGRESS);
	eth = (void *)(long)skb->data;
	if ((void *)(eth + 1) > (void *)(long)skb->data_end)
		return mesh_drop(skb, MESH_REASON_INVALID, MESH_DIRECTION_INGRESS);
	mesh_overlay_source(eth, vni, &source);
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}
