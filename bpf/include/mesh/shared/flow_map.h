/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_FLOW_MAP_NAME "mesh_flow"

/*
 * A packet's addresses as its sender wrote them. A flow has two entries, one per direction, so that
 * every packet needs one lookup. ICMP echo: the id stands in the port of the asking side, 0 in the
 * other.
 */
struct mesh_flow_key {
	__be32 saddr, daddr;
	__be16 sport, dport;
	__u8 proto;
	__u8 pad0[3];
};
MESH_SHARED_ASSERT(sizeof(struct mesh_flow_key) == 16, "ABI");

#define MESH_TARGET_POD	   1 /* out_ifindex, mac */
#define MESH_TARGET_TUNNEL 2 /* out_peer, vni */
#define MESH_TARGET_HOST   3 /* the node's own stack, through mesh_host */
#define MESH_TARGET_UPLINK 4 /* outside the cluster, by the node's routes: bpf_redirect_neigh */
#define MESH_TARGET_DIRECT                                                                         \
	5 /* as TUNNEL, with its first addresses; destination_mac names the backend */
#define MESH_TARGET_POD_SHAPED 6 /* as POD, through the queue of its host-side veth */

#define MESH_TARGET_NODE 7 /* native routing: to out_peer as it is, by the uplink */

#define MESH_FLOW_REPLY 1 /* the direction of the answering side */
#define MESH_FLOW_SERVICE                                                                          \
	2 /* through a Service (on the node where the client is, or told by the VNI) */
#define MESH_FLOW_ONE_WAY 4  /* answers do not come by here (direct return): no second entry */
#define MESH_FLOW_COUNTED 8  /* in mesh_be_load, until it closes */
#define MESH_FLOW_OUTSIDE 16 /* of a client outside the cluster, with its own address */
#define MESH_FLOW_MASQUERADED                                                                      \
	32 /* the source is an address of this node, the port of MESH_MASQUERADE_PORT_* */

struct mesh_flow_value {
	/* The packet leaves with these. Swapped, they are the key of the other direction. */
	__be32 saddr, daddr;
	__be16 sport, dport;
	/* Checksum differences (one's complement sums) of the addresses and ports; 0: unchanged. */
	__u32 address_diff;
	__u32 port_diff;
	__u32 generation; /* of mesh_state when this was decided */

	/* Where such packets come from; others with the same addresses are not of this flow. */
	__u32 in_ifindex;
	__be32 in_peer; /* node, when in_ifindex is mesh_vxlan */

	__u32 out_ifindex;
	__be32 out_peer;
	__u32 vni;
	__u8 destination_mac[6], source_mac[6];
	__u8 target; /* MESH_TARGET_* */
	__u8 flags;  /* MESH_FLOW_* */
	/* Seen in this direction; one byte each, so that CPUs need no atomic operation. */
	__u8 tcp_fin, tcp_rst, tcp_data;
	/* TUNNEL and DIRECT, where XDP forwards: who takes the outer packet; 0: not known yet. */
	__u8 next_hop_mac[6];
	/* TCP, of what is counted or told of: somebody has seen to the connection's end. In the
	 * entry of who opened it. */
	__u8 tcp_ended;

	__u32 service_id; /* 0: not translated by a Service on this node */
	__u32 backend_id;
	union {
		__u32 identity; /* of the source of this direction */
		/* In reply entries: of UDP through a Service, who has asked; 0: not known. */
		__u32 socket;
	};
	__be32 owner; /* mesh_owner_key */

	__u32 last_tick;    /* jiffies of last_seen_ns */
	__u64 last_seen_ns; /* CLOCK_MONOTONIC_COARSE */
	__u64 packets, bytes;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_flow_value) == 112, "ABI");

#define MESH_FLOW6_MAP_NAME "mesh_flow6"

struct mesh_flow6_key {
	struct mesh_in6 saddr, daddr;
	__be16 sport, dport;
	__u8 proto; /* of ICMPv6: 58 */
	__u8 pad0[3];
};
MESH_SHARED_ASSERT(sizeof(struct mesh_flow6_key) == 40, "ABI");

/* As mesh_flow_value. */
struct mesh_flow6_value {
	struct mesh_in6 saddr, daddr;
	__be16 sport, dport;
	__u32 address_diff;
	__u32 port_diff;
	__u32 generation;

	__u32 in_ifindex;
	__be32 in_peer;

	__u32 out_ifindex;
	__be32 out_peer;
	__u32 vni;
	__u8 destination_mac[6], source_mac[6];
	__u8 target;
	__u8 flags;
	__u8 tcp_fin, tcp_rst, tcp_data;
	__u8 next_hop_mac[6];
	__u8 tcp_ended;

	__u32 service_id;
	__u32 backend_id;
	union {
		__u32 identity;
		__u32 socket;
	};
	struct mesh_in6 owner;
	struct mesh_in6 next_hop; /* native routing: the node that has the pod */

	__u32 last_tick;
	__u32 pad1;
	__u64 last_seen_ns;
	__u64 packets, bytes;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_flow6_value) == 168, "ABI");
