/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Refusals of IPv4. Included by lib/refuse.h. */
#pragma once

/* Counts the packet under `reason` and answers it where an answer is due. */
__noinline int mesh_refuse(struct __sk_buff *skb, const struct mesh_source *source, int reason,
			   __u32 direction)
{
	struct mesh_scratch_value *scratch;
	struct mesh_answer *answer;
	struct iphdr ip;
	__u32 zero = 0, length, quote;
	__be32 saddr;
	__u8 code;
	int kind;

	if (!source)
		return TC_ACT_SHOT;
	mesh_count(skb, reason, mesh_drop_direction(reason, direction));
	scratch = bpf_map_lookup_elem(&mesh_scratch, &zero);
	if (!scratch || bpf_skb_load_bytes(skb, MESH_L3_OFFSET, &ip, sizeof(ip)))
		return TC_ACT_SHOT;
	kind = reason == MESH_REASON_UNSUPPORTED && ip.ihl != 5
		       ? MESH_ANSWER_OPTIONS
		       : mesh_answer_kind(reason, ip.protocol);
	if (kind == MESH_ANSWER_NONE || !mesh_answerable(&ip))
		return TC_ACT_SHOT;
	answer = (struct mesh_answer *)scratch->answer_frame;

	if (kind == MESH_ANSWER_RESET) {
		struct tcphdr tcp;

		if (bpf_skb_load_bytes(skb, MESH_L4_OFFSET, &tcp, sizeof(tcp)) || tcp.rst)
			return TC_ACT_SHOT;
		mesh_answer_tcp(&tcp, bpf_ntohs(ip.tot_len) - sizeof(ip), &answer->tcp);
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
		if (mesh_origin(source) != MESH_ORIGIN_POD &&
		    mesh_origin(source) != MESH_ORIGIN_NODE && !mesh_answer_budget(scratch))
			return TC_ACT_SHOT;
		__builtin_memset(&answer->icmp, 0, sizeof(answer->icmp));
		if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET, answer->quote, quote))
			return TC_ACT_SHOT;
		if (ip.protocol == IPPROTO_ICMP) {
			/* Of ICMP only questions are answered, errors never. */
			if (bpf_skb_load_bytes(skb, MESH_L3_OFFSET + ip.ihl * 4, &code, 1) ||
			    code != MESH_ECHO)
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
			answer->icmp.sequence = bpf_htons(mesh_longest_for(source));
			break;
		}
		/* Said by the router that this node is. To itself it is none: no host takes a
		 * packet with its own source address from a link. */
		if ((kind == MESH_ANSWER_TTL || kind == MESH_ANSWER_TOO_BIG) &&
		    mesh_origin(source) != MESH_ORIGIN_NODE)
			saddr = mesh_origin(source) == MESH_ORIGIN_POD ? mesh_config.gateway
								       : mesh_config.node_ip;
		answer->icmp.checksum = mesh_csum_finish((__u32)bpf_csum_diff(
			NULL, 0, (__be32 *)&answer->icmp, sizeof(answer->icmp) + quote, 0));
		length = sizeof(ip) + sizeof(answer->icmp) + quote;
		mesh_answer_ip(answer, IPPROTO_ICMP, length, saddr, ip.saddr);
	}

	return mesh_answer_emit(skb, source, scratch, length);
}
