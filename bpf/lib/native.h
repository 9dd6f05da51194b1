/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Native routing: packets between pods of two nodes go by the link that the nodes share, as they
 * are. Whose they are is looked up (mesh_identity), and one bit of the IP header tells that the
 * sending node has let them through a Service of the receiver's own namespace. Included by
 * lib/resolve.h.
 */
#pragma once

/*
 * Finds out whether a packet that came by the uplink is another node's, for a pod or process of
 * this one; an error may be any router's and counts to the flow it reports about. Without branches:
 * the verifier would follow each of their ends through the whole pipeline, one after the other.
 */
static MESH_FRAME void mesh_native_source(const struct mesh_packet *packet,
					  struct mesh_source *source)
{
	__u32 elsewhere, native, mask;

	if (!MESH_IS_NATIVE)
		return;
	elsewhere = mesh_outside_own(&packet->key.saddr, cluster) |
		    mesh_outside_own(&packet->key.daddr, pod);
	native = ((__u64)elsewhere - 1) >> 63;
	mask = mesh_mask_of(native);
	source->native = native;
	source->through_service = packet->marked & mask;
}

static __always_inline void mesh_native_receiver(const mesh_addr *ip,
						 struct mesh_receiver *receiver)
{
	struct mesh_identity_value *known = mesh_identity_find(ip);

	if (!known)
		return;
	receiver->identity = known->identity;
	receiver->ns = known->ns ? known->ns : known->identity;
}

/* Writes that packets go to the node that has the pod `ip`. Returns 0 or a reason. */
static __always_inline int mesh_native_target(const mesh_addr *ip, struct mesh_flow_value *flow)
{
	struct mesh_tunnel_value *hop = mesh_tunnel_find(ip);

	if (!hop)
		return MESH_REASON_NO_TUNNEL;
	flow->target = MESH_TARGET_NODE;
	flow->out_ifindex = mesh_config.uplink_ifindex;
	flow->out_peer = hop->node_ip;
#ifdef MESH_IPV6
	flow->next_hop = hop->node_ip6;
	if (mesh_addr_is_zero(&flow->next_hop))
		return MESH_REASON_NO_TUNNEL;
#endif
	return 0;
}

/*
 * Judges, for the node that has the destination (the pod `receiver`), whether a flow comes
 * through a Service of the destination's own namespace: what that node would compare is not in the
 * packet. Where nobody has told yet whose the pod is, the packet waits for another try.
 */
static __always_inline int mesh_native_judge(struct mesh_flow_value *flow,
					     const struct mesh_receiver *receiver)
{
	const __u8 *mac = flow->source_mac;
	__u32 service_identity;

	if (!MESH_IS_NATIVE || flow->target != MESH_TARGET_NODE || !mac[0] ||
	    flow->flags & MESH_FLOW_REPLY)
		return 0;
	if (!receiver->identity)
		return MESH_REASON_UNKNOWN_IDENTITY;
	service_identity = (__u32)mac[2] << 24 | (__u32)mac[3] << 16 | (__u32)mac[4] << 8 | mac[5];
	if (service_identity == receiver->ns)
		flow->flags |= MESH_FLOW_SERVICE;
	else
		flow->flags &= ~MESH_FLOW_SERVICE;
	return 0;
}

/* Whether a packet is to tell that it comes through such a Service: each that may begin a flow. */
static __always_inline int mesh_native_marks(const struct mesh_packet *packet,
					     const struct mesh_flow_value *flow)
{
	return flow->target == MESH_TARGET_NODE &&
	       (flow->flags & (MESH_FLOW_SERVICE | MESH_FLOW_REPLY)) == MESH_FLOW_SERVICE &&
	       !packet->icmp_error &&
	       (packet->key.proto != IPPROTO_TCP || mesh_packet_opens(packet));
}

/*
 * Sends a packet to a node. The hop is named: the node's own routes to pods lead to mesh_host.
 */
static __always_inline int mesh_native_send(const struct mesh_flow_value *flow)
{
	struct bpf_redir_neigh hop = {.nh_family = MESH_AF};

#ifdef MESH_IPV6
	__builtin_memcpy(hop.ipv6_nh, &flow->next_hop, sizeof(hop.ipv6_nh));
#else
	hop.ipv4_nh = flow->out_peer;
#endif
	return bpf_redirect_neigh(mesh_config.uplink_ifindex, &hop, sizeof(hop), 0);
}
