// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hook: tc ingress of mesh_vxlan (metadata mode). Fires for every packet of another node,
 * decapsulated; the VNI carries the identity of its source. Verdicts: redirect to a pod of this
 * node or to the node; SHOT with a counted reason. Reads mesh_endpoint, mesh_tunnel,
 * mesh_namespace, mesh_backend, mesh_state; writes mesh_flow, mesh_metrics. Kernel 6.1.
 */
#include "lib/overlay.h"

SEC("tc")
int mesh_overlay(struct __sk_buff *skb)
{
	return mesh_overlay_receive(skb);
}

char _license[] SEC("license") = "Dual BSD/GPL";
