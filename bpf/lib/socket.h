/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which socket has sent a datagram. Datagrams have no SYN: only the socket tells whether the next
 * one from the same port is of the same client. It is known where the sender is on this node, and
 * nobody between it and the program has sent the packet anew.
 */
#pragma once

#include "lib/common.h"
#include "lib/flow.h"

/* 0: not known. */
static __always_inline __u32 mesh_socket_of(struct __sk_buff *skb, enum mesh_origin origin)
{
	struct bpf_sock *sk;

	if (origin != MESH_ORIGIN_POD && origin != MESH_ORIGIN_NODE)
		return 0;
	sk = skb->sk;
	if (!sk)
		return 0;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_UDP)
		return 0;
	return bpf_get_socket_cookie(skb);
}

/*
 * Notes who uses the flow by now: its entries outlive a client by minutes, and another one may have
 * the same port. Once a second is enough for who asks only whether it is a new one.
 */
static MESH_FRAME void mesh_socket_note(struct __sk_buff *skb, const struct mesh_flow_value *flow,
					__u8 proto, enum mesh_origin origin)
{
	struct mesh_flow_value *answer;
	struct mesh_flow_key key;
	__u32 socket;

	if (!flow->service_id || flow->flags & (MESH_FLOW_REPLY | MESH_FLOW_ONE_WAY))
		return;
	socket = mesh_socket_of(skb, origin);
	if (!socket)
		return;
	mesh_flow_partner_key(flow, proto, &key);
	answer = bpf_map_lookup_elem(&mesh_flow, &key);
	if (answer && answer->flags & MESH_FLOW_REPLY && answer->socket != socket)
		answer->socket = socket;
}
