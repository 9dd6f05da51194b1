// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hook: tc ingress of mesh_net, the far end of mesh_host. Fires for every packet that a process of
 * the node sends to a pod or a Service, and for what the node answers to pods. Verdicts: redirect
 * to a pod of this node or to the overlay; SHOT with a counted reason. Reads and writes what
 * from_pod does. Kernel 6.1.
 */
#define MESH_ORIGIN MESH_ORIGIN_NODE
#include "lib/forward.h"

SEC("tc")
int mesh_node(struct __sk_buff *skb)
{
	struct mesh_source source = {.ifindex = skb->ifindex};

	if (mesh_is_of_other_family(skb))
		return TC_ACT_UNSPEC;
	if (skb->protocol != bpf_htons(MESH_ETH_P))
		return mesh_drop(skb, MESH_REASON_UNSUPPORTED, MESH_DIRECTION_INGRESS);
	return mesh_forward(skb, &source, MESH_DIRECTION_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
