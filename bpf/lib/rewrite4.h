/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writes into IPv4. Included by lib/rewrite.h. */
#pragma once

/* mesh_write_l4_checksum() by the kernel's helpers. */
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
		if (packet->key.proto == IPPROTO_UDP && !*check)
			*check = 0xffff; /* all zeros: none */
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

/* Turns the bit that mesh_packet.marked was read from. */
static __always_inline int mesh_turn_mark(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + MESH_L3_OFFSET;

	if ((void *)(ip + 1) > data_end)
		return MESH_REASON_INVALID;
	mesh_ip_turn_mark(ip);
	return 0;
}

static __always_inline int mesh_decrement_ttl(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + MESH_L3_OFFSET;
	__u32 sum;

	if ((void *)(ip + 1) > data_end)
		return MESH_REASON_INVALID;
	ip->ttl--;
	/* RFC 1141: the time to live is the upper half of its word. */
	sum = (__u16)ip->check + (__u32)bpf_htons(0x0100);
	ip->check = (__sum16)(sum + (sum >= 0xffff));
	return 0;
}
