/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Established flows from outside to pods of other nodes, before the kernel has made a packet of
 * what the card received: one lookup, a new source or none, the headers of the tunnel, and out
 * again. Everything that decides, answers or changes a flow's state is left to the tc program.
 */
#pragma once

#define MESH_ORIGIN MESH_ORIGIN_UPLINK
#include "lib/checksum.h"
#include "lib/family.h"
#include "lib/flow.h"
#include "lib/metrics.h"
#include "lib/outer.h"
#include "lib/packet.h"
#include "lib/state.h"

struct mesh_inner {
	__u8 macs[12];
	__be16 protocol;
	struct iphdr ip;
	__be16 sport, dport;
} __attribute__((packed));

/* Reads the tuple. Returns 0 for what the tc program has to see. */
static __always_inline int mesh_direct_parse(struct xdp_md *ctx, struct mesh_flow_key *key)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct mesh_inner *in = data;
	struct iphdr *ip = &in->ip;
	struct tcphdr *tcp;
	__u32 length;

	if (data + MESH_L4_OFFSET + sizeof(struct udphdr) > data_end)
		return 0;
	if (in->protocol != bpf_htons(ETH_P_IP) || *(__u8 *)ip != 0x45 ||
	    ip->frag_off & bpf_htons(0x3fff) || ip->ttl <= 1)
		return 0;
	length = bpf_ntohs(ip->tot_len);
	if (length > mesh_config.pod_mtu || length > (__u32)(data_end - data) - MESH_L3_OFFSET)
		return 0;
	if (ip->protocol == IPPROTO_TCP) {
		tcp = data + MESH_L4_OFFSET;
		if ((void *)(tcp + 1) > data_end || length < sizeof(*ip) + sizeof(*tcp))
			return 0;
		if (((__u8 *)tcp)[13] & (MESH_TCP_SYN | MESH_TCP_FIN | MESH_TCP_RST))
			return 0;
	} else if (ip->protocol != IPPROTO_UDP || length < sizeof(*ip) + sizeof(struct udphdr)) {
		return 0;
	}
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = ip->saddr;
	key->daddr = ip->daddr;
	key->sport = in->sport;
	key->dport = in->dport;
	key->proto = ip->protocol;
	return 1;
}

/* Notes the packet in its flow, and once a second asks again for the next hop. */
static __always_inline int mesh_direct_note(struct xdp_md *ctx, struct mesh_flow_value *flow,
					    __u8 proto, __u32 length)
{
	int again = mesh_next_hop_unknown(flow);
	__u32 tick = bpf_jiffies64();
	struct bpf_fib_lookup fib;

	if (flow->last_tick != tick) {
		__u64 now_ns = bpf_ktime_get_coarse_ns();

		again |= now_ns / MESH_SECOND_NS != flow->last_seen_ns / MESH_SECOND_NS;
		if (again && !mesh_next_hop_learn(ctx, flow, &fib))
			return 0;
		flow->last_tick = tick;
		flow->last_seen_ns = now_ns;
	} else if (again && !mesh_next_hop_learn(ctx, flow, &fib)) {
		return 0;
	}
	__sync_fetch_and_add(&flow->packets, 1);
	__sync_fetch_and_add(&flow->bytes, length);
	if (proto == IPPROTO_TCP && unlikely(!flow->tcp_data))
		flow->tcp_data = 1;
	return 1;
}

/* As lib/forward.h does; the sums of a packet that a card has received are complete. */
static __always_inline void mesh_direct_sum(__sum16 *check, const struct mesh_flow_value *flow)
{
	*check = mesh_csum_apply(mesh_csum_apply(*check, flow->address_diff), flow->port_diff);
}

static __always_inline int mesh_direct_forward(struct xdp_md *ctx)
{
	struct mesh_flow_value *flow;
	struct mesh_flow_key key;
	struct mesh_inner *in;
	void *data, *data_end;
	__u32 frame = ctx->data_end - ctx->data, inner_length, sum;
	int native, marked;

	if (!mesh_direct_parse(ctx, &key))
		return XDP_PASS;
	flow = bpf_map_lookup_elem(&mesh_flow, &key);
	if (!flow)
		return XDP_PASS;
	native = MESH_IS_NATIVE && flow->target == MESH_TARGET_NODE;
	if (!native &&
	    ((flow->target != MESH_TARGET_DIRECT && flow->target != MESH_TARGET_TUNNEL) ||
	     frame > mesh_config.tunnel_mtu + ETH_HLEN))
		return XDP_PASS;
	if (flow->in_ifindex != mesh_config.uplink_ifindex || flow->generation != mesh_generation())
		return XDP_PASS;
	if (!mesh_direct_note(ctx, flow, key.proto, frame))
		return XDP_PASS;
	if (!native && bpf_xdp_adjust_head(ctx, -(int)MESH_OUTER_SIZE))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	in = native ? data : data + MESH_OUTER_SIZE;
	/* It was there before. */
	if ((void *)in + MESH_L4_OFFSET + sizeof(struct udphdr) > data_end)
		return XDP_DROP;
	inner_length = ETH_HLEN + bpf_ntohs(in->ip.tot_len);

	if (flow->source_mac[0])
		__builtin_memcpy(in->macs, flow->destination_mac, 12);
	/* The upper half of its word: RFC 1141. */
	in->ip.ttl--;
	sum = (__u16)in->ip.check + (__u32)bpf_htons(0x0100);
	in->ip.check = (__sum16)(sum + (sum >= 0xffff));
	if (flow->target != MESH_TARGET_DIRECT) {
		if (key.proto == IPPROTO_TCP) {
			struct tcphdr *tcp = (void *)&in->sport;

			if ((void *)(tcp + 1) > data_end)
				return XDP_DROP;
			mesh_direct_sum(&tcp->check, flow);
		} else {
			struct udphdr *udp = (void *)&in->sport;

			if (udp->check) {
				mesh_direct_sum(&udp->check, flow);
				if (!udp->check)
					udp->check = 0xffff;
			}
		}
		in->ip.saddr = flow->saddr;
		in->ip.daddr = flow->daddr;
		in->ip.check = mesh_csum_apply(in->ip.check, flow->address_diff);
		in->sport = flow->sport;
		in->dport = flow->dport;
	}
	if (native) {
		/* What begins a connection does not come by here. */
		marked = !!(in->ip.frag_off & bpf_htons(MESH_IP_MARK));
		if (marked != (key.proto == IPPROTO_UDP && flow->flags & MESH_FLOW_SERVICE))
			mesh_ip_turn_mark(&in->ip);
		mesh_outer_macs(data, flow);
	} else {
		mesh_outer_write(data, flow, inner_length, in->ip.tos);
	}
	mesh_count_bytes(MESH_REASON_FORWARDED, MESH_DIRECTION_INGRESS, frame);
	return XDP_TX;
}
