/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads IPv6. Included by lib/packet.h. Behind the fixed header stands the fourth layer, or the
 * header of a fragment and then the fourth layer; other extension headers are refused, so that
 * nothing needs to be searched.
 */
#pragma once

/* <linux/ipv6.h> wants the C library's headers of the host. RFC 8200, 3. */
struct mesh_ip6 {
	__be32 version_flow; /* version, traffic class, flow label */
	__be16 length;	     /* of what follows this header */
	__u8 next;
	__u8 hop_limit;
	struct mesh_in6 saddr, daddr;
};
_Static_assert(sizeof(struct mesh_ip6) == MESH_IP_HEADER_SIZE, "RFC 8200");

/* RFC 8200, 4.5. */
struct mesh_fragment6 {
	__u8 next, reserved;
	__be16 offset; /* in its upper 13 bits, of 8 bytes each; the lowest: more follow */
	__be32 id;
};

#define MESH_FRAGMENT6_OFFSET 0xfff8

#define MESH_IP6_MARK (1 << 19) /* of version_flow: the first bit of the flow label */

#define MESH_ICMP6_UNREACHABLE	 1
#define MESH_ICMP6_TOO_BIG	 2
#define MESH_ICMP6_TIME_EXCEEDED 3
#define MESH_ICMP6_PARAMETER	 4

/* The nodes talk IPv4 to each other. */
static __always_inline int mesh_packet_is_tunnelled(const struct mesh_packet *packet)
{
	return 0;
}

/* Where the fourth layer begins. */
static __always_inline int mesh_l4_offset(const struct mesh_packet *packet)
{
	return packet->fragment ? MESH_L4_OFFSET + (int)sizeof(struct mesh_fragment6)
				: MESH_L4_OFFSET;
}

