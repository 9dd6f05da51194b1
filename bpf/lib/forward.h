/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fast path: one lookup, one rewrite, one delivery. */
#pragma once

#include "lib/checksum.h"
#include "lib/common.h"
#include "lib/encap.h"
#include "lib/flow.h"
#include "lib/fragment.h"
#include "lib/kernel.h"
#include "lib/metrics.h"
#include "lib/moving.h"
#include "lib/open.h"
#include "lib/packet.h"
#include "lib/refuse.h"
#include "lib/state.h"
#include "lib/ttl.h"

/*
 * Two differences, because a packet whose checksum the hardware is to fill in (CHECKSUM_PARTIAL)
 * holds the sum of the pseudo header only: addresses belong to it, ports do not.
 */
static __always_inline int mesh_replace_l4_checksum(struct __sk_buff *skb, __u8 proto,
						    const struct mesh_flow_value *flow)
{
	int offset = MESH_L4_OFFSET + (int)offsetof(struct tcphdr, check);
	__u64 flags = 0;

	if (proto == IPPROTO_UDP) {
		offset = MESH_L4_OFFSET + (int)offsetof(struct udphdr, check);
		flags = BPF_F_MARK_MANGLED_0; /* no checksum stays no checksum */
	}
	if (flow->address_diff &&
	    bpf_l4_csum_replace(skb, offset, 0, flow->address_diff, flags | BPF_F_PSEUDO_HDR))
		return MESH_REASON_KERNEL;
	if (flow->port_diff && bpf_l4_csum_replace(skb, offset, 0, flow->port_diff, flags))
		return MESH_REASON_KERNEL;
	return 0;
}

/* The same, written by the program: `summed` is not MESH_SUMMED_BY_HELPER. */
static __always_inline void mesh_write_l4_checksum(__sum16 *check, __u8 proto, int summed,
						   const struct mesh_flow_value *flow)
{
	__u32 sum = *check;

	if (proto == IPPROTO_UDP && !sum)
		return;
	if (summed == MESH_CHECKSUM_PARTIAL) {
		sum = (__u16)~mesh_csum_apply(~sum, flow->address_diff);
	} else {
		sum = mesh_csum_apply(sum, flow->address_diff);
		sum = mesh_csum_apply(sum, flow->port_diff);
	}
	if (proto == IPPROTO_UDP && !sum)
		sum = 0xffff;
	*check = sum;
}

/*
 * An ICMP error goes the way of the flow it reports about, and what it quotes is put back to what
 * the receiver has sent. The quoted IP header keeps its sum (its own checksum takes up the change
 * of the addresses), so the ICMP checksum sees the ports and the quoted checksum of the fourth
 * layer, where the quote reaches that far.
 */
static __always_inline int mesh_rewrite_icmp_error(struct __sk_buff *skb,
						   const struct mesh_packet *packet,
						   const struct mesh_flow_value *flow)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + MESH_L3_OFFSET;
	struct mesh_icmp *icmp = data + MESH_L4_OFFSET;
	struct iphdr *inner = (void *)(icmp + 1);
	__be16 *ports = (void *)(inner + 1);
	__u64 diff = mesh_csum_replace(ip->daddr, flow->daddr), inside;
	__sum16 *check = NULL;
	__sum16 old;

	if ((void *)(ports + 4) > data_end)
		return MESH_REASON_INVALID;
	/* Of the answering side itself, not of a router on the way. */
	if (ip->saddr == packet->key.saddr) {
		diff += mesh_csum_replace(ip->saddr, flow->saddr);
		ip->saddr = flow->saddr;
	}
	ip->daddr = flow->daddr;
	ip->check = mesh_csum_apply(ip->check, mesh_csum_fold32(diff));
	inner->saddr = flow->daddr;
	inner->daddr = flow->saddr;
	inner->check = mesh_csum_apply(inner->check, flow->address_diff);
	if (packet->key.proto == IPPROTO_ICMP) {
		/* Its id, and its checksum, which takes up the change. */
		if (flow->port_diff) {
			ports[1] = mesh_csum_apply(ports[1], flow->port_diff);
			ports[2] = flow->dport;
		}
		return 0;
	}
	inside = flow->port_diff;
	if (flow->port_diff) {
		ports[0] = flow->dport;
		ports[1] = flow->sport;
	}
	if (packet->key.proto == IPPROTO_UDP && ports[3])
		check = &ports[3];
	else if (packet->key.proto == IPPROTO_TCP && bpf_ntohs(ip->tot_len) >= 66 &&
		 (void *)(ports + 9) <= data_end)
		check = &ports[8];
	if (check) {
		old = *check;
		*check = mesh_csum_apply(mesh_csum_apply(old, flow->address_diff), flow->port_diff);
		inside += (__u64)(__u16)~old + (__u16)*check;
	}
	icmp->checksum = mesh_csum_apply(icmp->checksum, mesh_csum_fold32(inside));
	return 0;
}

