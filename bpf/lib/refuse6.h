/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Refusals of IPv6. Included by lib/refuse.h. */
#pragma once

/*
 * Writes the ICMP error of `kind` about the packet, whose fourth layer begins at `offset`, behind
 * the answer's header. Returns its length; 0: nothing is to be said.
 */
static __always_inline __u32 mesh_refuse_icmp(struct __sk_buff *skb,
					      const struct mesh_source *source,
					      struct mesh_answer *answer, const struct mesh_ip6 *ip,
					      __u8 proto, int offset, int kind)
{
	__u32 quote = skb->len - ETH_HLEN, length = bpf_ntohs(ip->length) + sizeof(*ip);
	__u8 type;

	/* Padding of the frame is not quoted; the length of a jumbogram stands elsewhere. */
	if (ip->length && quote > length)
		quote = length;
	if (quote > MESH_QUOTE_MAX)
		quote = MESH_QUOTE_MAX;
	quote &= ~3u;
	if (quote < sizeof(*ip) + 8 || quote > MESH_QUOTE_MAX)
		return 0;
	/* Of ICMP only questions are answered, errors never. */
	if (proto == IPPROTO_ICMPV6 &&
	    (bpf_skb_load_bytes(skb, offset, &type, 1) || type != MESH_ECHO))
		return 0;
	__builtin_memset(&answer->icmp, 0, sizeof(answer->icmp));
	if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET, answer->quote, quote))
		return 0;
	answer->icmp.type = MESH_ICMP6_UNREACHABLE;
	switch (kind) {
	case MESH_ANSWER_PORT:
		answer->icmp.code = MESH_ICMP6_CODE_PORT;
		break;
	case MESH_ANSWER_PROTOCOL:
		answer->icmp.type = MESH_ICMP6_PARAMETER;
		answer->icmp.code = MESH_ICMP6_CODE_NEXT;
		/* Where the number of the header stands. */
		answer->icmp.sequence = offset == MESH_L4_OFFSET
						? bpf_htons(offsetof(struct mesh_ip6, next))
						: bpf_htons(sizeof(*ip));
		break;
	case MESH_ANSWER_TTL:
		answer->icmp.type = MESH_ICMP6_TIME_EXCEEDED;
		break;
	case MESH_ANSWER_TOO_BIG:
		answer->icmp.type = MESH_ICMP6_TOO_BIG;
		answer->icmp.sequence = bpf_htons(mesh_longest_for(source));
		break;
	}
	/* Said by the router that this node is. To itself it is none: no host takes a packet with
	 * its own source address from a link. */
	if ((kind == MESH_ANSWER_TTL || kind == MESH_ANSWER_TOO_BIG) &&
	    mesh_origin(source) != MESH_ORIGIN_NODE) {
		if (mesh_origin(source) == MESH_ORIGIN_UPLINK)
			mesh_copy_router(&answer->ip.saddr);
		else
			mesh_copy_own(&answer->ip.saddr, gateway);
	}
	mesh_answer_ip(answer, IPPROTO_ICMPV6, sizeof(answer->icmp) + quote);
	answer->icmp.checksum =
		mesh_answer_sum(answer, &answer->icmp, sizeof(answer->icmp) + quote);
	return sizeof(*ip) + sizeof(answer->icmp) + quote;
}

/* Counts the packet under `reason` and answers it where an answer is due. */
__noinline int mesh_refuse(struct __sk_buff *skb, const struct mesh_source *source, int reason,
			   __u32 direction)
{
	struct mesh_scratch_value *scratch;
	struct mesh_fragment6 fragment;
	struct mesh_answer *answer;
	struct tcphdr tcp;
	struct mesh_ip6 ip;
	__u32 zero = 0, length;
	int kind, offset = MESH_L4_OFFSET;
	__u8 proto;

	if (!source)
		return TC_ACT_SHOT;
	mesh_count(skb, reason, mesh_drop_direction(reason, direction));
	scratch = bpf_map_lookup_elem(&mesh_scratch, &zero);
	if (!scratch || bpf_skb_load_bytes(skb, MESH_L3_OFFSET, &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	proto = ip.next;
	if (proto == IPPROTO_FRAGMENT) {
		if (bpf_skb_load_bytes(skb, offset, &fragment, sizeof(fragment)) ||
		    fragment.offset & bpf_htons(MESH_FRAGMENT6_OFFSET))
			return TC_ACT_SHOT;
		proto = fragment.next;
		offset += sizeof(fragment);
	}
	kind = mesh_answer_kind(reason, proto);
	if (kind == MESH_ANSWER_NONE || !mesh_answerable(&ip))
		return TC_ACT_SHOT;
	answer = (struct mesh_answer *)scratch->answer_frame;
	answer->ip.saddr = ip.daddr;
	answer->ip.daddr = ip.saddr;

	if (kind == MESH_ANSWER_RESET) {
		if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof(tcp)) || tcp.rst)
			return TC_ACT_SHOT;
		mesh_answer_tcp(&tcp, bpf_ntohs(ip.length) - (offset - MESH_L4_OFFSET),
				&answer->tcp);
		mesh_answer_ip(answer, IPPROTO_TCP, sizeof(tcp));
		answer->tcp.check = mesh_answer_sum(answer, &answer->tcp, sizeof(tcp));
		length = sizeof(ip) + sizeof(tcp);
	} else {
		if (mesh_origin(source) != MESH_ORIGIN_POD &&
		    mesh_origin(source) != MESH_ORIGIN_NODE && !mesh_answer_budget(scratch))
			return TC_ACT_SHOT;
		length = mesh_refuse_icmp(skb, source, answer, &ip, proto, offset, kind);
		if (!length)
			return TC_ACT_SHOT;
	}
	return mesh_answer_emit(skb, source, scratch, length);
}
