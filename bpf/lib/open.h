/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path: the first packet of a flow, and the first after something has changed. Everything
 * that is decided here is kept in the flow's two entries; lib/forward.h only carries it out.
 */
#pragma once

#include "lib/enter.h"
#include "lib/event.h"
#include "lib/family.h"
#include "lib/flow.h"
#include "lib/judge.h"
#include "lib/packet.h"
#include "lib/resolve.h"
#include "lib/scratch.h"
#include "lib/select.h"
#include "lib/socket.h"
#include "lib/state.h"

/*
 * Whether the Service that a flow came through is of the namespace of the pod it goes to (`ns`).
 * Hand-written endpoints may name any address; they open no way into another namespace. Host ports
 * (0) are made from the pods themselves, on their own node.
 */
static __always_inline int mesh_own_service(const struct mesh_source *source,
					    __u32 service_identity, __u32 ns)
{
	if ((MESH_IS_NATIVE && source->native) ||
	    (!service_identity && mesh_origin(source) != MESH_ORIGIN_OVERLAY))
		return 1;
	return service_identity == ns;
}

/* Of this node, or of another one that says so. */
static __always_inline int mesh_source_is_pod(const struct mesh_source *source)
{
	return mesh_origin(source) == MESH_ORIGIN_POD ||
	       (mesh_origin(source) == MESH_ORIGIN_OVERLAY &&
		source->identity >= MESH_IDENTITY_UNMANAGED &&
		source->identity != MESH_IDENTITY_WORLD_DIRECT);
}

/* Whether policies speak about what the sender sends. */
static __always_inline int mesh_is_restricted(const struct mesh_source *source,
					      const struct mesh_scratch_value *scratch)
{
	return mesh_origin(source) == MESH_ORIGIN_POD && scratch->sender.egress;
}

/* Whether isolation admits the sender without being asked: most flows stay in their namespace. */
static __always_inline int mesh_is_of(const struct mesh_source *source,
				      const struct mesh_scratch_value *scratch,
				      const struct mesh_receiver *whose)
{
	if (source->identity == whose->identity)
		return 1;
	/* Of others mesh_pod_ns knows the namespace. */
	return mesh_origin(source) == MESH_ORIGIN_POD && scratch->sender.ns &&
	       scratch->sender.ns == whose->ns;
}

/* Describes a flow of `source` for mesh_judge_flow(). */
static __always_inline void mesh_describe(struct mesh_scratch_value *scratch,
					  const struct mesh_source *source,
					  const struct mesh_flow_key *key,
					  const struct mesh_flow_value *flow)
{
	struct mesh_judged *judged = &scratch->judged;

	judged->client = key->saddr;
	mesh_flow_server(flow, &judged->server);
	judged->facts = 0;
	if (mesh_is_restricted(source, scratch))
		judged->facts |= MESH_JUDGED_FROM_POD;
	if (mesh_origin(source) == MESH_ORIGIN_NODE && source->identity == MESH_IDENTITY_HOST)
		judged->facts |= MESH_JUDGED_FROM_NODE;
	if (flow->target == MESH_TARGET_HOST)
		judged->facts |= MESH_JUDGED_TO_NODE;
	if (flow->flags & MESH_FLOW_SERVICE)
		judged->facts |= MESH_JUDGED_SERVICE;
	judged->identity = source->identity;
	mesh_judged_port(judged, key->proto, flow->dport);
}

