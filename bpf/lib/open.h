/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The slow path: the first packet of a flow, and the first after something has changed. Everything
 * that is decided here is kept in the flow's two entries; lib/forward.h only carries it out.
 */
#pragma once

#include "lib/common.h"
#include "lib/endpoint.h"
#include "lib/flow.h"
#include "lib/isolation.h"
#include "lib/outside.h"
#include "lib/packet.h"
#include "lib/select.h"
#include "lib/state.h"
#include "lib/tunnel.h"

/* Tries to find a source port that the backend does not know yet. */
#define MESH_PORT_TRIES 4
#define MESH_PORT_FIRST 32768
#define MESH_PORT_COUNT 28232

/* An IP header with all its options, and 8 bytes. */
#define MESH_QUOTE_MAX	68
#define MESH_ANSWER_MAX 112

/*
 * The two entries while they are made, and what lib/refuse.h answers: the stack of a program ends
 * at 512 bytes.
 */
struct mesh_scratch_value {
	struct mesh_flow_value flow, answer;
	__u8 answer_frame[MESH_ANSWER_MAX];
	/* ICMP errors of this CPU in this second. */
	__u32 icmp_second, icmp_errors;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mesh_scratch_value);
} mesh_scratch SEC(".maps");

enum mesh_origin {
	MESH_ORIGIN_POD,     /* a pod of this node */
	MESH_ORIGIN_NODE,    /* a process of this node */
	MESH_ORIGIN_OVERLAY, /* another node */
};

/* Who sends. */
struct mesh_source {
	__u32 ifindex;
	__be32 peer; /* MESH_ORIGIN_OVERLAY */
	__u32 identity;
	__u8 origin;
	__u8 through_service; /* MESH_ORIGIN_OVERLAY: told by the VNI */
	__u8 pad0[2];
	__u32 service_identity; /* of that Service's namespace: told by the inner source MAC */
};

/* Checks that the source address belongs to the sender, and learns its identity. */
static __always_inline int mesh_source_check(struct mesh_source *source,
					     const struct mesh_packet *packet)
{
	struct mesh_endpoint_value *endpoint;
	__be32 address = packet->source;

	switch (source->origin) {
	case MESH_ORIGIN_POD:
		endpoint = mesh_endpoint_lookup(address);
		if (!endpoint || endpoint->ifindex != source->ifindex)
			return MESH_REASON_SOURCE_ADDRESS;
		source->identity = endpoint->identity;
		return 0;
	case MESH_ORIGIN_NODE:
		source->identity = address == mesh_config.gateway || address == mesh_config.node_ip
					   ? MESH_IDENTITY_HOST
					   : MESH_IDENTITY_WORLD;
		return 0;
	default:
		if (!source->peer || mesh_tunnel_lookup(address) != source->peer)
			return MESH_REASON_UNKNOWN_PEER;
		return 0;
	}
}

/* Writes where packets to `flow->daddr` go. Returns 0 or a reason. */
static __always_inline int mesh_resolve(const struct mesh_source *source,
					struct mesh_flow_value *flow, __u32 *identity)
{
	struct mesh_endpoint_value *endpoint = mesh_endpoint_lookup(flow->daddr);
	__be32 daddr = flow->daddr;

	*identity = 0;
	if (endpoint) {
		flow->target = MESH_TARGET_POD;
		flow->out_ifindex = endpoint->ifindex;
		__builtin_memcpy(flow->destination_mac, endpoint->pod_mac, 6);
		__builtin_memcpy(flow->source_mac, endpoint->host_mac, 6);
		*identity = endpoint->identity;
		return 0;
	}
	if (daddr == mesh_config.gateway || daddr == mesh_config.node_ip) {
		if (source->origin == MESH_ORIGIN_NODE)
			return MESH_REASON_NO_ENDPOINT;
		flow->target = MESH_TARGET_HOST;
		flow->out_ifindex = mesh_config.host_ifindex;
#pragma unroll
		for (int i = 0; i < 6; i++) {
			flow->destination_mac[i] = mesh_config.host_mac[i];
			flow->source_mac[i] = mesh_config.net_mac[i];
		}
		return 0;
	}
	if (mesh_in_range(daddr, mesh_config.pod_base, mesh_config.pod_mask) ||
	    source->origin == MESH_ORIGIN_OVERLAY)
		return MESH_REASON_NO_ENDPOINT;
	if (mesh_in_range(daddr, mesh_config.cluster_base, mesh_config.cluster_mask)) {
		flow->target = MESH_TARGET_TUNNEL;
		flow->out_ifindex = mesh_config.vxlan_ifindex;
		flow->out_peer = mesh_tunnel_lookup(daddr);
		return flow->out_peer ? 0 : MESH_REASON_NO_TUNNEL;
	}
	if (mesh_in_range(daddr, mesh_config.service_base, mesh_config.service_mask))
		return MESH_REASON_NO_SERVICE;
	/* A backend outside the cluster. */
	if (flow->service_id)
		return MESH_REASON_NO_ENDPOINT;
	return source->origin == MESH_ORIGIN_POD ? MESH_REASON_TO_STACK : MESH_REASON_NO_ENDPOINT;
}

