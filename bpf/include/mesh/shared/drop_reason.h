/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a packet went or did not go: name, number. Numbers are never reused; new ones go to the end.
 * The lower-case name is what people see.
 */
#pragma once

#include "mesh/shared/base.h"

#define MESH_REASONS(X)                                                                            \
	X(FORWARDED, forwarded, 0)                                                                 \
	/* malformed or cut short */                                                               \
	X(INVALID, invalid, 1)                                                                     \
	/* IPv6, or an IP protocol, ICMP type or IP option that is not carried */                  \
	X(UNSUPPORTED, unsupported, 2)                                                             \
	/* a fragment: only whole packets are translated */                                        \
	X(FRAGMENT, fragment, 3)                                                                   \
	/* the source address is not the one the pod was given */                                  \
	X(SOURCE_ADDRESS, source_address, 4)                                                       \
	/* nothing listens at this address and port of the service range */                        \
	X(NO_SERVICE, no_service, 5)                                                               \
	/* the Service has no active backend */                                                    \
	X(NO_BACKEND, no_backend, 6)                                                               \
	/* the backend of this connection is gone */                                               \
	X(BACKEND_GONE, backend_gone, 7)                                                           \
	/* an address of this node that belongs to no pod */                                       \
	X(NO_ENDPOINT, no_endpoint, 8)                                                             \
	/* a pod address of no known node */                                                       \
	X(NO_TUNNEL, no_tunnel, 9)                                                                 \
	/* encapsulated by somebody who does not own the source address */                         \
	X(UNKNOWN_PEER, unknown_peer, 10)                                                          \
	/* the destination's namespace does not admit the source */                                \
	X(ISOLATION, isolation, 11)                                                                \
	/* the connection is not known and this packet does not begin one */                       \
	X(NO_FLOW, no_flow, 12)                                                                    \
	/* the connection table is full */                                                         \
	X(FLOWS_FULL, flows_full, 13)                                                              \
	/* no free source port for a connection that cannot keep its own */                        \
	X(NO_PORT, no_port, 14)                                                                    \
	/* the kernel refused a rewrite or the tunnel */                                           \
	X(KERNEL, kernel, 15)                                                                      \
	/* handed to the node's routing: a destination outside the cluster */                      \
	X(TO_STACK, to_stack, 16)                                                                  \
	/* the Service does not admit the client's address (loadBalancerSourceRanges) */           \
	X(SOURCE_RANGE, source_range, 17)                                                          \
	/* the pod has as many connections as the others leave it */                               \
	X(QUOTA, quota, 18)                                                                        \
	/* its time to live is over; the sender is told */                                         \
	X(TTL, ttl, 19)                                                                            \
	/* too long for the tunnel and not to be fragmented; the sender is told */                 \
	X(TOO_BIG, too_big, 20)                                                                    \
	/* SCTP; the sender is told */                                                             \
	X(SCTP, sctp, 21)                                                                          \
	/* answered here: ARP for an announced address */                                          \
	X(ANSWERED, answered, 22)                                                                  \
	/* native routing: no namespace is known of the pod that sent it or that is to get it */   \
	X(UNKNOWN_IDENTITY, unknown_identity, 23)                                                  \
	/* forwarded by XDP at the uplink: an established flow from outside to another node */     \
	X(FORWARDED_XDP, forwarded_xdp, 24)                                                        \
	/* no ingress policy that selects the receiving pod allows it */                           \
	X(POLICY_INGRESS, policy_ingress, 25)                                                      \
	/* no egress policy that selects the sending pod allows it */                              \
	X(POLICY_EGRESS, policy_egress, 26)

enum mesh_reason {
#define MESH_REASON_ENUM(upper, lower, number) MESH_REASON_##upper = number,
	MESH_REASONS(MESH_REASON_ENUM)
#undef MESH_REASON_ENUM
};

#define MESH_REASON_COUNT 27