/* The same of the flow `asked` whose answer comes with `key`, which met the entry `answer`. */
static __always_inline void mesh_describe_answered(struct mesh_scratch_value *scratch,
						   const struct mesh_source *source,
						   const struct mesh_flow_key *key,
						   const struct mesh_flow_value *answer,
						   const struct mesh_flow_value *asked)
{
	struct mesh_judged *judged = &scratch->judged;

	judged->client = answer->daddr;
	judged->server = key->saddr;
	judged->facts = 0;
	if (answer->target == MESH_TARGET_POD || answer->target == MESH_TARGET_POD_SHAPED)
		judged->facts |= MESH_JUDGED_FROM_POD;
	if (answer->target == MESH_TARGET_HOST && asked->identity == MESH_IDENTITY_HOST)
		judged->facts |= MESH_JUDGED_FROM_NODE;
	if (mesh_origin(source) == MESH_ORIGIN_NODE)
		judged->facts |= MESH_JUDGED_TO_NODE;
	if (answer->flags & MESH_FLOW_SERVICE)
		judged->facts |= MESH_JUDGED_SERVICE;
	judged->identity = asked->identity;
	mesh_judged_port(judged, key->proto, key->sport);
}

/* The entry of the answers to `flow`, which comes with `key`. */
static __always_inline void mesh_flow_answer(const struct mesh_flow_key *key,
					     const struct mesh_source *source,
					     const struct mesh_flow_value *flow, __u32 identity,
					     struct mesh_flow_value *out)
{
	struct mesh_flow_key out_key;

	__builtin_memset(out, 0, sizeof(*out));
	out->saddr = key->daddr;
	out->daddr = key->saddr;
	out->sport = key->dport;
	out->dport = key->sport;
	mesh_flow_partner_key(flow, key->proto, &out_key);
	mesh_flow_set_diffs(&out_key, out);
	out->generation = flow->generation;
	out->flags = MESH_FLOW_REPLY | flow->flags;
	out->service_id = flow->service_id;
	out->backend_id = flow->backend_id;
	out->owner = flow->owner;
	/* To the nanosecond: mesh_traffic_answered(). */
	out->last_seen_ns = flow->service_id ? bpf_ktime_get_ns() : flow->last_seen_ns;
	out->last_tick = flow->last_tick;

	switch (flow->target) {
	case MESH_TARGET_TUNNEL:
		out->in_ifindex = mesh_config.vxlan_ifindex;
		out->in_peer = flow->out_peer;
		break;
	case MESH_TARGET_HOST:
		out->in_ifindex = mesh_config.net_ifindex;
		break;
	default: /* a pod, or the uplink */
		out->in_ifindex = flow->out_ifindex;
	}
	out->vni = flow->target == MESH_TARGET_POD ? identity : MESH_IDENTITY_HOST;
}

/* Where answers go: back to the sender. `sender` is its row if it is a pod of this node. */
static __always_inline void mesh_flow_return(const struct mesh_source *source,
					     const struct mesh_endpoint_value *sender,
					     struct mesh_flow_value *out)
{
	if (mesh_source_is_outside(source)) {
		out->target = MESH_TARGET_UPLINK;
		out->out_ifindex = mesh_config.uplink_ifindex;
		return;
	}
	if (MESH_IS_NATIVE && source->native) {
		/* Its node is known: mesh_source_check(). */
		mesh_native_target(&out->daddr, out);
		return;
	}
	if (mesh_origin(source) == MESH_ORIGIN_OVERLAY) {
		out->target = MESH_TARGET_TUNNEL;
		out->out_ifindex = mesh_config.vxlan_ifindex;
		out->out_peer = source->peer;
		return;
	}
	if (mesh_origin(source) == MESH_ORIGIN_NODE) {
		mesh_target_host(out);
		return;
	}
	out->target = MESH_TARGET_POD;
	out->out_ifindex = source->ifindex;
	__builtin_memcpy(out->destination_mac, sender->pod_mac, 6);
	__builtin_memcpy(out->source_mac, sender->host_mac, 6);
	mesh_target_shaped(out, sender->flags);
}

/*
 * Tells the node of the backend through whose Service a packet came: only it knows for sure which
 * namespace the pod at that address belongs to. Read in lib/overlay.h.
 */
static __always_inline void mesh_service_mac(struct mesh_flow_value *flow, __u32 identity)
{
	flow->source_mac[0] = 2; /* locally administered */
	flow->source_mac[1] = 0;
	flow->source_mac[2] = identity >> 24;
	flow->source_mac[3] = identity >> 16;
	flow->source_mac[4] = identity >> 8;
	flow->source_mac[5] = identity;
	flow->destination_mac[0] = 2;
}

