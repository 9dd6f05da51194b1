// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hook: XDP (native) of the uplink. Fires for every frame that the node receives. Verdicts: TX for
 * packets of established flows from outside to pods of other nodes, encapsulated; PASS for
 * everything else, which is left as it is for mesh_uplink and the kernel. Reads mesh_state; writes
 * mesh_flow, mesh_metrics. Kernel 6.1.
 *
 * An interface has one program of XDP. So both families are one, linked of two objects: that of
 * IPv4 asks what it does not know itself of that of IPv6, which is a function.
 */
#include "lib/direct.h"

#ifdef MESH_IPV6

__hidden int mesh_direct6(struct xdp_md *ctx)
{
	return mesh_direct_forward(ctx);
}

#else

SEC("xdp")
int mesh_uplink_xdp(struct xdp_md *ctx)
{
	return mesh_direct_forward(ctx);
}

#endif

char _license[] SEC("license") = "Dual BSD/GPL";
