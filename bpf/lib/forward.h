/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fast path: one lookup, one rewrite, one delivery. */
#pragma once

#include "lib/encap.h"
#include "lib/event.h"
#include "lib/family.h"
#include "lib/flow.h"
#include "lib/fragment.h"
#include "lib/metrics.h"
#include "lib/moved.h"
#include "lib/open.h"
#include "lib/packet.h"
#include "lib/refuse.h"
#include "lib/rewrite.h"
#include "lib/state.h"
#include "lib/traffic.h"
#include "lib/ttl.h"

static __always_inline int mesh_write_macs(struct __sk_buff *skb,
					   const struct mesh_flow_value *flow)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;

	if (data + ETH_HLEN > data_end)
		return MESH_REASON_INVALID;
	/* Destination and source, in the order of the wire. */
	__builtin_memcpy(data, flow->destination_mac, 12);
	return 0;
}

/* Sends a packet off to another node, as it is. Returns the program's verdict. */
static MESH_FRAME int mesh_native_deliver(struct __sk_buff *skb, int first_of_second,
					  struct mesh_flow_value *flow, __u32 direction)
{
	void *data, *data_end;

	mesh_count(skb, MESH_REASON_FORWARDED, direction);
	if (likely(mesh_next_hop_known(skb, first_of_second, flow))) {
		data = (void *)(long)skb->data;
		data_end = (void *)(long)skb->data_end;
		if (data + ETH_HLEN <= data_end) {
			mesh_outer_macs(data, flow);
			return bpf_redirect(mesh_config.uplink_ifindex, 0);
		}
	}
	return mesh_native_send(flow);
}

/* Sends the packet off and counts it. Returns the program's verdict. */
static __always_inline int mesh_deliver(struct __sk_buff *skb, const struct mesh_packet *packet,
					struct mesh_flow_value *flow, __u32 direction)
{
	__u32 ifindex = flow->out_ifindex;
	int verdict;

	MESH_NOTE(DELIVER, flow->target, 0, 0);
	MESH_TRACE_KEEP(flow);
	switch (flow->target) {
	case MESH_TARGET_POD:
	case MESH_TARGET_POD_SHAPED:
		if (mesh_write_macs(skb, flow))
			return mesh_drop(skb, MESH_REASON_INVALID, direction);
		/* Frames of the overlay are addressed to nobody here. */
		if (skb->pkt_type != 0 /* PACKET_HOST */)
			bpf_skb_change_type(skb, 0);
		mesh_count(skb, MESH_REASON_FORWARDED, direction);
		return unlikely(flow->target == MESH_TARGET_POD_SHAPED)
			       ? bpf_redirect(ifindex, 0)
			       : bpf_redirect_peer(ifindex, 0);
	case MESH_TARGET_UPLINK:
		mesh_count(skb, MESH_REASON_FORWARDED, direction);
		return bpf_redirect_neigh(ifindex, NULL, 0, 0);
	case MESH_TARGET_NODE:
		return mesh_native_deliver(skb, packet->first_of_second, flow, direction);
	case MESH_TARGET_DIRECT: /* the inner destination address names the backend */
	case MESH_TARGET_TUNNEL:
		/* Through a Service: the inner source address names its namespace. */
		if (flow->source_mac[0] && mesh_write_macs(skb, flow))
			return mesh_drop(skb, MESH_REASON_INVALID, direction);
		verdict = mesh_encap(skb, packet, flow, direction);
		if (likely(verdict != MESH_ENCAP_LEFT))
			return verdict;
		if (mesh_tunnel_set(skb, flow->out_peer, flow->vni))
			return mesh_drop(skb, MESH_REASON_KERNEL, direction);
		mesh_count(skb, MESH_REASON_FORWARDED, direction);
		return bpf_redirect(ifindex, 0);
	case MESH_TARGET_HOST:
		if (mesh_write_macs(skb, flow))
			return mesh_drop(skb, MESH_REASON_INVALID, direction);
		mesh_count(skb, MESH_REASON_FORWARDED, direction);
		return bpf_redirect(ifindex, BPF_F_INGRESS);
	}
	return mesh_drop(skb, MESH_REASON_INVALID, direction);
}

/* Notes the packet in its flow. */
static __always_inline void mesh_flow_note(struct __sk_buff *skb, struct mesh_packet *packet,
					   struct mesh_flow_value *flow)
{
	__u32 tick = bpf_jiffies64();
	__u64 before_ns = flow->last_seen_ns;