/*
 * Whether a node may take up a connection that another node has received until now, because the
 * address moved: both choose the same backend, which still knows it and answers the client itself.
 */
static __always_inline int mesh_may_take_up(const struct mesh_source *source,
					    const struct mesh_selection *selection)
{
	return mesh_origin(source) == MESH_ORIGIN_UPLINK && selection->maglev &&
	       selection->flags & MESH_SERVICE_DIRECT_RETURN;
}

/* Gives a flow a port at the address of this node to which its answers must come back. */
static __always_inline void mesh_flow_masquerade(const struct mesh_flow_key *key,
						 struct mesh_flow_value *flow)
{
	flow->flags |= MESH_FLOW_MASQUERADED;
	mesh_flow_draw_port(key, flow);
}

/* What becomes of the source of a resolved flow. */
static __always_inline void mesh_flow_leave(const struct mesh_source *source,
					    const struct mesh_selection *selection,
					    const struct mesh_flow_key *key,
					    struct mesh_flow_value *flow)
{
	__be32 tail;

	if (flow->target == MESH_TARGET_UPLINK) {
		/*
		 * Not to another node, whatever the ranges: its routes lead answers to a pod's
		 * address into its mesh_host, where nobody has asked.
		 */
		if (mesh_origin(source) != MESH_ORIGIN_POD ||
		    !mesh_is_not_masqueraded(&flow->daddr) || mesh_is_node(&flow->daddr)) {
			mesh_copy_own(&flow->saddr, node_ip);
			mesh_flow_masquerade(key, flow);
		}
		return;
	}
	if (flow->target == MESH_TARGET_HOST && (mesh_origin(source) == MESH_ORIGIN_UPLINK ||
						 mesh_origin(source) == MESH_ORIGIN_NODE)) {
		/*
		 * Its answer must come by mesh_host, also when the node answers itself. The node's
		 * own processes keep their ports, apart from those that clients outside draw.
		 */
		mesh_addr_hairpin(&flow->saddr);
		if (mesh_origin(source) == MESH_ORIGIN_UPLINK)
			mesh_flow_masquerade(key, flow);
		return;
	}
	if (mesh_origin(source) != MESH_ORIGIN_UPLINK)
		return;
	if (flow->target != MESH_TARGET_TUNNEL && flow->target != MESH_TARGET_NODE)
		return;
	/* A node cannot be sent an answer to itself by another one. */
	if (!(selection->flags & MESH_SERVICE_DIRECT_RETURN) || mesh_is_node(&key->saddr)) {
		mesh_copy_own(&flow->saddr, gateway);
		mesh_flow_masquerade(key, flow);
		return;
	}
	flow->target = MESH_TARGET_DIRECT;
	flow->out_ifindex = mesh_config.vxlan_ifindex;
	flow->flags |= MESH_FLOW_ONE_WAY;
	tail = mesh_addr_tail(&flow->daddr);
	__builtin_memcpy(flow->destination_mac, &tail, 4);
#ifdef MESH_IPV6
	flow->next_hop = flow->daddr;
#endif
	__builtin_memcpy(flow->destination_mac + 4, &flow->dport, 2);
	flow->daddr = key->daddr;
	flow->dport = key->dport;
}

