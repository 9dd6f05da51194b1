/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reads IPv4. Included by lib/packet.h. */
#pragma once

/* Of another node, for mesh_vxlan: the overlay program sees what is in it. */
static __always_inline int mesh_packet_is_tunnelled(const struct mesh_packet *packet)
{
	return packet->key.proto == IPPROTO_UDP &&
	       packet->key.dport == bpf_htons(MESH_VXLAN_PORT) &&
	       packet->key.daddr == mesh_config.node_ip;
}

#define MESH_IP_MARK 0x8000 /* of frag_off: the bit that is reserved in RFC 791 */

/* Turns the bit that mesh_packet.marked is read from. */
static __always_inline void mesh_ip_turn_mark(struct iphdr *ip)
{
	__be16 now = ip->frag_off ^ bpf_htons(MESH_IP_MARK);

	ip->check =
		mesh_csum_apply(ip->check, mesh_csum_fold32(mesh_csum_replace(ip->frag_off, now)));
	ip->frag_off = now;
}

/* The key of the flow that the quoted packet belongs to, swapped: the direction of the report. */
static __always_inline int mesh_parse_icmp_error(void *data, void *data_end,
						 struct mesh_packet *packet)
{
	struct iphdr *inner = data + MESH_L4_OFFSET + sizeof(struct mesh_icmp);
	__be16 *ports = (void *)(inner + 1);

	if ((void *)(ports + 4) > data_end)
		return MESH_REASON_INVALID;
	if (inner->version != 4 || inner->ihl != 5)
		return MESH_REASON_UNSUPPORTED;
	/* Only the first fragment tells whose it is. */
	if (inner->frag_off & bpf_htons(0x1fff))
		return MESH_REASON_FRAGMENT;
	packet->key.saddr = inner->daddr;
	packet->key.daddr = inner->saddr;
	packet->key.proto = inner->protocol;
	packet->icmp_error = 1;
	return mesh_read_quoted(ports, packet);
}

/*
 * Fills all of `packet` but the ports of a later fragment (lib/fragment.h). Returns 0 or a reason;
 * headers are checked to be there when it is 0.
 */
static __always_inline int mesh_parse(struct __sk_buff *skb, struct mesh_packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *data_end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + MESH_L3_OFFSET;
	void *l4 = data + MESH_L4_OFFSET;

	__builtin_memset(packet, 0, sizeof(*packet));
	/* 8 bytes of the fourth layer: ports, or the ICMP header. */
	if (unlikely(l4 + 8 > data_end)) {
		/* The headers may stand in a page of their own. */
		if (bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128))
			return MESH_REASON_INVALID;
		data = (void *)(long)skb->data;
		data_end = (void *)(long)skb->data_end;
		ip = data + MESH_L3_OFFSET;
		l4 = data + MESH_L4_OFFSET;
		if (l4 > data_end)
			return MESH_REASON_INVALID;
		/* The end of a datagram may be shorter. */
		if (l4 + 8 > data_end && !(ip->frag_off & bpf_htons(0x1fff)))
			return MESH_REASON_INVALID;
	}
	if (unlikely(ip->version != 4))
		return MESH_REASON_INVALID;
	if (unlikely(ip->ihl != 5))
		return MESH_REASON_UNSUPPORTED;

	packet->source = ip->saddr;
	packet->ttl = ip->ttl;
	packet->tos = ip->tos;
	packet->dont_fragment = !!(ip->frag_off & bpf_htons(0x4000));
	packet->marked = !!(ip->frag_off & bpf_htons(MESH_IP_MARK));
	packet->key.saddr = ip->saddr;
	packet->key.daddr = ip->daddr;
	packet->key.proto = ip->protocol;
	if (unlikely(ip->frag_off & bpf_htons(0x3fff))) {
		packet->fragment_id = ip->id;
		packet->fragment = MESH_FRAGMENT_FIRST;
		if (ip->frag_off & bpf_htons(0x1fff)) {
			packet->fragment = MESH_FRAGMENT_LATER;
			return 0;
		}
	}
	if (l4 + 8 > data_end)
		return MESH_REASON_INVALID;
	if (likely(ip->protocol == IPPROTO_TCP))
		return mesh_read_tcp(l4, data_end, packet);
	if (ip->protocol == IPPROTO_UDP)
		return mesh_read_udp(l4, packet);
	if (ip->protocol == IPPROTO_ICMP) {
		struct mesh_icmp *icmp = l4;

		switch (icmp->type) {
		case MESH_ECHO:
			packet->key.sport = icmp->id;
			return 0;
		case MESH_ECHO_REPLY:
			packet->key.dport = icmp->id;
			return 0;
		case MESH_ICMP_UNREACHABLE:
		case MESH_ICMP_TIME_EXCEEDED:
		case MESH_ICMP_PARAMETER:
			if (l4 + 36 > data_end) {
				if (bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128))
					return MESH_REASON_INVALID;
				data = (void *)(long)skb->data;
				data_end = (void *)(long)skb->data_end;
			}
			return mesh_parse_icmp_error(data, data_end, packet);
		}
	}
	return ip->protocol == IPPROTO_SCTP ? MESH_REASON_SCTP : MESH_REASON_UNSUPPORTED;
}