static __always_inline int mesh_is_link_local(const struct mesh_in6 *address)
{
	return (address->w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

/*
 * Addresses that pass no router: of groups, of a link, and none at all. What they carry (neighbour
 * and router discovery, group membership) is the link's own matter. Without branches.
 */
static __always_inline int mesh_is_of_link(const struct mesh_in6 *address)
{
	__u32 word = address->w[0], rest = address->w[1] | address->w[2];

	return (word & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000) ||
	       (word & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000) ||
	       /* "::" and "::1" */
	       !(word | rest | (address->w[3] & ~bpf_htonl(1)));
}

/*
 * Whether it is an ICMP error of a router on the same link, about what has passed it. Many routers
 * have no address that means more; the error is passed on with this node's (lib/rewrite6.h).
 */
static __always_inline int mesh_is_error_of_link(const struct mesh_ip6 *ip,
						 const struct mesh_icmp *icmp)
{
	return ip->next == IPPROTO_ICMPV6 && icmp->type < MESH_ECHO &&
	       mesh_is_link_local(&ip->saddr) && !mesh_is_of_link(&ip->daddr);
}

/* The key of the flow that the quoted packet belongs to, swapped: the direction of the report. */
static __always_inline int mesh_parse_icmp_error(void *data, void *data_end,
						 struct mesh_packet *packet)
{
	struct mesh_ip6 *inner = data + MESH_L4_OFFSET + sizeof(struct mesh_icmp);
	__be16 *ports = (void *)(inner + 1);
	__u8 proto;

	if ((void *)(ports + 4) > data_end)
		return MESH_REASON_INVALID;
	if ((inner->version_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return MESH_REASON_UNSUPPORTED;
	proto = inner->next;
	if (proto == IPPROTO_FRAGMENT) {
		struct mesh_fragment6 *fragment = (void *)ports;

		/* Only the first fragment tells whose it is. */
		if (fragment->offset & bpf_htons(MESH_FRAGMENT6_OFFSET))
			return MESH_REASON_FRAGMENT;
		proto = fragment->next;
		ports += 4;
		if ((void *)(ports + 4) > data_end)
			return MESH_REASON_INVALID;
	}
	mesh_addr_copy(&packet->key.saddr, &inner->daddr);
	mesh_addr_copy(&packet->key.daddr, &inner->saddr);
	packet->key.proto = proto;
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
	struct mesh_ip6 *ip = data + MESH_L3_OFFSET;
	void *l4 = data + MESH_L4_OFFSET;
	__u8 proto;

	__builtin_memset(packet, 0, sizeof(*packet));
	/* 8 bytes of the fourth layer: ports, or the header of ICMP or of a fragment. */
	if (unlikely(l4 + 8 > data_end) ||
	    (unlikely(l4 + sizeof(struct tcphdr) > data_end) && ip->next != IPPROTO_UDP)) {
		/* The headers may stand in a page of their own. */
		if (bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128))
			return MESH_REASON_INVALID;
		data = (void *)(long)skb->data;
		data_end = (void *)(long)skb->data_end;
		ip = data + MESH_L3_OFFSET;
		l4 = data + MESH_L4_OFFSET;
		if (l4 + 8 > data_end)
			return MESH_REASON_INVALID;
	}
	if (unlikely((ip->version_flow & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000)))
		return MESH_REASON_INVALID;

	proto = ip->next;
	mesh_addr_copy(&packet->source, &ip->saddr);
	packet->ttl = ip->hop_limit;
	packet->tos = bpf_ntohl(ip->version_flow) >> 20;
	packet->dont_fragment = 1; /* only its sender may */
	packet->marked = !!(ip->version_flow & bpf_htonl(MESH_IP6_MARK));
	mesh_addr_copy(&packet->key.saddr, &ip->saddr);
	mesh_addr_copy(&packet->key.daddr, &ip->daddr);
	if (unlikely(mesh_is_of_link(&ip->daddr) || mesh_is_of_link(&ip->saddr)) &&
	    !mesh_is_error_of_link(ip, l4))
		return MESH_REASON_UNSUPPORTED;
	if (unlikely(proto == IPPROTO_FRAGMENT)) {
		struct mesh_fragment6 *fragment = l4;

		proto = fragment->next;
		packet->key.proto = proto;
		packet->fragment_id = fragment->id;
		packet->fragment = MESH_FRAGMENT_FIRST;
		if (fragment->offset & bpf_htons(MESH_FRAGMENT6_OFFSET)) {
			packet->fragment = MESH_FRAGMENT_LATER;
			return 0;
		}
		l4 += sizeof(*fragment);
		if (l4 + 8 > data_end)
			return MESH_REASON_INVALID;
	}
	packet->key.proto = proto;
	if (likely(proto == IPPROTO_TCP))
		return mesh_read_tcp(l4, data_end, packet);
	if (proto == IPPROTO_UDP)
		return mesh_read_udp(l4, packet);
	if (proto == IPPROTO_ICMPV6) {
		struct mesh_icmp *icmp = l4;

		switch (icmp->type) {
		case MESH_ECHO:
			packet->key.sport = icmp->id;
			return 0;
		case MESH_ECHO_REPLY:
			packet->key.dport = icmp->id;
			return 0;
		case MESH_ICMP6_UNREACHABLE:
		case MESH_ICMP6_TOO_BIG:
		case MESH_ICMP6_TIME_EXCEEDED:
		case MESH_ICMP6_PARAMETER:
			/* Nobody sends so short a message in pieces. */
			if (packet->fragment)
				return MESH_REASON_FRAGMENT;
			/* The quote with the header of a fragment, and 8 bytes. */
			if (data + MESH_L4_OFFSET + 64 > data_end) {
				if (bpf_skb_pull_data(skb, skb->len < 128 ? skb->len : 128))
					return MESH_REASON_INVALID;
				data = (void *)(long)skb->data;
				data_end = (void *)(long)skb->data_end;
			}
			return mesh_parse_icmp_error(data, data_end, packet);
		}
	}
	return proto == IPPROTO_SCTP ? MESH_REASON_SCTP : MESH_REASON_UNSUPPORTED;
}