/* A fragment behind the first has addresses only. */
static __always_inline int mesh_rewrite_later_fragment(struct __sk_buff *skb,
						       const struct mesh_flow_value *flow)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + MESH_L3_OFFSET;

	if ((void *)(ip + 1) > data_end)
		return MESH_REASON_INVALID;
	ip->saddr = flow->saddr;
	ip->daddr = flow->daddr;
	ip->check = mesh_csum_apply(ip->check, flow->address_diff);
	return 0;
}

/* Writes the flow's addresses into the packet. */
static __always_inline int mesh_rewrite(struct __sk_buff *skb, const struct mesh_packet *packet,
					const struct mesh_flow_value *flow)
{
	__u8 proto = packet->key.proto;
	void *data, *data_end;
	struct iphdr *ip;
	__be16 *ports;
	int summed;

	if (packet->icmp_error)
		return mesh_rewrite_icmp_error(skb, packet, flow);
	if (unlikely(packet->fragment == MESH_FRAGMENT_LATER))
		return mesh_rewrite_later_fragment(skb, flow);
	summed = mesh_checksum_state(skb);
	if (proto != IPPROTO_ICMP && summed == MESH_SUMMED_BY_HELPER &&
	    mesh_replace_l4_checksum(skb, proto, flow))
		return MESH_REASON_KERNEL;
	data = (void *)(long)skb->data;
	data_end = (void *)(long)skb->data_end;
	ip = data + MESH_L3_OFFSET;
	ports = data + MESH_L4_OFFSET;
	if ((void *)(ports + 4) > data_end)
		return MESH_REASON_INVALID;
	if (proto == IPPROTO_TCP && summed != MESH_SUMMED_BY_HELPER) {
		struct tcphdr *tcp = (void *)ports;

		if ((void *)(tcp + 1) > data_end)
			return MESH_REASON_INVALID;
		mesh_write_l4_checksum(&tcp->check, proto, summed, flow);
	} else if (proto == IPPROTO_UDP && summed != MESH_SUMMED_BY_HELPER) {
		mesh_write_l4_checksum(&((struct udphdr *)ports)->check, proto, summed, flow);
	}
	ip->saddr = flow->saddr;
	ip->daddr = flow->daddr;
	ip->check = mesh_csum_apply(ip->check, flow->address_diff);
	if (proto != IPPROTO_ICMP) {
		ports[0] = flow->sport;
		ports[1] = flow->dport;
	} else if (flow->port_diff) {
		struct mesh_icmp *icmp = data + MESH_L4_OFFSET;

		if ((void *)(icmp + 1) > data_end)
			return MESH_REASON_INVALID;
		icmp->id = flow->sport ?: flow->dport;
		icmp->checksum = mesh_csum_apply(icmp->checksum, flow->port_diff);
	}
	return 0;
}

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

