/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Writes into IPv6. Included by lib/rewrite.h. Its header has no checksum of its own; that of the
 * fourth layer, ICMP included, covers the addresses. So a whole packet that is translated keeps its
 * sum, and where a card has told one (CHECKSUM_COMPLETE) it stays right; only what no checksum
 * takes up is told to the kernel.
 */
#pragma once

/* Where the checksum of the fourth layer stands in its header. */
static __always_inline int mesh_check_offset(__u8 proto)
{
	if (proto == IPPROTO_TCP)
		return offsetof(struct tcphdr, check);
	if (proto == IPPROTO_UDP)
		return offsetof(struct udphdr, check);
	return offsetof(struct mesh_icmp, checksum);
}

/*
 * By the kernel's helpers, where nobody can say whether the checksum is to be filled in by the card
 * (then it holds the sum of the pseudo header only: addresses belong to it, ports do not).
 */
static __always_inline int mesh_replace_l4_checksum(struct __sk_buff *skb, int offset, __u8 proto,
						    const struct mesh_flow_value *flow)
{
	__u64 flags = proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;

	if (flow->address_diff) {
		if (bpf_l4_csum_replace(skb, offset, 0, flow->address_diff,
					flags | BPF_F_PSEUDO_HDR))
			return MESH_REASON_KERNEL;
		/* It takes the addresses for some that a checksum of their own makes up for. */
		bpf_csum_update(skb, flow->address_diff);
	}
	if (flow->port_diff && bpf_l4_csum_replace(skb, offset, 0, flow->port_diff, flags))
		return MESH_REASON_KERNEL;
	return 0;
}

/*
 * An ICMP error goes the way of the flow it reports about, and what it quotes is put back to what
 * the receiver has sent. Its checksum covers all that changes: its own addresses, those quoted, the
 * quoted ports, and the quoted checksum where the quote reaches that far.
 */
static __always_inline int mesh_rewrite_icmp_error(struct __sk_buff *skb,
						   const struct mesh_packet *packet,
						   const struct mesh_flow_value *flow)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;
	struct mesh_icmp *icmp = data + MESH_L4_OFFSET;
	struct mesh_ip6 *inner = (void *)(icmp + 1);
	__u32 length = sizeof(*icmp) + sizeof(*inner);
	__be16 *ports = (void *)(inner + 1);
	__u64 diff;
	__sum16 *check = NULL;
	__sum16 old;

	if ((void *)(ports + 4) > data_end)
		return MESH_REASON_INVALID;
	diff = mesh_csum_replace_addr(&ip->daddr, &flow->daddr);
	/* Of the answering side itself, not of a router on the way. */
	if (mesh_addr_equal(&ip->saddr, &packet->key.saddr)) {
		diff += mesh_csum_replace_addr(&ip->saddr, &flow->saddr);
		mesh_addr_copy(&ip->saddr, &flow->saddr);
	} else if (mesh_is_link_local(&ip->saddr)) {
		/* Behind this link it means nothing: what follows is the next router's word. */
		diff += mesh_csum_from_addr(&ip->saddr);
		mesh_copy_router(&ip->saddr);
		diff += mesh_csum_to_addr(&ip->saddr);
	}
	mesh_addr_copy(&ip->daddr, &flow->daddr);
	mesh_addr_copy(&inner->saddr, &flow->daddr);
	mesh_addr_copy(&inner->daddr, &flow->saddr);
	diff += (__u64)flow->address_diff + flow->port_diff;
	if (inner->next == IPPROTO_FRAGMENT) {
		ports += 4;
		length += sizeof(struct mesh_fragment6);
		if ((void *)(ports + 4) > data_end)
			return MESH_REASON_INVALID;
	}
	if (packet->key.proto == IPPROTO_ICMPV6) {
		if (flow->port_diff)
			ports[2] = flow->sport ?: flow->dport;
		check = &ports[1];
	} else {
		if (flow->port_diff) {
			ports[0] = flow->dport;
			ports[1] = flow->sport;
		}
		if (packet->key.proto == IPPROTO_UDP && ports[3])
			check = &ports[3];
		/* The end of the frame may be padding. */
		else if (packet->key.proto == IPPROTO_TCP && bpf_ntohs(ip->length) >= length + 18 &&
			 (void *)(ports + 9) <= data_end)
			check = &ports[8];
	}
	if (check) {
		old = *check;
		*check = mesh_csum_apply(mesh_csum_apply(old, flow->address_diff), flow->port_diff);
		if (packet->key.proto == IPPROTO_UDP && !*check)
			*check = 0xffff; /* all zeros: none */
		diff += (__u64)(__u16)~old + (__u16)*check;
	}
	icmp->checksum = mesh_csum_apply(icmp->checksum, mesh_csum_fold32(diff));
	return 0;
}

