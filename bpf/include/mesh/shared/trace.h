/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a traced run of a program is told and tells (lib/trace.h). No map of the packet path. */
#pragma once

#include "mesh/shared/flow_map.h"

/* name, number, what a, b and c are */
#define MESH_TRACE_STEPS(X)                                                                        \
	/* the packet's flow: 1 when it is known */                                                \
	X(FLOW, flow, 1)                                                                           \
	/* the sender: identity, 0 or the reason why it is not believed */                         \
	X(SOURCE, source, 2)                                                                       \
	/* the known flow was looked at again: MESH_TRACE_REVIEW_*, a reason */                    \
	X(REVIEW, review, 3)                                                                       \
	/* what it dials is a Service's: Service port, MESH_SERVICE_*, set */                      \
	X(SERVICE, service, 4)                                                                     \
	/* the client had a backend: backend, 1 when it may have it again */                       \
	X(AFFINITY, affinity, 5)                                                                   \
	/* the set: how many slots, MESH_ALGORITHM_*, size of the Maglev table */                  \
	X(SET, set, 6)                                                                             \
	/* of least-loaded: two backends, and the flows of both (16 bits each) */                  \
	X(LOADS, loads, 7)                                                                         \
	/* chosen: backend */                                                                      \
	X(BACKEND, backend, 8)                                                                     \
	/* the receiver's namespace: its identity, MESH_ISOLATION_*, 1 when through its Service */ \
	X(ISOLATION, isolation, 9)                                                                 \
	/* counted: MESH_REASON_*, MESH_DIRECTION_* */                                             \
	X(REASON, reason, 10)                                                                      \
	/* the program has written the headers of the tunnel */                                    \
	X(ENCAPSULATED, encapsulated, 11)                                                          \
	/* it leaves by its flow: MESH_TARGET_* */                                                 \
	X(DELIVER, deliver, 12)                                                                    \
	/* the known flow is judged as if it began now: 1 when the packet is an answer */          \
	X(JUDGED, judged, 13)                                                                      \
	/* the policies of the sender, and of the receiver, were asked: who the other one is to    \
	 * them, MESH_VERDICT_* or 0 when they say nothing, the rule that says it */               \
	X(EGRESS, egress, 14)                                                                      \
	X(INGRESS, ingress, 15)

enum mesh_trace_step {
#define MESH_TRACE_ENUM(upper, lower, number) MESH_TRACE_##upper = number,
	MESH_TRACE_STEPS(MESH_TRACE_ENUM)
#undef MESH_TRACE_ENUM
};

#define MESH_TRACE_REVIEW_KEPT	   0 /* or a reason */
#define MESH_TRACE_REVIEW_ANEW	   1
#define MESH_TRACE_REVIEW_IN_PLACE 2
#define MESH_TRACE_REVIEW_JUDGED   3 /* kept when it is admitted: the next note */
#define MESH_TRACE_REVIEW_DIRECT   4 /* the same, and not through a Service this time */

struct mesh_trace_note {
	__u32 step; /* MESH_TRACE_* */
	__u32 a, b, c;
};

/* A packet takes at most 19 steps; a power of two. */
#define MESH_TRACE_MAX_NOTES 32

/* All that is in the program's .bss. */
struct mesh_trace_value {
	/* Told: how a packet of another node came (overlay). */
	__u32 vni;
	__be32 peer;
	/* Tells. */
	__u32 count;
	__u32 pad0;
	struct mesh_trace_note notes[MESH_TRACE_MAX_NOTES];
	/* The flow by which the packet leaves, mesh_flow_value or mesh_flow6_value. */
	__u8 flow[sizeof(struct mesh_flow6_value)] __attribute__((aligned(8)));
	/*
	 * The program's own: keys of the entries that the packet has met, mesh_flow_key or
	 * mesh_flow6_key. Ended on its way they are not to be taken again.
	 */
	__u8 met[2][sizeof(struct mesh_flow6_key)] __attribute__((aligned(8)));
};
MESH_SHARED_ASSERT(sizeof(struct mesh_trace_value) == 16 + 32 * 16 + 168 + 2 * 40, "ABI");