/*
 * Whether the Service that a flow came through is of the namespace of the pod it goes to
 * (`identity`). Hand-written endpoints may name any address; they open no way into another
 * namespace. Host ports (0) are made from the pods themselves, on their own node.
 */
static __always_inline int mesh_own_service(const struct mesh_source *source,
					    __u32 service_identity, __u32 identity)
{
	if (!service_identity && source->origin != MESH_ORIGIN_OVERLAY)
		return 1;
	return service_identity == identity;
}

/* Whether the destination takes a flow from `source`; other nodes judge for their own pods. */
static __always_inline int mesh_judge(const struct mesh_source *source,
				      const struct mesh_flow_value *flow, __u32 identity)
{
	int own_node = source->origin == MESH_ORIGIN_NODE && source->identity == MESH_IDENTITY_HOST;

	if (flow->target != MESH_TARGET_POD)
		return 0;
	if (mesh_admits(identity, source->identity, own_node, flow->flags & MESH_FLOW_SERVICE))
		return 0;
	return MESH_REASON_ISOLATION;
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
	out->last_seen_ns = flow->last_seen_ns;

	switch (flow->target) {
	case MESH_TARGET_TUNNEL:
		out->in_ifindex = mesh_config.vxlan_ifindex;
		out->in_peer = flow->out_peer;
		break;
	case MESH_TARGET_HOST:
		out->in_ifindex = mesh_config.net_ifindex;
		break;
	default:
		out->in_ifindex = flow->out_ifindex;
	}
	out->vni = flow->target == MESH_TARGET_POD ? identity : MESH_IDENTITY_HOST;
}

/* Where answers go: back to the sender. */
static __always_inline void mesh_flow_return(const struct mesh_source *source,
					     struct mesh_flow_value *out)
{
	struct mesh_endpoint_value *endpoint;

	if (source->origin == MESH_ORIGIN_OVERLAY) {
		out->target = MESH_TARGET_TUNNEL;
		out->out_ifindex = mesh_config.vxlan_ifindex;
		out->out_peer = source->peer;
		return;
	}
	if (source->origin == MESH_ORIGIN_NODE) {
		out->target = MESH_TARGET_HOST;
		out->out_ifindex = mesh_config.host_ifindex;
#pragma unroll
		for (int i = 0; i < 6; i++) {
			out->destination_mac[i] = mesh_config.host_mac[i];
			out->source_mac[i] = mesh_config.net_mac[i];
		}
		return;
	}
	out->target = MESH_TARGET_POD;
	out->out_ifindex = source->ifindex;
	endpoint = mesh_endpoint_lookup(out->daddr);
	if (endpoint) {
		__builtin_memcpy(out->destination_mac, endpoint->pod_mac, 6);
		__builtin_memcpy(out->source_mac, endpoint->host_mac, 6);
	}
}

/*
 * Enters the answers' entry. Its key may belong to another flow: the same client port to the
 * Service and straight to the pod look alike to the pod. A flow that is closing or over gives way;
 * beside a living one the new flow gets another source port.
 */
static __noinline int mesh_flow_enter_answer(const struct mesh_flow_key *key,
					     struct mesh_flow_value *flow,
					     struct mesh_flow_value *answer)
{
	struct mesh_flow_key answer_key, other_key;
	struct mesh_flow_value *other;
	__u64 now_ns = flow->last_seen_ns;
	int error; /* before 6.4 only 32 bits of it are defined */
	int i;