/* Makes the entries of a flow (`flow` and `answer` of mesh_scratch). Returns 0 or a reason. */
__noinline int mesh_flow_begin(struct __sk_buff *ctx, const struct mesh_packet *packet,
			       const struct mesh_source *source)
{
	struct mesh_scratch_value *scratch = mesh_scratch_get();
	const struct mesh_endpoint_value *receiver;
	struct mesh_flow_value *flow;
	__u32 receiver_flags, receiver_ingress, service_identity;
	struct mesh_receiver whose;
	int reason, service = 0;

	/* Also of the origin that has no use for it: the verifier wants the context given. */
	asm volatile("" : : "r"(ctx));
	if (!packet || !source || !scratch)
		return MESH_REASON_KERNEL;
	service_identity = source->service_identity;
	MESH_KEY_OF(key, &packet->key, scratch);
	if (packet->icmp_error || (key->proto == MESH_IPPROTO_ICMP && !key->sport))
		return mesh_origin(source) == MESH_ORIGIN_UPLINK ? MESH_REASON_TO_STACK
								 : MESH_REASON_NO_FLOW;
	/* From outside also what opens nothing may dial a frontend: else it is the node's own. */
	if (key->proto == IPPROTO_TCP && !mesh_packet_opens(packet) &&
	    mesh_origin(source) != MESH_ORIGIN_UPLINK)
		return MESH_REASON_NO_FLOW;
	MESH_ROOM(struct mesh_dial, dial, scratch);
	MESH_ROOM(struct mesh_selection, selection, scratch);
	__builtin_memset(selection, 0, sizeof(*selection));
	if (mesh_origin(source) != MESH_ORIGIN_OVERLAY &&
	    mesh_dials(key, mesh_origin(source) == MESH_ORIGIN_UPLINK,
		       mesh_origin(source) == MESH_ORIGIN_NODE, dial)) {
		reason = mesh_service_select(dial, selection);
		if (reason && reason != MESH_REASON_NO_SERVICE)
			return reason;
		service = !reason;
	}
	/* Nobody else would tell the sender: no stack has the address. */
	if (mesh_origin(source) != MESH_ORIGIN_OVERLAY && !service &&
	    key->proto != MESH_IPPROTO_ICMP && mesh_is_announced(&key->daddr))
		return MESH_REASON_NO_SERVICE;
	if (mesh_origin(source) == MESH_ORIGIN_UPLINK) {
		if (!service)
			return MESH_REASON_TO_STACK;
		if (key->proto == IPPROTO_TCP && !mesh_packet_opens(packet) &&
		    !mesh_may_take_up(source, selection))
			return MESH_REASON_NO_FLOW;
	}

	flow = &scratch->flow;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->saddr = key->saddr;
	flow->daddr = key->daddr;
	flow->sport = key->sport;
	flow->dport = key->dport;
	flow->in_ifindex = source->ifindex;
	flow->in_peer = source->peer;
	flow->identity = source->identity;
	flow->generation = mesh_generation();
	flow->last_seen_ns = bpf_ktime_get_coarse_ns();
	flow->last_tick = bpf_jiffies64();
	if (source->through_service)
		flow->flags |= MESH_FLOW_SERVICE;
	if (mesh_source_is_outside(source))
		flow->flags |= MESH_FLOW_OUTSIDE;

	if (mesh_source_backend(source)) {
		mesh_addr_of_pod(&flow->daddr, mesh_source_backend(source));
		flow->dport = source->backend_port;
	}
	if (service) {
		service_identity = selection->identity;
		flow->daddr = selection->ip;
		flow->dport = selection->port;
		flow->service_id = selection->service_id;
		flow->backend_id = selection->backend_id;
		flow->flags |= MESH_FLOW_SERVICE;
		if (selection->counted)
			flow->flags |= MESH_FLOW_COUNTED;
		if (mesh_addr_equal(&flow->daddr, &flow->saddr))
			mesh_addr_hairpin(&flow->saddr);
	}
	/* Answers to the uplink's address would not come back through the overlay. */
	if (mesh_origin(source) == MESH_ORIGIN_NODE && source->identity == MESH_IDENTITY_HOST)
		mesh_copy_own(&flow->saddr, gateway);

	reason = mesh_resolve(source, flow, &whose, &receiver);
	receiver_flags = receiver ? receiver->flags : 0;
	receiver_ingress = receiver ? receiver->ingress : 0;
	if (reason == MESH_REASON_TO_STACK) {
		/* The node's routes lead here only for addresses of Services. */
		if (mesh_origin(source) == MESH_ORIGIN_NODE && !service)
			return MESH_REASON_NO_SERVICE;
		reason = mesh_resolve_outside(ctx, flow, &scratch->fib);
		/* The node's routing would see the Service's address, not the backend's. */
		if (reason == MESH_REASON_TO_STACK && service)
			return MESH_REASON_NO_ENDPOINT;
		if (mesh_enters_tunnel(key->proto, flow->dport, &flow->daddr))
			return MESH_REASON_UNKNOWN_PEER;
		/* Policies hold by whatever way it goes. */
		if (reason == MESH_REASON_TO_STACK && mesh_is_restricted(source, scratch)) {
			mesh_describe(scratch, source, key, flow);
			if (mesh_judge_flow())
				return MESH_REASON_POLICY_EGRESS;
		}
	}
	if (reason)
		return reason;
	if (flow->target == MESH_TARGET_POD &&
	    !mesh_own_service(source, service_identity, whose.ns))
		flow->flags &= ~MESH_FLOW_SERVICE;
	if ((flow->target == MESH_TARGET_TUNNEL || flow->target == MESH_TARGET_NODE) &&
	    flow->flags & MESH_FLOW_SERVICE)
		mesh_service_mac(flow, service_identity);
	if (mesh_is_restricted(source, scratch) ||
	    (flow->target == MESH_TARGET_POD &&
	     (receiver_ingress || !mesh_is_of(source, scratch, &whose)))) {
		mesh_describe(scratch, source, key, flow);
		reason = mesh_judge_flow();
		if (reason)
			return reason;
	}
	flow->owner = mesh_source_is_pod(source)	? key->saddr
		      : flow->target == MESH_TARGET_POD ? flow->daddr
							: (mesh_addr){0};
	mesh_flow_leave(source, selection, key, flow);
	reason = mesh_native_judge(flow, &whose);
	if (reason)
		return reason;
	flow->vni = flow->target == MESH_TARGET_DIRECT ? MESH_IDENTITY_WORLD_DIRECT
						       : source->identity & MESH_VNI_IDENTITY_MASK;
	if (flow->flags & MESH_FLOW_SERVICE)
		flow->vni |= MESH_VNI_SERVICE;
	if (!(flow->flags & MESH_FLOW_ONE_WAY)) {
		mesh_flow_answer(key, source, flow, whose.identity, &scratch->answer);
		if (service && key->proto == IPPROTO_UDP)
			scratch->answer.socket = mesh_socket_of(ctx, mesh_origin(source));
		mesh_flow_return(source, &scratch->sender, &scratch->answer);
		mesh_target_shaped(flow, receiver_flags);
	}
	return 0;
}