/* Sends the packet off and counts it. Returns the program's verdict. */
static __always_inline int mesh_deliver(struct __sk_buff *skb, const struct mesh_packet *packet,
					struct mesh_flow_value *flow, __u32 direction)
{
	struct bpf_tunnel_key tunnel;
	__u32 ifindex = flow->out_ifindex;
	int verdict;

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
	case MESH_TARGET_DIRECT: /* the inner destination address names the backend */
	case MESH_TARGET_TUNNEL:
		/* Through a Service: the inner source address names its namespace. */
		if (flow->source_mac[0] && mesh_write_macs(skb, flow))
			return mesh_drop(skb, MESH_REASON_INVALID, direction);
		verdict = mesh_encap(skb, packet, flow, direction);
		if (likely(verdict != MESH_ENCAP_LEFT))
			return verdict;
		__builtin_memset(&tunnel, 0, sizeof(tunnel));
		tunnel.tunnel_id = flow->vni;
		tunnel.remote_ipv4 = bpf_ntohl(flow->out_peer);
		tunnel.local_ipv4 = bpf_ntohl(mesh_config.node_ip);
		tunnel.tunnel_ttl = 64;
		if (bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), BPF_F_ZERO_CSUM_TX))
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

	/* The clock is a call, the count of ticks that it follows is not. */
	if (flow->last_tick != tick) {
		__u64 now_ns = bpf_ktime_get_coarse_ns();

		packet->first_of_second = (now_ns ^ flow->last_seen_ns) >> 30 != 0;
		flow->last_tick = tick;
		flow->last_seen_ns = now_ns;
	}
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, skb->len);
	if (packet->key.proto != IPPROTO_TCP || packet->icmp_error)
		return;
	if (unlikely(packet->tcp_flags & (MESH_TCP_FIN | MESH_TCP_RST))) {
		int closing = flow->flags & MESH_FLOW_COUNTED && mesh_flow_closing(flow);

		if (packet->tcp_flags & MESH_TCP_FIN)
			flow->tcp_fin = 1;
		else
			flow->tcp_rst = 1;
		if (flow->flags & MESH_FLOW_COUNTED && !closing && mesh_flow_closing(flow))
			mesh_load_end(flow->backend_id);
	}
	if (unlikely(!flow->tcp_data) && !(packet->tcp_flags & MESH_TCP_SYN))
		flow->tcp_data = 1;
}

_Static_assert(MESH_HOOK_FROM_POD == MESH_ORIGIN_POD && MESH_HOOK_NODE == MESH_ORIGIN_NODE &&
		       MESH_HOOK_OVERLAY == MESH_ORIGIN_OVERLAY &&
		       MESH_HOOK_UPLINK == MESH_ORIGIN_UPLINK,
	       "hooks are numbered as origins");

/* The whole way of an IPv4 packet. */
static __always_inline int mesh_forward(struct __sk_buff *skb, struct mesh_source *source,
					__u32 direction)
{
	struct mesh_flow_value *flow;
	struct mesh_packet packet;
	int reason;

	reason = mesh_parse(skb, &packet);
	if (unlikely(packet.fragment) && !reason)
		reason = mesh_fragment_ports(skb, &packet);
	if (unlikely(reason))
		/* What comes by the uplink is the node's until a flow or a frontend says otherwise.
		 */
		return source->origin == MESH_ORIGIN_UPLINK
			       ? TC_ACT_OK
			       : mesh_refuse(skb, source, reason, direction);
	if (source->origin == MESH_ORIGIN_UPLINK && mesh_packet_is_tunnelled(&packet))
		return TC_ACT_OK;
	flow = bpf_map_lookup_elem(&mesh_flow, &packet.key);
	if (unlikely(!flow || flow->generation != mesh_generation() ||
		     flow->in_ifindex != source->ifindex || flow->in_peer != source->peer ||
		     mesh_packet_opens(&packet))) {
		if (!flow)
			mesh_moving_flow(skb, &packet, source->origin);
		reason = mesh_flow_open(skb, &packet, source, flow);
		if (reason == MESH_REASON_TO_STACK) {
			if (source->origin != MESH_ORIGIN_UPLINK)
				mesh_count(skb, MESH_REASON_TO_STACK, direction);
			return TC_ACT_OK;
		}
		if (reason)
			return mesh_refuse(skb, source, reason, direction);
		flow = bpf_map_lookup_elem(&mesh_flow, &packet.key);
		if (!flow)
			return mesh_drop(skb, MESH_REASON_NO_FLOW, direction);
	}
	reason = mesh_road_check(skb, &packet, source, flow);
	if (unlikely(reason))
		return mesh_refuse(skb, source, reason, direction);
	mesh_flow_note(skb, &packet, flow);
	if (flow->address_diff || flow->port_diff || packet.icmp_error) {
		reason = mesh_rewrite(skb, &packet, flow);
		if (unlikely(reason))
			return mesh_drop(skb, reason, direction);
	}
	if (mesh_is_routed(source, flow) && mesh_decrement_ttl(skb))
		return mesh_drop(skb, MESH_REASON_INVALID, direction);
	return mesh_deliver(skb, &packet, flow, direction);
}
