/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers to packets that go nowhere: a client learns at once what a silent drop would tell it
 * after a minute. TCP is answered with a reset, the rest with an ICMP error; one small answer per
 * packet, so nobody is flooded with more than he has sent. Isolation and a full table stay silent:
 * the one must not tell what is there, the other is over in a moment.
 */
#pragma once

#include "lib/common.h"
#include "lib/metrics.h"
#include "lib/open.h"
#include "lib/packet.h"

/* ICMP errors a second and CPU towards senders that are not of this node (RFC 1812, 4.3.2.8). */
#define MESH_ICMP_ERRORS_PER_SECOND 1000

#define MESH_ICMP_CODE_PROTOCOL	   2
#define MESH_ICMP_CODE_PORT	   3
#define MESH_ICMP_CODE_FRAG_NEEDED 4

struct mesh_answer {
	struct ethhdr eth;
	struct iphdr ip;
	union {
		struct tcphdr tcp;
		struct {
			struct mesh_icmp icmp;
			__u8 quote[MESH_QUOTE_MAX];
		} __attribute__((packed));
	};
} __attribute__((packed));
_Static_assert(sizeof(struct mesh_answer) <= MESH_ANSWER_MAX, "room in mesh_scratch");

/* What is to be said: 0 (nothing), or one of these. */
enum mesh_answer_kind {
	MESH_ANSWER_NONE,
	MESH_ANSWER_RESET,
	MESH_ANSWER_PORT,     /* ICMP: nobody at this port */
	MESH_ANSWER_PROTOCOL, /* ICMP: nobody for this protocol */
	MESH_ANSWER_OPTIONS,  /* ICMP: these IP options are not carried */
	MESH_ANSWER_TTL,
	MESH_ANSWER_TOO_BIG,
};

static __always_inline int mesh_answer_kind(int reason, const struct iphdr *ip)
{
	switch (reason) {
	case MESH_REASON_NO_SERVICE:
	case MESH_REASON_NO_BACKEND:
	case MESH_REASON_BACKEND_GONE:
		return ip->protocol == IPPROTO_TCP ? MESH_ANSWER_RESET : MESH_ANSWER_PORT;
	case MESH_REASON_NO_FLOW:
		return ip->protocol == IPPROTO_TCP ? MESH_ANSWER_RESET : MESH_ANSWER_NONE;
	case MESH_REASON_SCTP:
		return MESH_ANSWER_PROTOCOL;
	case MESH_REASON_UNSUPPORTED:
		if (ip->ihl != 5)
			return MESH_ANSWER_OPTIONS;
		return ip->protocol == IPPROTO_ICMP ? MESH_ANSWER_NONE : MESH_ANSWER_PROTOCOL;
	case MESH_REASON_TTL:
		return MESH_ANSWER_TTL;
	case MESH_REASON_TOO_BIG:
		return MESH_ANSWER_TOO_BIG;
	}
	return MESH_ANSWER_NONE;
}

