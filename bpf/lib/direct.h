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

/*
 * What each family does by itself, of a packet with MESH_IP_HEADER_SIZE + 8 bytes at `ip`:
 *   mesh_direct_read()   addresses and protocol for the key; returns the packet's length as its
 *                        header tells it, 0: not one for here
 *   mesh_direct_route()  what a router takes off
 *   mesh_direct_write()  the flow's addresses
 *   mesh_direct_mark()   sets or takes off what mesh_packet.marked is read from
 *   mesh_direct_tos(), mesh_direct_length()
 */
#ifdef MESH_IPV6
#include "lib/direct6.h"
#else
#include "lib/direct4.h"
#endif

#ifndef MESH_IPV6
/* The same of the other family: progs/uplink_xdp.bpf.c. */
extern int mesh_direct6(struct xdp_md *ctx) __hidden;
#endif

/* What this family has no flow for. Returns the program's verdict. */
static __always_inline int mesh_direct_leave(struct xdp_md *ctx)
{
#ifndef MESH_IPV6
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	if (mesh_config.ipv6 && (void *)(eth + 1) <= data_end &&
	    eth->h_proto == bpf_htons(ETH_P_IPV6))
		return mesh_direct6(ctx);
#endif
	return XDP_PASS;
}

/* Reads the tuple. Returns 0 for what the tc program has to see. */
static __always_inline int mesh_direct_parse(struct xdp_md *ctx, struct mesh_flow_key *key)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	__be16 *ports = data + MESH_L4_OFFSET;
	struct ethhdr *eth = data;
	struct tcphdr *tcp;
	__u32 length;

	if (data + MESH_L4_OFFSET + sizeof(struct udphdr) > data_end)
		return 0;
	if (eth->h_proto != bpf_htons(MESH_ETH_P))
		return 0;
	__builtin_memset(key, 0, sizeof(*key));
	length = mesh_direct_read(data + MESH_L3_OFFSET, key);
	if (length > mesh_config.pod_mtu || length > (__u32)(data_end - data) - MESH_L3_OFFSET)
		return 0;
	if (key->proto == IPPROTO_TCP) {
		tcp = data + MESH_L4_OFFSET;
		if ((void *)(tcp + 1) > data_end || length < MESH_IP_HEADER_SIZE + sizeof(*tcp))
			return 0;
		if (((__u8 *)tcp)[13] & (MESH_TCP_SYN | MESH_TCP_FIN | MESH_TCP_RST))
			return 0;
	} else if (key->proto != IPPROTO_UDP ||
		   length < MESH_IP_HEADER_SIZE + sizeof(struct udphdr)) {
		return 0;
	}
	key->sport = ports[0];
	key->dport = ports[1];
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
	if (proto == IPPROTO_TCP && unlikely(!flow->tcp_data || flow->tcp_rst))
		mesh_flow_lives(flow);
	return 1;
}

/* As lib/forward.h does; the sums of a packet that a card has received are complete. */
static __always_inline void mesh_direct_sum(__sum16 *check, const struct mesh_flow_value *flow)
{
	*check = mesh_csum_apply(mesh_csum_apply(*check, flow->address_diff), flow->port_diff);
}

/* Writes the flow's addresses and ports into the packet at `ip`. Returns 0 when it is too short. */
static __always_inline int mesh_direct_translate(void *ip, void *data_end, __u8 proto,
						 const struct mesh_flow_value *flow)
{
	__be16 *ports = ip + MESH_IP_HEADER_SIZE;

	if (proto == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)ports;

		if ((void *)(tcp + 1) > data_end)
			return 0;
		mesh_direct_sum(&tcp->check, flow);
	} else {
		struct udphdr *udp = (void *)ports;

		if (udp->check) {
			mesh_direct_sum(&udp->check, flow);
			if (!udp->check)
				udp->check = 0xffff;
		}
	}
	mesh_direct_write(ip, flow);
	ports[0] = flow->sport;
	ports[1] = flow->dport;
	return 1;
}

static __always_inline int mesh_direct_forward(struct xdp_md *ctx)
{
	struct mesh_flow_value *flow;
	struct mesh_flow_key key;
	void *data, *data_end, *inner, *ip;
	__u32 frame = ctx->data_end - ctx->data;
	int native;

	if (!mesh_direct_parse(ctx, &key))
		return mesh_direct_leave(ctx);
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
	inner = native ? data : data + MESH_OUTER_SIZE;
	ip = inner + MESH_L3_OFFSET;
	/* It was there before. */
	if (inner + MESH_L4_OFFSET + sizeof(struct udphdr) > data_end)
		return XDP_DROP;

	/* Destination and source, in the order of the wire. */
	if (flow->source_mac[0])
		__builtin_memcpy(inner, flow->destination_mac, 12);
	mesh_direct_route(ip);
	if (flow->target != MESH_TARGET_DIRECT &&
	    !mesh_direct_translate(ip, data_end, key.proto, flow))
		return XDP_DROP;
	if (native) {
		/* What begins a connection does not come by here. */
		mesh_direct_mark(ip, key.proto == IPPROTO_UDP && flow->flags & MESH_FLOW_SERVICE);
		mesh_outer_macs(data, flow);
	} else {
		mesh_outer_write(data, flow, ETH_HLEN + mesh_direct_length(ip),
				 mesh_direct_tos(ip));
	}
	mesh_count_bytes(MESH_REASON_FORWARDED_XDP, MESH_DIRECTION_INGRESS, frame);
	return XDP_TX;
}
