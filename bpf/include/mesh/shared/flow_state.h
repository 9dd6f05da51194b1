/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The life of a flow, computed from its two entries; one that has only one (MESH_FLOW_ONE_WAY) is
 * both of them. Pure; the programs and the collector read the same lines.
 */
#pragma once

#include "mesh/shared/flow_map.h"

/* Of either family: the programs rename what they are compiled for. */
#ifdef __cplusplus
#define MESH_OF_FLOW	template <typename FlowValue>
#define MESH_FLOW_VALUE FlowValue
#else
#define MESH_OF_FLOW
#define MESH_FLOW_VALUE struct mesh_flow_value
#endif

#define MESH_SECOND_NS 1000000000ULL

#define MESH_TIMEOUT_TCP_NEW_S	       60
#define MESH_TIMEOUT_TCP_ESTABLISHED_S 8000
#define MESH_TIMEOUT_TCP_HALF_CLOSED_S 300
#define MESH_TIMEOUT_TCP_CLOSING_S     10
#define MESH_TIMEOUT_UDP_UNREPLIED_S   30
#define MESH_TIMEOUT_UDP_ANSWERED_S    30
#define MESH_TIMEOUT_UDP_REPLIED_S     180
#define MESH_TIMEOUT_ICMP_S	       30
/*
 * A UDP flow that rests this long leaves a backend that drains: what comes after may be another
 * client on the same port. One of few packets is questions and answers, whose next question is of
 * another socket most often; where that cannot be seen it leaves after the shorter time.
 */
#define MESH_UDP_REST_MS     1000
#define MESH_UDP_FEW_REST_MS 100
#define MESH_UDP_FEW	     8

/*
 * A question and its answer, or two of them (both families of a name), from a socket that closes
 * then: up to so many packets in each direction.
 */
#define MESH_UDP_ANSWERED_PACKETS 2
/* After so long a rest such a flow gives its port to another of the same sender, who finds none. */
#define MESH_UDP_PORT_REST_MS 1000

enum mesh_flow_state {
	MESH_FLOW_STATE_NEW,	     /* TCP: no complete handshake */
	MESH_FLOW_STATE_ESTABLISHED, /* TCP */
	MESH_FLOW_STATE_HALF_CLOSED, /* TCP: one side has sent FIN */
	MESH_FLOW_STATE_CLOSING,     /* TCP: both sides, or a reset */
	MESH_FLOW_STATE_UNREPLIED,
	MESH_FLOW_STATE_ANSWERED, /* UDP: MESH_UDP_ANSWERED_PACKETS */
	MESH_FLOW_STATE_REPLIED,
};

MESH_OF_FLOW static inline enum mesh_flow_state
mesh_flow_state_of(__u8 proto, const MESH_FLOW_VALUE *forward, const MESH_FLOW_VALUE *reply)
{
	if (proto != 6) {
		if (!reply->packets)
			return MESH_FLOW_STATE_UNREPLIED;
		if (proto == 17 && forward->packets <= MESH_UDP_ANSWERED_PACKETS &&
		    reply->packets <= MESH_UDP_ANSWERED_PACKETS)
			return MESH_FLOW_STATE_ANSWERED;
		return MESH_FLOW_STATE_REPLIED;
	}
	if (forward->tcp_rst || reply->tcp_rst)
		return MESH_FLOW_STATE_CLOSING;
	if (forward->tcp_fin && reply->tcp_fin && !(forward->flags & MESH_FLOW_ONE_WAY))
		return MESH_FLOW_STATE_CLOSING;
	if (forward->tcp_fin || reply->tcp_fin)
		return MESH_FLOW_STATE_HALF_CLOSED;
	if (forward->tcp_data && reply->packets)
		return MESH_FLOW_STATE_ESTABLISHED;
	return MESH_FLOW_STATE_NEW;
}

static inline __u64 mesh_flow_timeout_ns(__u8 proto, enum mesh_flow_state state)
{
	switch (state) {
	case MESH_FLOW_STATE_NEW:
		return MESH_TIMEOUT_TCP_NEW_S * MESH_SECOND_NS;
	case MESH_FLOW_STATE_ESTABLISHED:
		return MESH_TIMEOUT_TCP_ESTABLISHED_S * MESH_SECOND_NS;
	case MESH_FLOW_STATE_HALF_CLOSED:
		return MESH_TIMEOUT_TCP_HALF_CLOSED_S * MESH_SECOND_NS;
	case MESH_FLOW_STATE_CLOSING:
		return MESH_TIMEOUT_TCP_CLOSING_S * MESH_SECOND_NS;
	case MESH_FLOW_STATE_UNREPLIED:
		break;
	case MESH_FLOW_STATE_ANSWERED:
		return MESH_TIMEOUT_UDP_ANSWERED_S * MESH_SECOND_NS;
	case MESH_FLOW_STATE_REPLIED:
		if (proto == 17)
			return MESH_TIMEOUT_UDP_REPLIED_S * MESH_SECOND_NS;
		break;
	}
	return (proto == 17 ? MESH_TIMEOUT_UDP_UNREPLIED_S : MESH_TIMEOUT_ICMP_S) * MESH_SECOND_NS;
}

/* Either entry may come first; the flags tell which is which. */
MESH_OF_FLOW static inline __u64 mesh_flow_last_seen_ns(const MESH_FLOW_VALUE *a,
							const MESH_FLOW_VALUE *b)
{
	return a->last_seen_ns > b->last_seen_ns ? a->last_seen_ns : b->last_seen_ns;
}

MESH_OF_FLOW static inline int mesh_flow_expired(__u8 proto, const MESH_FLOW_VALUE *forward,
						 const MESH_FLOW_VALUE *reply, __u64 now_ns)
{
	__u64 last_seen_ns = mesh_flow_last_seen_ns(forward, reply);

	return now_ns > last_seen_ns &&
	       now_ns - last_seen_ns >
		       mesh_flow_timeout_ns(proto, mesh_flow_state_of(proto, forward, reply));
}

/*
 * Whether a UDP flow is over for a backend that drains. `socket`: who sends the next packet of
 * `forward`; 0: not known.
 */
MESH_OF_FLOW static inline int mesh_flow_ends_with_drain(const MESH_FLOW_VALUE *forward,
							 const MESH_FLOW_VALUE *reply, __u32 socket,
							 __u64 now_ns)
{
	__u32 asked = reply->flags & MESH_FLOW_REPLY ? reply->socket : 0;
	__u64 rest_ms = MESH_UDP_REST_MS;

	if (asked && socket) {
		if (asked != socket)
			return 1;
	} else if (forward->packets < MESH_UDP_FEW) {
		rest_ms = MESH_UDP_FEW_REST_MS;
	}
	return now_ns > mesh_flow_last_seen_ns(forward, reply) + rest_ms * (MESH_SECOND_NS / 1000);
}

/* Whether a UDP flow may give its port to another one of its sender: see MESH_UDP_PORT_REST_MS. */
MESH_OF_FLOW static inline int mesh_flow_has_answered(const MESH_FLOW_VALUE *forward,
						      const MESH_FLOW_VALUE *reply, __u64 now_ns)
{
	return mesh_flow_state_of(17, forward, reply) == MESH_FLOW_STATE_ANSWERED &&
	       now_ns > mesh_flow_last_seen_ns(forward, reply) +
				MESH_UDP_PORT_REST_MS * (MESH_SECOND_NS / 1000);
}