/* Addresses that cannot be answered, or that are not one receiver's: RFC 1122, 3.2.2. */
static __always_inline int mesh_answerable(const struct iphdr *ip)
{
	__u32 saddr = bpf_ntohl(ip->saddr), daddr = bpf_ntohl(ip->daddr);

	if (ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
		return 0;
	/* 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on: groups, reserved, broadcast. */
	if (saddr >> 24 == 0 || saddr >> 24 == 127 || saddr >= 0xe0000000)
		return 0;
	return daddr >> 24 != 0 && daddr >> 24 != 127 && daddr < 0xe0000000;
}

static __always_inline int mesh_answer_budget(struct mesh_scratch_value *scratch)
{
	__u32 second = bpf_ktime_get_coarse_ns() >> 30;

	if (scratch->icmp_second != second) {
		scratch->icmp_second = second;
		scratch->icmp_errors = 0;
	}
	return scratch->icmp_errors++ < MESH_ICMP_ERRORS_PER_SECOND;
}

/*
 * Gives the packet `length` zeroed bytes behind nothing of its past: no segmentation to be done
 * (change_tail) and no checksum to be filled in. That one the kernel forgets when the place where
 * the sum begins is pulled off; older kernels look before they pull, and see it the second time.
 */
static __always_inline int mesh_blank(struct __sk_buff *skb, __u32 length)
{
	if (bpf_skb_change_tail(skb, ETH_HLEN + 160, 0))
		return -1;
	if (bpf_skb_adjust_room(skb, -100, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	if (bpf_skb_adjust_room(skb, -4, BPF_ADJ_ROOM_MAC, 0))
		return -1;
	return bpf_skb_change_tail(skb, length, 0);
}

/* RFC 9293, 3.10.7.1: what a host answers where there is no connection. */
static __always_inline void mesh_answer_tcp(const struct iphdr *ip, const struct tcphdr *in,
					    struct tcphdr *out)
{
	__u32 length = bpf_ntohs(ip->tot_len) - sizeof(*ip) - in->doff * 4u;

	__builtin_memset(out, 0, sizeof(*out));
	out->source = in->dest;
	out->dest = in->source;
	out->doff = sizeof(*out) / 4;
	out->rst = 1;
	if (in->ack) {
		out->seq = in->ack_seq;
		return;
	}
	out->ack = 1;
	out->ack_seq = bpf_htonl(bpf_ntohl(in->seq) + length + in->syn + in->fin);
}

static __always_inline __sum16 mesh_csum_finish(__u64 sum)
{
	sum = mesh_csum_fold32(sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__sum16)~sum;
}

static __always_inline void mesh_answer_ip(struct mesh_answer *answer, __u8 protocol, __u32 length,
					   __be32 saddr, __be32 daddr)
{
	struct iphdr *ip = &answer->ip;

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(length);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = saddr;
	ip->daddr = daddr;
	ip->check = mesh_csum_finish(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
}

/* Sends the answer, which stands in `skb`, to where the packet has come from. */
static __always_inline int mesh_answer_send(struct __sk_buff *skb, const struct mesh_source *source)
{
	struct bpf_tunnel_key tunnel;

	/* With direct return the client is answered from here, whichever node it has dialled. */
	if (mesh_source_is_outside(source))
		return bpf_redirect_neigh(mesh_config.uplink_ifindex, NULL, 0, 0);
	if (source->origin == MESH_ORIGIN_OVERLAY) {
		__builtin_memset(&tunnel, 0, sizeof(tunnel));
		tunnel.tunnel_id = MESH_IDENTITY_HOST;
		tunnel.remote_ipv4 = bpf_ntohl(source->peer);
		tunnel.local_ipv4 = bpf_ntohl(mesh_config.node_ip);
		tunnel.tunnel_ttl = 64;
		if (bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), BPF_F_ZERO_CSUM_TX))
			return TC_ACT_SHOT;
	}
	return bpf_redirect(source->ifindex, 0);
}

/* Counts the packet under `reason` and answers it where an answer is due. */
static __noinline int mesh_refuse(struct __sk_buff *skb, const struct mesh_source *source,
				  int reason, __u32 direction)
{
	struct mesh_scratch_value *scratch;
	struct mesh_answer *answer;
	struct iphdr ip;
	__u32 zero = 0, length, quote;
	__be32 saddr;
	__u8 code;
	int kind;

	mesh_count(skb, reason,
		   reason == MESH_REASON_ISOLATION ? MESH_DIRECTION_INGRESS : direction);
	scratch = bpf_map_lookup_elem(&mesh_scratch, &zero);
	if (!scratch || bpf_skb_load_bytes(skb, MESH_L3_OFFSET, &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	kind = mesh_answer_kind(reason, &ip);
	if (kind == MESH_ANSWER_NONE || !mesh_answerable(&ip))
		return TC_ACT_SHOT;
	answer = (struct mesh_answer *)scratch->answer_frame;

	if (kind == MESH_ANSWER_RESET) {
		struct tcphdr tcp;

		if (bpf_skb_load_bytes(skb, MESH_L4_OFFSET, &tcp, sizeof(tcp)) || tcp.rst)
			return TC_ACT_SHOT;
		mesh_answer_tcp(&ip, &tcp, &answer->tcp);
		length = sizeof(ip) + sizeof(tcp);
		mesh_answer_ip(answer, IPPROTO_TCP, length, ip.daddr, ip.saddr);
		answer->tcp.check = mesh_csum_finish(
			(__u64)ip.saddr + ip.daddr + bpf_htons(IPPROTO_TCP) +
			bpf_htons(sizeof(tcp)) +
			(__u32)bpf_csum_diff(NULL, 0, (__be32 *)&answer->tcp, sizeof(tcp), 0));
	} else {
		/* The header with its options and 8 bytes, what every receiver needs to know. */
		quote = ip.ihl * 4 + 8;
		if (quote > MESH_QUOTE_MAX)
			return TC_ACT_SHOT;
		if (source->origin != MESH_ORIGIN_POD && source->origin != MESH_ORIGIN_NODE &&
		    !mesh_answer_budget(scratch))
			return TC_ACT_SHOT;
		__builtin_memset(&answer->icmp, 0, sizeof(answer->icmp));
		if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET, answer->quote, quote))
			return TC_ACT_SHOT;
		if (ip.protocol == IPPROTO_ICMP) {
			/* Of ICMP only questions are answered, errors never. */
			if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET + ip.ihl * 4, &code, 1) ||
			    code != MESH_ICMP_ECHO)
				return TC_ACT_SHOT;
		}
		saddr = ip.daddr;
		answer->icmp.type = MESH_ICMP_UNREACHABLE;
		switch (kind) {
		case MESH_ANSWER_PORT:
			answer->icmp.code = MESH_ICMP_CODE_PORT;
			break;
		case MESH_ANSWER_PROTOCOL:
			answer->icmp.code = MESH_ICMP_CODE_PROTOCOL;
			break;
		case MESH_ANSWER_OPTIONS:
			answer->icmp.type = MESH_ICMP_PARAMETER;
			*(__u8 *)&answer->icmp.id = sizeof(ip); /* where it hurts */
			break;
		case MESH_ANSWER_TTL:
			answer->icmp.type = MESH_ICMP_TIME_EXCEEDED;
			break;
		case MESH_ANSWER_TOO_BIG:
			answer->icmp.code = MESH_ICMP_CODE_FRAG_NEEDED;
			answer->icmp.sequence = bpf_htons(mesh_config.pod_mtu);
			break;
		}
		/* Said by the router that this node is. To itself it is none: no host takes a
		 * packet with its own source address from a link. */
		if ((kind == MESH_ANSWER_TTL || kind == MESH_ANSWER_TOO_BIG) &&
		    source->origin != MESH_ORIGIN_NODE)
			saddr = source->origin == MESH_ORIGIN_POD ? mesh_config.gateway
								  : mesh_config.node_ip;
		answer->icmp.checksum = mesh_csum_finish((__u32)bpf_csum_diff(
			NULL, 0, (__be32 *)&answer->icmp, sizeof(answer->icmp) + quote, 0));
		length = sizeof(ip) + sizeof(answer->icmp) + quote;
		mesh_answer_ip(answer, IPPROTO_ICMP, length, saddr, ip.saddr);
	}

	if (bpf_skb_load_bytes(skb, 0, answer->eth.h_source, ETH_ALEN) ||
	    bpf_skb_load_bytes(skb, ETH_ALEN, answer->eth.h_dest, ETH_ALEN))
		return TC_ACT_SHOT;
	answer->eth.h_proto = bpf_htons(ETH_P_IP);
	length += ETH_HLEN;
	if (length > sizeof(*answer) || mesh_blank(skb, length) ||
	    bpf_skb_store_bytes(skb, 0, answer, length, 0))
		return TC_ACT_SHOT;
	return mesh_answer_send(skb, source);
}
