/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the programs tell of flows while somebody listens: a record when one is opened, when a
 * connection of TCP is closed by its ends, and when a packet is dropped. Packets of a flow that
 * stands tell nothing.
 */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_EVENTS_MAP_NAME	 "mesh_events"
#define MESH_LISTEN_MAP_NAME	 "mesh_listen"
#define MESH_EVENT_LOSS_MAP_NAME "mesh_event_loss"

/* mesh_listen, one row: what is to be told. Written by the agent. */
#define MESH_LISTEN_DROPS 1
#define MESH_LISTEN_FLOWS 2
struct mesh_listen_value {
	__u32 what;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_listen_value) == 4, "ABI");

/* mesh_event_loss, one row per CPU: what was not told. */
struct mesh_event_loss_value {
	__u64 lost;	  /* the ring was full */
	__u64 suppressed; /* drops beyond MESH_EVENT_DROPS_PER_WINDOW */
	__u64 window;
	__u64 drops; /* in this window */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_event_loss_value) == 32, "ABI");

/* A flood of what is dropped must not cost more than its counting: 960 a second and CPU. */
#define MESH_EVENT_WINDOW_SHIFT	    26 /* of nanoseconds: 67 ms */
#define MESH_EVENT_DROPS_PER_WINDOW 64

#define MESH_EVENT_OPENED  1
#define MESH_EVENT_CLOSED  2 /* TCP: both sides, or a reset */
#define MESH_EVENT_DROPPED 3
#define MESH_EVENT_REFUSED 4 /* dropped, and the sender is told */

/* Fields that are not known are 0. Addresses of IPv4 as ::ffff:a.b.c.d. */
struct mesh_flow_event {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	/* As the client has sent it; of a packet that was dropped: as its sender has. */
	struct mesh_in6 saddr, daddr;
	/* As the server gets it; of a drop only where it was decided before. */
	struct mesh_in6 to_saddr, to_daddr;
	__be16 sport, dport, to_sport, to_dport;
	/* Closed: of both directions. Dropped: the packet. */
	__u64 packets, bytes;
	__u32 service_id, backend_id;
	__u32 identity;	   /* of the sender */
	__u32 to_identity; /* of the receiver, a pod of this node */
	__u32 rule;	   /* of the policy that has decided */
	__be32 peer;	   /* node that it has come from, or goes to */
	__u8 kind;	   /* MESH_EVENT_* */
	__u8 proto;
	__u8 reason;	/* MESH_REASON_* of a drop */
	__u8 direction; /* MESH_DIRECTION_* of a drop */
	__u8 target;	/* MESH_TARGET_* */
	__u8 flags;	/* MESH_FLOW_* */
	__u8 tcp_flags; /* of the packet that opens or closes */
	__u8 hook;	/* MESH_HOOK_* that has seen it */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_flow_event) == 128, "ABI");