	for (i = 0; i < MESH_PORT_TRIES; i++) {
		mesh_flow_partner_key(flow, key->proto, &answer_key);
		mesh_flow_set_diffs(&answer_key, answer);
		error = bpf_map_update_elem(&mesh_flow, &answer_key, answer, BPF_NOEXIST);
		if (!error)
			return 0;
		if (error != -17 /* EEXIST */)
			return MESH_REASON_FLOWS_FULL;
		other = bpf_map_lookup_elem(&mesh_flow, &answer_key);
		if (!other)
			continue;
		mesh_flow_partner_key(other, key->proto, &other_key);
		if (mesh_flow_key_equal(key, &other_key) || key->proto == IPPROTO_ICMP ||
		    mesh_flow_finished(other, key->proto, now_ns)) {
			if (!mesh_flow_key_equal(key, &other_key))
				bpf_map_delete_elem(&mesh_flow, &other_key);
			if (bpf_map_update_elem(&mesh_flow, &answer_key, answer, BPF_ANY))
				return MESH_REASON_FLOWS_FULL;
			return 0;
		}
		flow->sport = bpf_htons(MESH_PORT_FIRST + bpf_get_prandom_u32() % MESH_PORT_COUNT);
	}
	return MESH_REASON_NO_PORT;
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

/* Makes a flow for a packet that has none. */
static __always_inline int mesh_flow_begin(const struct mesh_packet *packet,
					   const struct mesh_source *source)
{
	struct mesh_scratch_value *scratch;
	struct mesh_flow_value *flow;
	struct mesh_selection selection = {};
	struct mesh_flow_key key = packet->key;
	__u32 identity, service_identity = source->service_identity, zero = 0;
	struct mesh_dial dial;
	int error; /* before 6.4 only 32 bits of it are defined */
	int reason;

	if (key.proto == IPPROTO_TCP && !mesh_packet_opens(packet))
		return MESH_REASON_NO_FLOW;
	if (packet->icmp_error || (key.proto == IPPROTO_ICMP && !key.sport))
		return MESH_REASON_NO_FLOW;

	scratch = bpf_map_lookup_elem(&mesh_scratch, &zero);
	if (!scratch)
		return MESH_REASON_KERNEL;
	flow = &scratch->flow;
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->saddr = key.saddr;
	flow->daddr = key.daddr;
	flow->sport = key.sport;
	flow->dport = key.dport;
	flow->in_ifindex = source->ifindex;
	flow->in_peer = source->peer;
	flow->identity = source->identity;
	flow->generation = mesh_generation();
	flow->last_seen_ns = bpf_ktime_get_coarse_ns();
	if (source->through_service)
		flow->flags |= MESH_FLOW_SERVICE;

	reason = MESH_REASON_NO_SERVICE;
	if (source->origin != MESH_ORIGIN_OVERLAY && mesh_dials(&key, 0, &dial))
		reason = mesh_service_select(&dial, &selection);
	if (reason && reason != MESH_REASON_NO_SERVICE)
		return reason;
	if (!reason) {
		service_identity = selection.identity;
		flow->daddr = selection.ip;
		flow->dport = selection.port;
		flow->service_id = selection.service_id;
		flow->backend_id = selection.backend_id;
		flow->flags |= MESH_FLOW_SERVICE;
		if (selection.counted)
			flow->flags |= MESH_FLOW_COUNTED;
		if (flow->daddr == flow->saddr)
			flow->saddr = bpf_htonl(MESH_HAIRPIN_ADDRESS);
	}
	/* Answers to the uplink's address would not come back through the overlay. */
	if (source->origin == MESH_ORIGIN_NODE && source->identity == MESH_IDENTITY_HOST)
		flow->saddr = mesh_config.gateway;

	reason = mesh_resolve(source, flow, &identity);
	if (reason)
		return reason;
	if (flow->target == MESH_TARGET_POD &&
	    !mesh_own_service(source, service_identity, identity))
		flow->flags &= ~MESH_FLOW_SERVICE;
	if (flow->target == MESH_TARGET_TUNNEL && flow->flags & MESH_FLOW_SERVICE)
		mesh_service_mac(flow, service_identity);
	reason = mesh_judge(source, flow, identity);
	if (reason)
		return reason;
	flow->vni = source->identity & MESH_VNI_IDENTITY_MASK;
	if (flow->flags & MESH_FLOW_SERVICE)
		flow->vni |= MESH_VNI_SERVICE;

	mesh_flow_answer(&key, source, flow, identity, &scratch->answer);
	mesh_flow_return(source, &scratch->answer);
	reason = mesh_flow_enter_answer(&key, flow, &scratch->answer);
	if (reason)
		return reason;
	mesh_flow_set_diffs(&key, flow);
	error = bpf_map_update_elem(&mesh_flow, &key, flow, BPF_NOEXIST);
	if (!error) {
		if (flow->flags & MESH_FLOW_COUNTED)
			mesh_load_begin(flow->backend_id);
		return 0;
	}
	{
		/* Another CPU was first with the same flow, or the table is full. */
		struct mesh_flow_value *winner = bpf_map_lookup_elem(&mesh_flow, &key);

		if (!winner || winner->daddr != flow->daddr || winner->dport != flow->dport ||
		    winner->sport != flow->sport) {
			struct mesh_flow_key answer_key;

			mesh_flow_partner_key(flow, key.proto, &answer_key);
			bpf_map_delete_elem(&mesh_flow, &answer_key);
		}
		return winner ? 0 : MESH_REASON_FLOWS_FULL;
	}
}

/* MESH_BACKEND_* of the backend a flow was given; 0: it is gone from the tables. */
static __always_inline __u8 mesh_flow_backend_state(const struct mesh_flow_value *flow)
{
	struct mesh_backend_value *backend = mesh_backend_lookup(flow->backend_id);

	if (!backend || backend->service_id != flow->service_id || backend->ip != flow->daddr ||
	    backend->port != flow->dport)
		return 0;
	return backend->state;
}

/* Whether neither side of a flow has sent anything of late. */
static __always_inline int mesh_flow_is_at_rest(const struct mesh_flow_value *flow, __u8 proto,
						__u64 now_ns)
{
	struct mesh_flow_value *partner;
	struct mesh_flow_key key;

	mesh_flow_partner_key(flow, proto, &key);
	partner = bpf_map_lookup_elem(&mesh_flow, &key);
	return !partner || mesh_flow_rests(flow, partner, now_ns);
}

/*
 * Decides about the entry that `packet` met: keep it (0), begin a new flow (-1), or a reason.
 * Deletes it in the last two cases.
 */
static __always_inline int mesh_flow_review(const struct mesh_packet *packet,
					    const struct mesh_source *source)
{
	struct mesh_flow_value *flow = bpf_map_lookup_elem(&mesh_flow, &packet->key);
	__u64 now_ns = bpf_ktime_get_coarse_ns();
	__u32 generation = mesh_generation();
	struct mesh_flow_value fresh = {};
	__u32 identity;
	int reason;

	if (!flow)
		return -1;
	if (flow->in_ifindex != source->ifindex || flow->in_peer != source->peer)
		goto again; /* of a pod that had this address before */
	if (packet->icmp_error)
		return 0;
	if (mesh_packet_opens(packet) && mesh_flow_finished(flow, packet->key.proto, now_ns))
		goto again;
	if (mesh_flow_over(flow, packet->key.proto, now_ns))
		goto again;

	if (!(flow->flags & MESH_FLOW_REPLY) && flow->service_id) {
		__u8 state = mesh_flow_backend_state(flow);

		if (!state) {
			if (packet->key.proto == IPPROTO_TCP && !mesh_packet_opens(packet)) {
				mesh_flow_delete(&packet->key, flow);
				return MESH_REASON_BACKEND_GONE;
			}
			goto again;
		}
		/*
		 * Datagrams have no SYN: after a rest this may be another client on the same port,
		 * and the backend is about to stop. Until then every packet comes by here.
		 */
		if (state == MESH_BACKEND_DRAINING && packet->key.proto == IPPROTO_UDP) {
			if (mesh_flow_is_at_rest(flow, packet->key.proto, now_ns))
				goto again;
			generation = flow->generation;
		}
	}
	fresh.daddr = flow->daddr;
	fresh.flags = flow->flags;
	reason = mesh_resolve(source, &fresh, &identity);
	if (!reason && !(flow->flags & MESH_FLOW_REPLY)) {
		/* A SYN of the overlay says anew how it came. */
		if (source->origin == MESH_ORIGIN_OVERLAY && mesh_packet_opens(packet) &&
		    (!source->through_service || source->service_identity != identity))
			fresh.flags &= ~MESH_FLOW_SERVICE;
		reason = mesh_judge(source, &fresh, identity);
	}
	if (reason) {
		mesh_flow_delete(&packet->key, flow);
		return reason;
	}
	/* The place of the same address has changed: its node, or its veth. */
	if (fresh.target != flow->target || fresh.out_ifindex != flow->out_ifindex ||
	    (fresh.target == MESH_TARGET_TUNNEL && fresh.out_peer != flow->out_peer))
		goto again;
	flow->generation = generation;
	return 0;
again:
	mesh_flow_delete(&packet->key, flow);
	return -1;
}

/*
 * One frame for the whole decision: the verifier of 6.1 takes a constant that a caller has left on
 * its stack (the identity) for the same on all paths when it prunes in a callee, and removes the
 * branch of the other value.
 *
 * After it returns 0 the flow of `packet` is in the table and fit to be followed. Else: a reason.
 */
static __noinline int mesh_flow_open(const struct mesh_packet *packet, struct mesh_source *source)
{
	int answer = mesh_source_check(source, packet);

	if (answer)
		return answer;
	answer = mesh_flow_review(packet, source);
	if (answer >= 0)
		return answer;
	return mesh_flow_begin(packet, source);
}
