// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hook: tc ingress of the uplink, the interface that has the node's address. Fires for every packet
 * that comes to the node. Verdicts: redirect, when the packet belongs to a flow (answers to what
 * pods have sent outside, connections to NodePorts and announced addresses) or begins one, or asks
 * for an announced address; SHOT with a counted reason, when it dials a frontend in vain; OK for
 * everything else, which is the node's own traffic and stays as it is. Reads and writes what
 * from_pod does; reads mesh_announce. Kernel 6.1.
 */
#include "lib/uplink.h"

SEC("tc")
int mesh_uplink(struct __sk_buff *skb)
{
	return mesh_uplink_receive(skb);
}

char _license[] SEC("license") = "Dual BSD/GPL";