/* A fragment behind the first has addresses only; the checksum stands in the first. */
static __always_inline int mesh_rewrite_later_fragment(struct __sk_buff *skb,
						       const struct mesh_flow_value *flow)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;

	if ((void *)(ip + 1) > data_end)
		return MESH_REASON_INVALID;
	mesh_addr_copy(&ip->saddr, &flow->saddr);
	mesh_addr_copy(&ip->daddr, &flow->daddr);
	bpf_csum_update(skb, flow->address_diff);
	return 0;
}

/* Writes the flow's addresses into the packet. */
static __noinline int mesh_rewrite(struct __sk_buff *skb, const struct mesh_packet *packet,
				   const struct mesh_flow_value *flow)
{
	int offset = mesh_l4_offset(packet);
	__u8 proto = packet->key.proto;
	void *data, *data_end;
	struct mesh_ip6 *ip;
	__be16 *ports;
	int summed;

	if (packet->icmp_error)
		return mesh_rewrite_icmp_error(skb, packet, flow);
	if (unlikely(packet->fragment == MESH_FRAGMENT_LATER))
		return mesh_rewrite_later_fragment(skb, flow);
	summed = mesh_ip_summed(skb);
	if (summed == MESH_SUMMED_BY_HELPER &&
	    mesh_replace_l4_checksum(skb, offset + mesh_check_offset(proto), proto, flow))
		return MESH_REASON_KERNEL;
	data = (void *)(long)skb->data;
	data_end = (void *)(long)skb->data_end;
	ip = data + MESH_L3_OFFSET;
	ports = data + offset;
	if ((void *)(ports + 4) > data_end)
		return MESH_REASON_INVALID;
	if (proto == IPPROTO_TCP) {
		struct tcphdr *tcp = (void *)ports;

		if ((void *)(tcp + 1) > data_end)
			return MESH_REASON_INVALID;
		if (summed != MESH_SUMMED_BY_HELPER)
			mesh_write_l4_checksum(&tcp->check, proto, summed, flow);
	} else if (summed != MESH_SUMMED_BY_HELPER) {
		/* The third and fourth word: of UDP its checksum, of ICMP its id. */
		mesh_write_l4_checksum(proto == IPPROTO_UDP ? &ports[3] : &ports[1], proto, summed,
				       flow);
	}
	mesh_addr_copy(&ip->saddr, &flow->saddr);
	mesh_addr_copy(&ip->daddr, &flow->daddr);
	if (proto != IPPROTO_ICMPV6) {
		ports[0] = flow->sport;
		ports[1] = flow->dport;
	} else if (flow->port_diff) {
		ports[2] = flow->sport ?: flow->dport;
	}
	return 0;
}

/* Turns the bit that mesh_packet.marked was read from. */
static MESH_FRAME int mesh_turn_mark(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;

	__be32 was;

	if ((void *)(ip + 1) > data_end)
		return MESH_REASON_INVALID;
	was = ip->version_flow;
	ip->version_flow = was ^ bpf_htonl(MESH_IP6_MARK);
	if (mesh_checksum_state(skb) == MESH_SUMMED_BY_HELPER)
		bpf_csum_update(skb, mesh_csum_fold32(mesh_csum_replace(was, ip->version_flow)));
	return 0;
}

static __always_inline int mesh_decrement_ttl(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;

	if ((void *)(ip + 1) > data_end)
		return MESH_REASON_INVALID;
	ip->hop_limit--;
	/* It is the lower half of its word, and nothing makes up for it. */
	if (mesh_checksum_state(skb) == MESH_SUMMED_BY_HELPER)
		bpf_csum_update(skb, (__u16)~bpf_htons(1));
	return 0;
}
