// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hook: tc ingress of mesh_vxlan (metadata mode). Fires for every packet of another node,
 * decapsulated; the VNI carries the identity of its source. Verdicts: redirect to a pod of this
 * node or to the node; SHOT with a counted reason. Reads mesh_endpoint, mesh_tunnel,
 * mesh_namespace, mesh_backend, mesh_state; writes mesh_flow, mesh_metrics. Kernel 6.1.
 */
#include "lib/forward.h"

SEC("tc")
int mesh_overlay(struct __sk_buff *skb)
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
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