/* MESH_BACKEND_* of the backend a flow was given; 0: it is gone from the tables. */
static __always_inline __u8 mesh_flow_backend_state(const struct mesh_flow_value *flow)
{
	struct mesh_backend_value *backend = mesh_backend_lookup(flow->backend_id);
	__be16 port = flow->dport;
	mesh_addr server;

	mesh_flow_server(flow, &server);
	if (flow->target == MESH_TARGET_DIRECT)
		__builtin_memcpy(&port, flow->destination_mac + 4, 2);
	if (!backend || backend->service_id != flow->service_id ||
	    !mesh_addr_equal(&backend->ip, &server) || backend->port != port)
		return 0;
	return backend->state;
}

/* Whether a UDP flow leaves its backend, which drains, with the packet of `socket`. */
static __always_inline int mesh_flow_leaves_backend(const struct mesh_flow_value *flow, __u8 proto,
						    __u32 socket, __u64 now_ns)
{
	const struct mesh_flow_value *partner = mesh_flow_partner(flow, proto);

	return !partner || mesh_flow_ends_with_drain(flow, partner, socket, now_ns);
}

/*
 * Whether a client's packets may come another way than before: the node that receives its address
 * has changed. Not on to another node again, so that no two nodes send a packet to and fro.
 */
static __always_inline int mesh_flow_may_move(const struct mesh_flow_value *flow,
					      const struct mesh_source *source)
{
	return mesh_source_is_outside(source) && (flow->flags & MESH_FLOW_OUTSIDE) &&
	       !(flow->flags & MESH_FLOW_REPLY) &&
	       (mesh_origin(source) == MESH_ORIGIN_UPLINK || flow->target == MESH_TARGET_POD ||
		flow->target == MESH_TARGET_POD_SHAPED);
}

