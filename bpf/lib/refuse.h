/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers to packets that go nowhere: a client learns at once what a silent drop would tell it
 * after a minute. TCP is answered with a reset, the rest with an ICMP error; one small answer per
 * packet, so nobody is flooded with more than he has sent. Isolation and a full table stay silent:
 * the one must not tell what is there, the other is over in a moment.
 */
#pragma once

#include "lib/answer_kind.h"
#include "lib/checksum.h"
#include "lib/event.h"
#include "lib/family.h"
#include "lib/metrics.h"
#include "lib/open.h"
#include "lib/packet.h"

/* ICMP errors a second and CPU towards senders that are not of this node (RFC 1812, 4.3.2.8). */
#define MESH_ICMP_ERRORS_PER_SECOND 1000

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

/* RFC 9293, 3.10.7.1: what a host answers where there is no connection. `length` is that of the
 * header and all behind it. */
static __always_inline void mesh_answer_tcp(const struct tcphdr *in, __u32 length,
					    struct tcphdr *out)
{
	__u32 data_length = length - in->doff * 4u;

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
	out->ack_seq = bpf_htonl(bpf_ntohl(in->seq) + data_length + in->syn + in->fin);
}

static __always_inline __sum16 mesh_csum_finish(__u64 sum)
{
	sum = mesh_csum_fold32(sum);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__sum16)~sum;
}

/* What the answers of a family consist of: struct mesh_answer, which begins with `eth`. */
#ifdef MESH_IPV6
#include "lib/answer6.h"
#else
#include "lib/answer4.h"
#endif

/* Sends the answer to the node that has the pod it is for. The flow in `scratch` is given up. */
static MESH_FRAME int mesh_native_answer(struct mesh_scratch_value *scratch)
{
	struct mesh_answer *answer = (struct mesh_answer *)scratch->answer_frame;
	const mesh_addr to = answer->ip.daddr;

	return mesh_native_target(&to, &scratch->flow) ? TC_ACT_SHOT
						       : mesh_native_send(&scratch->flow);
}

/* Sends the answer, which stands in `skb`, to where the packet has come from. */
static __always_inline int mesh_answer_send(struct __sk_buff *skb, const struct mesh_source *source,
					    struct mesh_scratch_value *scratch)
{
	/* With direct return the client is answered from here, whichever node it has dialled. */
	if (mesh_source_is_outside(source))
		return bpf_redirect_neigh(mesh_config.uplink_ifindex, NULL, 0, 0);
	if (MESH_IS_NATIVE && source->native)
		return mesh_native_answer(scratch);
	if (mesh_origin(source) == MESH_ORIGIN_OVERLAY) {
		if (mesh_tunnel_set(skb, source->peer, MESH_IDENTITY_HOST))
			return TC_ACT_SHOT;
	}
	return bpf_redirect(source->ifindex, 0);
}

/* Puts the answer, of `length` bytes without the Ethernet header, in the place of the packet. */
static __always_inline int mesh_answer_emit(struct __sk_buff *skb, const struct mesh_source *source,
					    struct mesh_scratch_value *scratch, __u32 length)
{
	struct mesh_answer *answer = (struct mesh_answer *)scratch->answer_frame;

	if (bpf_skb_load_bytes(skb, 0, answer->eth.h_source, ETH_ALEN) ||
	    bpf_skb_load_bytes(skb, ETH_ALEN, answer->eth.h_dest, ETH_ALEN))
		return TC_ACT_SHOT;
	answer->eth.h_proto = bpf_htons(MESH_ETH_P);
	length += ETH_HLEN;
	if (length > sizeof(*answer) || mesh_blank(skb, length) ||
	    bpf_skb_store_bytes(skb, 0, answer, length, 0))
		return TC_ACT_SHOT;
	return mesh_answer_send(skb, source, scratch);
}

/* Of outside only what is dispatched through the tunnel can be too long. */
static __always_inline __u32 mesh_longest_for(const struct mesh_source *source)
{
	return mesh_origin(source) == MESH_ORIGIN_UPLINK ? mesh_config.tunnel_mtu
							 : mesh_config.pod_mtu;
}

/* mesh_refuse(), of each family. */
#ifdef MESH_IPV6
#include "lib/refuse6.h"
#else
#include "lib/refuse4.h"
#endif

/* Tells of the drop, and refuses. `reason` may have MESH_REASON_DECIDED. */
static __always_inline int mesh_turn_away(struct __sk_buff *skb, const struct mesh_source *source,
					  int reason, __u32 direction)
{
	__u32 only = reason & ~MESH_REASON_DECIDED;

	mesh_event_drop(skb, only, direction, source->identity, reason & MESH_REASON_DECIDED);
	return mesh_refuse(skb, source, only, direction);
}