	/* The clock is a call, the count of ticks that it follows is not. */
	if (flow->last_tick != tick) {
		__u64 now_ns = bpf_ktime_get_coarse_ns();

		packet->first_of_second = (now_ns ^ before_ns) >> 30 != 0;
		flow->last_tick = tick;
		flow->last_seen_ns = now_ns;
		if ((MESH_ORIGIN == MESH_ORIGIN_POD || MESH_ORIGIN == MESH_ORIGIN_NODE) &&
		    unlikely(packet->first_of_second) && packet->key.proto == IPPROTO_UDP)
			mesh_socket_note(skb, flow, packet->key.proto, MESH_ORIGIN);
	}
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	if (packet->key.proto != IPPROTO_TCP || packet->icmp_error)
		return;
	if (likely(!(packet->tcp_flags & (MESH_TCP_SYN | MESH_TCP_FIN | MESH_TCP_RST)))) {
		if (unlikely(!flow->tcp_data || flow->tcp_rst))
			mesh_flow_lives(flow);
		return;
	}
	if (packet->tcp_flags & MESH_TCP_SYN) {
		/* The first answer: until then the entry has the time of the first SYN. */
		if (flow->flags & MESH_FLOW_REPLY && flow->service_id && flow->packets == 1)
			mesh_traffic_answered(flow->service_id, before_ns);
	}
	if (packet->tcp_flags & (MESH_TCP_FIN | MESH_TCP_RST)) {
		int fin = packet->tcp_flags & MESH_TCP_FIN;

		if (flow->flags & MESH_FLOW_COUNTED || mesh_listens(MESH_LISTEN_FLOWS)) {
			if (mesh_flow_ends(flow, fin)) {
				if (flow->flags & MESH_FLOW_COUNTED)
					mesh_load_end(flow->backend_id);
				mesh_event_close(&packet->key, flow, packet->tcp_flags);
			}
		} else if (fin) {
			flow->tcp_fin = 1;
		} else {
			flow->tcp_rst = 1;
		}
	}
	if (!(packet->tcp_flags & MESH_TCP_SYN))
		flow->tcp_data = 1;
}

/* Whether the node of the sender tells another identity than when the flow was judged. */
static __always_inline int mesh_source_changed(const struct mesh_source *source,
					       const struct mesh_flow_value *flow)
{
	return MESH_ORIGIN == MESH_ORIGIN_OVERLAY && flow->identity &&
	       flow->identity != source->identity && !(flow->flags & MESH_FLOW_REPLY);
}

_Static_assert(MESH_HOOK_FROM_POD == MESH_ORIGIN_POD && MESH_HOOK_NODE == MESH_ORIGIN_NODE &&
		       MESH_HOOK_OVERLAY == MESH_ORIGIN_OVERLAY &&
		       MESH_HOOK_UPLINK == MESH_ORIGIN_UPLINK,
	       "hooks are numbered as origins");

/* The whole way of a packet. */
static __always_inline int mesh_forward(struct __sk_buff *skb, struct mesh_source *source,
					__u32 direction)
{
	struct mesh_flow_value *flow;
	struct mesh_packet packet;
	int reason;

	reason = mesh_parse(skb, &packet);
	if (MESH_ORIGIN == MESH_ORIGIN_UPLINK)
		mesh_native_source(&packet, source);
	if (unlikely(packet.fragment) && !reason)
		reason = mesh_fragment_ports(skb, &packet);
	if (unlikely(reason))
		/* What comes by the uplink is the node's until a flow or a frontend says otherwise.
		 */
		return mesh_origin(source) == MESH_ORIGIN_UPLINK
			       ? TC_ACT_OK
			       : mesh_turn_away(skb, source, reason, direction);
	if (mesh_origin(source) == MESH_ORIGIN_UPLINK && mesh_packet_is_tunnelled(&packet))
		return TC_ACT_OK;
	mesh_flow_take_met(&packet.key);
	flow = bpf_map_lookup_elem(&mesh_flow, &packet.key);
	MESH_NOTE(FLOW, flow != NULL, 0, 0);
	if (unlikely(!flow || flow->generation != mesh_generation() ||
		     flow->in_ifindex != source->ifindex || flow->in_peer != source->peer ||
		     mesh_source_changed(source, flow) || mesh_packet_opens(&packet) ||
		     mesh_server_changed(source, packet.key.proto, flow))) {
		if (!flow)
			mesh_moving_flow(skb, &packet, MESH_ORIGIN);
		reason = mesh_flow_open(skb, &packet, source, flow != NULL);
		if (reason == MESH_REASON_TO_STACK) {
			if (mesh_origin(source) != MESH_ORIGIN_UPLINK)
				mesh_count(skb, MESH_REASON_TO_STACK, direction);
			return TC_ACT_OK;
		}
		if (reason)
			return mesh_turn_away(skb, source, reason, direction);
		flow = bpf_map_lookup_elem(&mesh_flow, &packet.key);
		if (!flow)
			return mesh_drop(skb, MESH_REASON_NO_FLOW, direction);
	}
	reason = mesh_road_check(skb, &packet, source, flow);
	if (unlikely(reason))
		return mesh_turn_away(skb, source, reason, direction);
	mesh_flow_note(skb, &packet, flow);
	if (flow->address_diff || flow->port_diff || packet.icmp_error) {
		reason = mesh_rewrite(skb, &packet, flow);
		if (unlikely(reason))
			return mesh_drop(skb, reason, direction);
	}
	if (mesh_is_routed(source, flow) && mesh_decrement_ttl(skb))
		return mesh_drop(skb, MESH_REASON_INVALID, direction);
	if (MESH_IS_NATIVE && (flow->target == MESH_TARGET_NODE || source->native) &&
	    mesh_native_marks(&packet, flow) != packet.marked && mesh_turn_mark(skb))
		return mesh_drop(skb, MESH_REASON_INVALID, direction);
	return mesh_deliver(skb, &packet, flow, direction);
}