/*
 * Whether the node that receives a client's datagrams names another backend than before: there the
 * flow has begun anew. A TCP connection keeps the one that knows it.
 */
static __always_inline int mesh_server_changed(const struct mesh_source *source, __u8 proto,
					       const struct mesh_flow_value *flow)
{
	return mesh_source_backend(source) && proto == IPPROTO_UDP &&
	       !(flow->flags & MESH_FLOW_REPLY) &&
	       ((mesh_source_backend(source) ^ mesh_addr_tail(&flow->daddr)) |
		(source->backend_port ^ flow->dport));
}

/* Whether a Service has come to where datagrams of a pod or of the node go without one. */
static MESH_FRAME int mesh_is_served_now(const struct mesh_flow_key *key, int of_node,
					 struct mesh_scratch_value *scratch)
{
	MESH_ROOM(struct mesh_dial, dial, scratch);
	MESH_ROOM(struct mesh_service_key, service_key, scratch);
	return mesh_dials(key, 0, of_node, dial) && mesh_frontend_lookup(dial, service_key);
}

/* mesh_flow_judge() decides; the second: it does not come through a Service this time. */
#define MESH_FLOW_JUDGE	       -3
#define MESH_FLOW_JUDGE_DIRECT -4

/* The sender may be of another identity by now; its own node tells the others. */
static __always_inline void mesh_flow_of(const struct mesh_source *source,
					 struct mesh_flow_value *flow)
{
	if (!(flow->flags & MESH_FLOW_REPLY))
		flow->identity = source->identity;
	if (mesh_origin(source) == MESH_ORIGIN_POD)
		flow->vni = (flow->vni & MESH_VNI_SERVICE) |
			    (source->identity & MESH_VNI_IDENTITY_MASK);
}

/*
 * Decides about the entry that `packet` met: keep it (0, MESH_FLOW_JUDGE), begin a new flow
 * (MESH_FLOW_ANEW), begin one in its place (MESH_FLOW_IN_PLACE), or a reason. Deletes it when it is
 * anew or a reason.
 */
