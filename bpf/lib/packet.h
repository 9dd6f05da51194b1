/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What of a packet decides its way. */
#pragma once

#include "lib/checksum.h"
#include "lib/family.h"

#define MESH_TCP_FIN 0x01
#define MESH_TCP_SYN 0x02
#define MESH_TCP_RST 0x04
#define MESH_TCP_ACK 0x10

#ifdef MESH_IPV6
typedef __be32 mesh_fragment_id;
#else
typedef __be16 mesh_fragment_id;
#endif

struct mesh_packet {
	/* Of the flow it belongs to, in the direction it goes; see icmp_error. */
	struct mesh_flow_key key;
	/* Of the packet itself. */
	mesh_addr source;
	__u8 tcp_flags;
	/* It reports about a packet of the other direction, which it quotes. */
	__u8 icmp_error;
	__u8 ttl;
	__u8 dont_fragment;
	__u8 fragment;	      /* MESH_FRAGMENT_* */
	__u8 tos;	      /* of IPv6 the traffic class */
	__u8 first_of_second; /* of its flow; set by mesh_flow_note() */
	__u8 marked;	      /* by its sender: see lib/native.h */
	mesh_fragment_id fragment_id;
};

#define MESH_FRAGMENT_FIRST 1
#define MESH_FRAGMENT_LATER 2 /* has no fourth layer's header */

/* Begins a TCP connection. */
static __always_inline int mesh_packet_opens(const struct mesh_packet *packet)
{
	return (packet->tcp_flags & (MESH_TCP_SYN | MESH_TCP_ACK)) == MESH_TCP_SYN;
}

/* The ports, where 8 bytes of the fourth layer are there. Returns 0 or a reason. */
static __always_inline int mesh_read_tcp(const struct tcphdr *tcp, const void *data_end,
					 struct mesh_packet *packet)
{
	if ((const void *)(tcp + 1) > data_end)
		return MESH_REASON_INVALID;
	packet->key.sport = tcp->source;
	packet->key.dport = tcp->dest;
	packet->tcp_flags = ((const __u8 *)tcp)[13];
	return 0;
}

static __always_inline int mesh_read_udp(const struct udphdr *udp, struct mesh_packet *packet)
{
	packet->key.sport = udp->source;
	packet->key.dport = udp->dest;
	return 0;
}

/*
 * Of a quoted packet, 8 bytes of whose fourth layer stand at `ports`: those of the other direction.
 * The id of a quoted echo is the port of the asking side. Returns 0 or a reason.
 */
static __always_inline int mesh_read_quoted(const __be16 *ports, struct mesh_packet *packet)
{
	__u8 proto = packet->key.proto;

	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP) {
		packet->key.sport = ports[1];
		packet->key.dport = ports[0];
		return 0;
	}
	if (proto == MESH_IPPROTO_ICMP && *(__u8 *)ports == MESH_ECHO) {
		packet->key.dport = ports[2];
		return 0;
	}
	if (proto == MESH_IPPROTO_ICMP && *(__u8 *)ports == MESH_ECHO_REPLY) {
		packet->key.sport = ports[2];
		return 0;
	}
	return MESH_REASON_UNSUPPORTED;
}

/*
 * The reader of each family:
 *   mesh_parse()               fills a mesh_packet
 *   mesh_packet_is_tunnelled() of another node, for mesh_vxlan
 */
#ifdef MESH_IPV6
#include "lib/packet6.h"
#else
#include "lib/packet4.h"
#endif
