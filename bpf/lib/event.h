/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Tells of flows while somebody listens (mesh/shared/flow_event.h). Global functions, which write
 * straight into the ring: the stack of the slow path has no room for a record. Return 0.
 */
#pragma once

#include "lib/answer_kind.h"
#include "lib/family.h"
#include "lib/flow.h"
#include "lib/listen.h"
#include "lib/metrics.h"
#include "lib/packet.h"
#include "lib/resolve.h"
#include "lib/scratch.h"

#ifdef MESH_TRACE

#define mesh_event_open(packet, source)			 0
#define mesh_event_close(key, flow, tcp_flags)		 0
#define mesh_event_drop(skb, reason, direction, of, how) 0

#else

static __always_inline void mesh_event_addr(struct mesh_in6 *to, const mesh_addr *from)
{
#ifdef MESH_IPV6
	mesh_addr_copy(to, from);
#else
	to->w[2] = bpf_htonl(0xffff);
	to->w[3] = *from;
#endif
}

/* What a flow's own entry says about it. */
static __always_inline void mesh_event_flow(struct mesh_flow_event *event,
					    const struct mesh_flow_value *flow)
{
	mesh_addr server;

	mesh_flow_server(flow, &server);
	mesh_event_addr(&event->to_saddr, &flow->saddr);
	mesh_event_addr(&event->to_daddr, &server);
	event->to_sport = flow->sport;
	event->to_dport = flow->dport;
	if (flow->target == MESH_TARGET_DIRECT)
		__builtin_memcpy(&event->to_dport, flow->destination_mac + 4, 2);
	event->service_id = flow->service_id;
	event->backend_id = flow->backend_id;
	event->identity = flow->identity;
	event->peer = flow->out_peer ? flow->out_peer : flow->in_peer;
	event->target = flow->target;
	event->flags = flow->flags;
}

static __always_inline void mesh_event_key(struct mesh_flow_event *event,
					   const struct mesh_flow_key *key)
{
	mesh_event_addr(&event->saddr, &key->saddr);
	mesh_event_addr(&event->daddr, &key->daddr);
	event->sport = key->sport;
	event->dport = key->dport;
	event->proto = key->proto;
}

/* The flow that `packet` has begun: its entries are those of mesh_scratch. */
__noinline int mesh_event_open(const struct mesh_packet *packet, const struct mesh_source *source)
{
	struct mesh_scratch_value *scratch;
	struct mesh_flow_event *event;

	if (!mesh_listens(MESH_LISTEN_FLOWS) || !packet || !source)
		return 0;
	scratch = mesh_scratch_get();
	if (!scratch)
		return 0;
	event = mesh_event_reserve(MESH_EVENT_OPENED, bpf_ktime_get_ns());
	if (!event)
		return 0;
	mesh_event_key(event, &packet->key);
	mesh_event_flow(event, &scratch->flow);
	if (event->target == MESH_TARGET_POD || event->target == MESH_TARGET_POD_SHAPED)
		event->to_identity = scratch->answer.vni;
	event->tcp_flags = packet->tcp_flags;
	event->hook = MESH_ORIGIN;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/*
 * The connection of the entry `flow`, which comes with `key`, has been closed by this packet.
 * Either direction may close: what is told is that of the client.
 */
__noinline int mesh_event_close(const struct mesh_flow_key *key, const struct mesh_flow_value *flow,
				int tcp_flags)
{
	const struct mesh_flow_value *partner;
	struct mesh_flow_event *event;

	if (!mesh_listens(MESH_LISTEN_FLOWS) || !key || !flow)
		return 0;
	partner = mesh_flow_partner(flow, IPPROTO_TCP);
	event = mesh_event_reserve(MESH_EVENT_CLOSED, bpf_ktime_get_ns());
	if (!event)
		return 0;
	event->packets = flow->packets;
	event->bytes = flow->bytes;
	if (partner && !(flow->flags & MESH_FLOW_ONE_WAY)) {
		event->packets += partner->packets;
		event->bytes += partner->bytes;
	}
	if (flow->flags & MESH_FLOW_REPLY) {
		/* Its packets leave for the client, as answers to what he has dialled. */
		mesh_event_addr(&event->saddr, &flow->daddr);
		mesh_event_addr(&event->daddr, &flow->saddr);
		event->sport = flow->dport;
		event->dport = flow->sport;
		event->proto = key->proto;
		if (partner)
			mesh_event_flow(event, partner);
	} else {
		mesh_event_key(event, key);
		mesh_event_flow(event, flow);
	}
	event->tcp_flags = tcp_flags;
	event->hook = MESH_ORIGIN;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/* Addresses and ports of a packet as it stands there. */
static __always_inline void mesh_event_read(struct __sk_buff *skb, struct mesh_flow_event *event)
{
#ifdef MESH_IPV6
	if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET + 6, &event->proto, 1) ||
	    bpf_skb_load_bytes(skb, MESH_L3_OFFSET + 8, &event->saddr, 16) ||
	    bpf_skb_load_bytes(skb, MESH_L3_OFFSET + 24, &event->daddr, 16))
		return;
#else
	struct iphdr ip;

	if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET, &ip, sizeof(ip)))
		return;
	mesh_event_addr(&event->saddr, &ip.saddr);
	mesh_event_addr(&event->daddr, &ip.daddr);
	event->proto = ip.protocol;
	if (ip.ihl != 5 || ip.frag_off & bpf_htons(0x1fff))
		return;
#endif
	if (event->proto != IPPROTO_TCP && event->proto != IPPROTO_UDP)
		return;
	bpf_skb_load_bytes(skb, MESH_L4_OFFSET, &event->sport, 2);
	bpf_skb_load_bytes(skb, MESH_L4_OFFSET + 2, &event->dport, 2);
	if (event->proto == IPPROTO_TCP)
		bpf_skb_load_bytes(skb, MESH_L4_OFFSET + 13, &event->tcp_flags, 1);
}

/*
 * The packet is dropped, of the sender `identity` (0: not known). `decided`: mesh_scratch has the
 * flow that it would have begun.
 */
__noinline int mesh_event_drop(struct __sk_buff *skb, __u32 reason, __u32 direction, __u32 identity,
			       int decided)
{
	struct mesh_flow_event *event;
	__u64 now_ns;

	if (!mesh_listens(MESH_LISTEN_DROPS))
		return 0;
	now_ns = bpf_ktime_get_ns();
	if (!mesh_event_drop_due(now_ns))
		return 0;
	event = mesh_event_reserve(MESH_EVENT_DROPPED, now_ns);
	if (!event)
		return 0;
	if (decided) {
		struct mesh_scratch_value *scratch = mesh_scratch_get();

		if (scratch)
			mesh_event_flow(event, &scratch->flow);
	}
	if (skb->protocol == bpf_htons(MESH_ETH_P))
		mesh_event_read(skb, event);
	/* A reset is answered by nothing. */
	if (mesh_answer_kind(reason, event->proto) && !(event->tcp_flags & MESH_TCP_RST))
		event->kind = MESH_EVENT_REFUSED;
	event->packets = 1;
	event->bytes = skb->len;
	event->identity = identity;
	event->reason = reason;
	event->direction = mesh_drop_direction(reason, direction);
	event->hook = MESH_ORIGIN;
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#endif

static __always_inline int mesh_drop(struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	mesh_event_drop(skb, reason, direction, 0, 0);
	mesh_count(skb, reason, mesh_drop_direction(reason, direction));
	return TC_ACT_SHOT;
}
