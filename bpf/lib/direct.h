/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Established flows from outside to pods of other nodes, before the kernel has made a packet of
 * what the card received: one lookup, a new source or none, the headers of the tunnel, and out
 * again. Everything that decides, answers or changes a flow's state is left to the tc program.
 */
#pragma once

#include "lib/checksum.h"
#include "lib/common.h"
#include "lib/flow.h"
#include "lib/metrics.h"
#include "lib/packet.h"
#include "lib/state.h"

struct mesh_vxlan {
	__be32 flags; /* MESH_VXLAN_HAS_VNI */
	__be32 vni;   /* in the upper 24 bits */
};
#define MESH_VXLAN_HAS_VNI 0x08000000

struct mesh_outer {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
	struct mesh_vxlan vxlan;
} __attribute__((packed));
_Static_assert(sizeof(struct mesh_outer) == 50, "the tunnel's overhead");

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

/* Learns who takes packets to the other node. Returns 0 when the kernel has to find out first. */
static __always_inline int mesh_direct_next_hop(struct xdp_md *ctx, struct mesh_flow_value *flow)
{
	struct bpf_fib_lookup fib = {};

	fib.family = 2; /* AF_INET */
	fib.ipv4_src = mesh_config.node_ip;
	fib.ipv4_dst = flow->out_peer;
	fib.ifindex = mesh_config.net_ifindex; /* see mesh_resolve_outside() */
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    fib.ifindex != mesh_config.uplink_ifindex) {
		__builtin_memset(flow->next_hop_mac, 0, ETH_ALEN);
		return 0;
	}
	__builtin_memcpy(flow->next_hop_mac, fib.dmac, ETH_ALEN);
	return 1;
}

static __always_inline int mesh_direct_no_next_hop(const struct mesh_flow_value *flow)
{
	const __u8 *mac = flow->next_hop_mac;

	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

/* Notes the packet in its flow, and once a second asks again for the next hop. */
static __always_inline int mesh_direct_note(struct xdp_md *ctx, struct mesh_flow_value *flow,
					    __u8 proto, __u32 length)
{
	__u32 tick = bpf_jiffies64();
	int again = mesh_direct_no_next_hop(flow);

	if (flow->last_tick != tick) {
		__u64 now_ns = bpf_ktime_get_coarse_ns();

		again |= now_ns / MESH_SECOND_NS != flow->last_seen_ns / MESH_SECOND_NS;
		if (again && !mesh_direct_next_hop(ctx, flow))
			return 0;
		flow->last_tick = tick;
		flow->last_seen_ns = now_ns;
	} else if (again && !mesh_direct_next_hop(ctx, flow)) {
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

static __always_inline void mesh_direct_count(__u32 length)
{
	__u32 index = MESH_METRICS_INDEX(MESH_REASON_FORWARDED, MESH_DIRECTION_INGRESS);
	struct mesh_metrics_value *value = bpf_map_lookup_elem(&mesh_metrics, &index);

	if (value) {
		value->packets++;
		value->bytes += length;
	}
}

static __always_inline void mesh_direct_outer(struct mesh_outer *outer,
					      const struct mesh_flow_value *flow,
					      const struct mesh_flow_key *key, __u32 inner_length)
{
	__u32 length = inner_length + sizeof(*outer) - ETH_HLEN;
	__u32 spread = key->saddr ^ key->daddr ^ ((__u32)key->sport << 16 | key->dport);
	__u64 sum;
	int i;

	spread ^= spread >> 16;
	spread ^= spread >> 7;
	__builtin_memcpy(outer->eth.h_dest, flow->next_hop_mac, ETH_ALEN);
#pragma unroll
	for (i = 0; i < ETH_ALEN; i++)
		outer->eth.h_source[i] = mesh_config.uplink_mac[i];
	outer->eth.h_proto = bpf_htons(ETH_P_IP);
	*(__be16 *)&outer->ip = bpf_htons(0x4500);
	outer->ip.tot_len = bpf_htons(length);
	outer->ip.id = 0;
	outer->ip.frag_off = 0;
	outer->ip.ttl = 64;
	outer->ip.protocol = IPPROTO_UDP;
	outer->ip.saddr = mesh_config.node_ip;
	outer->ip.daddr = flow->out_peer;
	sum = bpf_htons(0x4500);
	sum += bpf_htons(length);
	sum += bpf_htons(64 << 8 | IPPROTO_UDP);
	sum += mesh_config.node_ip;
	sum += flow->out_peer;
	outer->ip.check = mesh_csum_apply((__sum16)0xffff, mesh_csum_fold32(sum));
	outer->udp.source = bpf_htons(49152 | (spread & 0x3fff));
	outer->udp.dest = bpf_htons(MESH_VXLAN_PORT);
	outer->udp.len = bpf_htons(length - sizeof(outer->ip));
	outer->udp.check = 0;
	outer->vxlan.flags = bpf_htonl(MESH_VXLAN_HAS_VNI);
	outer->vxlan.vni = bpf_htonl(flow->vni << 8);
}

static __always_inline int mesh_direct_forward(struct xdp_md *ctx)
{
	struct mesh_flow_value *flow;
	struct mesh_flow_key key;
	struct mesh_outer *outer;
	struct mesh_inner *in;
	void *data, *data_end;
	__u32 frame = ctx->data_end - ctx->data, inner_length, sum;

	if (!mesh_direct_parse(ctx, &key))
		return XDP_PASS;
	flow = bpf_map_lookup_elem(&mesh_flow, &key);
	if (!flow || (flow->target != MESH_TARGET_DIRECT && flow->target != MESH_TARGET_TUNNEL) ||
	    flow->in_ifindex != mesh_config.uplink_ifindex || flow->generation != mesh_generation())
		return XDP_PASS;
	if (!mesh_direct_note(ctx, flow, key.proto, frame))
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -(int)sizeof(struct mesh_outer)))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	data_end = (void *)(long)ctx->data_end;
	outer = data;
	in = data + sizeof(*outer);
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
	if (flow->target == MESH_TARGET_TUNNEL) {
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
	mesh_direct_outer(outer, flow, &key, inner_length);
	mesh_direct_count(frame);
	return XDP_TX;
}
