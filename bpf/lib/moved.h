/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What becomes of a packet whose flow only the programs of before know: see mesh/shared/moving.h.
 */
#pragma once

#include "lib/family.h"
#include "lib/flow.h"
#include "lib/moving.h"

/*
 * Whether the packet begins another flow than the one of before that has its key: that one is over,
 * or closed and this opens. The programs of before would open the new one in their table, with a
 * port that may be taken in ours, and it would not be carried over where its place has been passed
 * already.
 */
__noinline int mesh_moving_ended(const struct mesh_packet *packet)
{
	const struct mesh_flow_value *flow, *partner;
	__u64 now_ns;

	if (mesh_taking_over != MESH_TAKING_OVER_ALIKE || !packet)
		return 0;
	MESH_SCRATCH(scratch, 0);
	MESH_KEY_OF(key, &packet->key, scratch);
	flow = bpf_map_lookup_elem(&mesh_flow_was, key);
	if (!flow)
		return 0;
	MESH_ROOM(struct mesh_flow_key, partner_key, scratch);
	mesh_flow_partner_key(flow, key->proto, partner_key);
	partner = flow;
	if (!(flow->flags & MESH_FLOW_ONE_WAY))
		partner = bpf_map_lookup_elem(&mesh_flow_was, partner_key);
	if (!partner)
		return 0;
	if (mesh_packet_opens(packet) &&
	    (flow->tcp_rst || partner->tcp_rst || (flow->tcp_fin && partner->tcp_fin)))
		return 1;
	/* The other one may be in use in our table already. */
	now_ns = bpf_ktime_get_coarse_ns();
	return !bpf_map_lookup_elem(&mesh_flow, partner_key) &&
	       mesh_flow_expired(key->proto, flow->flags & MESH_FLOW_REPLY ? partner : flow,
				 flow->flags & MESH_FLOW_REPLY ? flow : partner, now_ns);
}

/*
 * For a packet that met no flow (`hook` has the number of its origin): ends with the program that
 * was at `hook` before if that one knows it.
 */
static __always_inline void mesh_moving_flow(struct __sk_buff *skb,
					     const struct mesh_packet *packet, __u32 hook)
{
	if (!mesh_moving_has(&packet->key))
		return;
	if (mesh_taking_over == MESH_TAKING_OVER_ALIKE && mesh_moving_ended(packet))
		return;
	bpf_tail_call(skb, &mesh_turnout, hook);
}