__noinline int mesh_flow_review(struct __sk_buff *skb, const struct mesh_packet *packet,
				const struct mesh_source *source)
{
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	__u32 generation = mesh_generation();
	const struct mesh_endpoint_value *receiver;
	struct mesh_flow_value fresh = {}, *flow;
	struct mesh_receiver whose;
	int reason;

	/* Also of the origin that has no use for it: the verifier wants the context given. */
	asm volatile("" : : "r"(skb));
	if (!packet || !source)
		return MESH_REASON_KERNEL;
	MESH_SCRATCH(scratch, MESH_REASON_KERNEL);
	MESH_KEY_OF(key, &packet->key, scratch);
	flow = bpf_map_lookup_elem(&mesh_flow, key);
	if (!flow)
		return MESH_FLOW_ANEW;
	if (flow->in_ifindex != source->ifindex || flow->in_peer != source->peer) {
		if (!mesh_flow_may_move(flow, source))
			goto again; /* of a pod that had this address before */
		flow->in_ifindex = source->ifindex;
		flow->in_peer = source->peer;
	}
	if (packet->icmp_error)
		return 0;
	if (mesh_server_changed(source, key->proto, flow))
		goto again;
	if (mesh_packet_opens(packet) && mesh_flow_has_closed(flow)) {
		if (flow->flags & MESH_FLOW_ONE_WAY)
			goto again;
		return MESH_FLOW_IN_PLACE;
	}
	if (mesh_flow_over(flow, key->proto, now_ns))
		goto again;

	/* They have no SYN that would find it. */
	if ((MESH_ORIGIN == MESH_ORIGIN_POD || MESH_ORIGIN == MESH_ORIGIN_NODE) &&
	    key->proto == IPPROTO_UDP && !(flow->flags & MESH_FLOW_REPLY) && !flow->service_id &&
	    mesh_is_served_now(key, MESH_ORIGIN == MESH_ORIGIN_NODE, scratch))
		goto again;

	if (!(flow->flags & MESH_FLOW_REPLY) && flow->service_id) {
		__u8 state = mesh_flow_backend_state(flow);

		if (!state) {
			if (key->proto == IPPROTO_TCP && !mesh_packet_opens(packet)) {
				mesh_flow_delete(key, flow);
				return MESH_REASON_BACKEND_GONE;
			}
			goto again;
		}
		/*
		 * The connection does not stand yet, and the backend may be dead with its node; or
		 * it may have ended unseen, by the node that answers for the address now.
		 */
		if (state != MESH_BACKEND_ACTIVE && key->proto == IPPROTO_TCP &&
		    mesh_packet_opens(packet) &&
		    (!flow->tcp_data || flow->flags & MESH_FLOW_ONE_WAY))
			goto again;
		/*
		 * Datagrams have no SYN: this may be another client on the same port, and the
		 * backend is about to stop. Until then every packet comes by here.
		 */
		if (state != MESH_BACKEND_ACTIVE && key->proto == IPPROTO_UDP) {
			__u32 socket = mesh_socket_of(skb, mesh_origin(source));

			if (mesh_flow_leaves_backend(flow, key->proto, socket, now_ns))
				goto again;
			generation = flow->generation;
		}
	}
	mesh_flow_server(flow, &fresh.daddr);
	fresh.flags = flow->flags;
	reason = mesh_resolve(source, &fresh, &whose, &receiver);
	if (reason == MESH_REASON_TO_STACK || flow->target == MESH_TARGET_UPLINK) {
		/* Routes outside the cluster are the node's matter. */
		flow->generation = generation;
		return MESH_FLOW_JUDGE;
	}
	if (reason)
		goto end;
	/* A SYN of the overlay says anew how it came. */
	reason = MESH_FLOW_JUDGE;
	if (!(flow->flags & MESH_FLOW_REPLY) && mesh_origin(source) == MESH_ORIGIN_OVERLAY &&
	    mesh_packet_opens(packet) &&
	    (!source->through_service ||
	     (!(MESH_IS_NATIVE && source->native) && source->service_identity != whose.ns)))
		reason = MESH_FLOW_JUDGE_DIRECT;
	/* The place of the same address has changed: its node, or its veth. */
	if (flow->target == MESH_TARGET_DIRECT &&
	    (fresh.target == MESH_TARGET_TUNNEL || fresh.target == MESH_TARGET_NODE)) {
		fresh.target = MESH_TARGET_DIRECT;
		fresh.out_ifindex = flow->out_ifindex;
	}
	mesh_target_shaped(&fresh, receiver ? receiver->flags : 0);
	if (fresh.target != flow->target || fresh.out_ifindex != flow->out_ifindex ||
	    (fresh.out_peer && fresh.out_peer != flow->out_peer))
		goto again;
#ifdef MESH_IPV6
	if (MESH_IS_NATIVE && fresh.target == MESH_TARGET_NODE)
		flow->next_hop = fresh.next_hop;
#endif
	if (mesh_native_judge(flow, &whose)) {
		reason = MESH_REASON_UNKNOWN_IDENTITY;
		goto end;
	}
	mesh_flow_of(source, flow);
	flow->generation = generation;
	return reason;
again:
	reason = MESH_FLOW_ANEW;
end:
	mesh_flow_delete(key, flow);
	return reason;
}

