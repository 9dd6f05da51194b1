// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hook: tc ingress of a pod's host-side veth. Fires for every packet a pod sends.
 * Verdicts: redirect to a pod of this node, to the overlay or to the node; OK (the node's routing)
 * for destinations outside the cluster; SHOT with a counted reason. Reads mesh_service,
 * mesh_svc_slot, mesh_backend, mesh_endpoint, mesh_tunnel, mesh_namespace, mesh_state; writes
 * mesh_flow, mesh_metrics. Kernel 6.1.
 */
#define MESH_ORIGIN MESH_ORIGIN_POD
#include "lib/forward.h"

SEC("tc")
int mesh_from_pod(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex};

	if (skb->protocol == bpf_htons(ETH_P_ARP))
		return TC_ACT_OK; /* the node answers for its gateway address */
	if (mesh_is_of_other_family(skb))
		return TC_ACT_UNSPEC;
	if (skb->protocol != bpf_htons(MESH_ETH_P))
		return mesh_drop(skb, MESH_REASON_UNSUPPORTED, MESH_DIRECTION_EGRESS);
	return mesh_forward(skb, &source, MESH_DIRECTION_EGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