/* With what is told of a drop beside the packet: `flow` of mesh_scratch has both ends. */
static __always_inline int mesh_reason_decided(int reason)
{
	switch (reason) {
	case MESH_REASON_NO_PORT:
	case MESH_REASON_ISOLATION:
	case MESH_REASON_POLICY_INGRESS:
	case MESH_REASON_POLICY_EGRESS:
		return reason | MESH_REASON_DECIDED;
	}
	return reason;
}

/*
 * Judges the flow that `packet` met as if it began now. Answers do so too: what goes one way only
 * is ended by them. Returns 0, or as mesh_flow_open() after deleting it.
 */
__noinline int mesh_flow_judge(const struct mesh_packet *packet, const struct mesh_source *source,
			       int how)
{
	const struct mesh_flow_value *asked;
	struct mesh_flow_value *flow;
	int reason;

	if (!packet || !source)
		return MESH_REASON_KERNEL;
	MESH_SCRATCH(scratch, MESH_REASON_KERNEL);
	MESH_KEY_OF(key, &packet->key, scratch);
	flow = bpf_map_lookup_elem(&mesh_flow, key);
	if (!flow)
		return 0;
	MESH_NOTE(JUDGED, !!(flow->flags & MESH_FLOW_REPLY), 0, 0);
	if (flow->flags & MESH_FLOW_REPLY) {
		asked = mesh_flow_partner(flow, key->proto);
		if (!asked)
			return 0;
		mesh_describe_answered(scratch, source, key, flow, asked);
	} else {
		mesh_describe(scratch, source, key, flow);
		if (how == MESH_FLOW_JUDGE_DIRECT)
			scratch->judged.facts &= ~MESH_JUDGED_SERVICE;
	}
	reason = mesh_judge_flow();
	if (!reason)
		return 0;
	if (!(flow->flags & MESH_FLOW_REPLY)) {
		scratch->flow = *flow;
		reason = mesh_reason_decided(reason);
	}
	mesh_flow_delete(key, flow);
	return reason;
}

/*
 * `met`: the packet met an entry. After this returns 0 the flow of `packet` is in the table and fit
 * to be followed; entries found before may be gone. Else: a reason, with MESH_REASON_DECIDED where
 * `flow` of mesh_scratch is what would have become of it.
 *
 * A global function, as are those that it calls and mesh_refuse(): the verifier checks each once,
 * for all that it may be given, and knows of a call only that it returns a number. So the ways
 * through the slow path are not multiplied with those that lead to it, and the verifier of 6.1,
 * which takes a constant that a caller has left on its stack for the same on all paths when it
 * prunes in a callee, sees no caller's stack. What is given to them must not be a map's key as it
 * is (before 6.2): hence MESH_KEY_OF. This one has nothing on the stack, and each step's frame is
 * gone before the next one.
 */
__noinline int mesh_flow_open(struct __sk_buff *skb, const struct mesh_packet *packet,
			      struct mesh_source *source, int met)
{
	int how = MESH_FLOW_ANEW, reason;

	if (!packet || !source)
		return MESH_REASON_KERNEL;
	reason = mesh_source_check(source, packet);
	MESH_NOTE(SOURCE, source->identity, reason, 0);
	if (reason)
		return reason;
	if (met) {
		how = mesh_flow_review(skb, packet, source);
		MESH_NOTE(REVIEW, how < 0 ? -how : 0, how > 0 ? how : 0, 0);
		if (how == MESH_FLOW_JUDGE || how == MESH_FLOW_JUDGE_DIRECT)
			return mesh_flow_judge(packet, source, how);
		if (how != MESH_FLOW_ANEW && how != MESH_FLOW_IN_PLACE)
			return how;
	}
	reason = mesh_flow_begin(skb, packet, source);
	if (!reason) {
		reason = mesh_flow_enter(&packet->key, how);
		if (!reason)
			mesh_event_open(packet, source);
		return mesh_reason_decided(reason);
	}
	if (how == MESH_FLOW_IN_PLACE)
		mesh_flow_forget(&packet->key);
	return mesh_reason_decided(reason);
}
