/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Judges a flow by both of its ends: what the egress policies say that select its sender, when that
 * is a pod of this node, and what the ingress policies say that select its receiver; while none
 * does, the isolation of the receiver's namespace. Answers follow their flow.
 */
#pragma once

#include "lib/endpoint.h"
#include "lib/family.h"
#include "lib/identity.h"
#include "lib/isolation.h"
#include "lib/policy.h"
#include "lib/scratch.h"

/*
 * Identity of where the flow goes, for the sender's policies. A pod of another node that nobody has
 * told of is 0: no rule but those about everybody is about it. `*own`: it is this node.
 */
static __always_inline __u32 mesh_server_identity(const struct mesh_judged *judged,
						  const struct mesh_endpoint_value *endpoint,
						  int *own)
{
	MESH_ADDR_OF(server, &judged->server);

	*own = 0;
	if (endpoint)
		return endpoint->identity;
	if (mesh_is_own(server, gateway) && judged->port_key.port[0] == 0 &&
	    judged->port_key.port[1] == MESH_DNS_PORT &&
	    (judged->port_key.proto == IPPROTO_UDP || judged->port_key.proto == IPPROTO_TCP))
		return MESH_IDENTITY_DNS;
	if (judged->facts & MESH_JUDGED_TO_NODE) {
		*own = 1;
		return MESH_IDENTITY_HOST;
	}
	if (mesh_in_own(server, cluster))
		return mesh_identity_lookup(server);
	return MESH_IDENTITY_WORLD;
}

/*
 * Judges the flow that `judged` of mesh_scratch describes. Returns 0 or a reason. What a pod sends
 * to itself, and what it and its own node send each other, is nobody's to forbid; the resolver is
 * not that node.
 */
__noinline int mesh_judge_flow(void)
{
	struct mesh_scratch_value *scratch = mesh_scratch_get();
	struct mesh_endpoint_value *sender = NULL, *receiver;
	struct mesh_judged *judged;
	__u32 identity;
	int own;

	if (!scratch)
		return MESH_REASON_KERNEL;
	judged = &scratch->judged;
	if (mesh_addr_equal(&judged->client, &judged->server))
		return 0;
	receiver = mesh_endpoint_lookup(&judged->server);
	if (judged->facts & MESH_JUDGED_FROM_POD)
		sender = mesh_endpoint_lookup(&judged->client);
	if (sender && sender->egress) {
		identity = mesh_server_identity(judged, receiver, &own);
		if (!own &&
		    !mesh_set_admits(judged, sender->egress, sender->egress_class, identity, 1)) {
			mesh_policy_drop(sender->egress);
			return MESH_REASON_POLICY_EGRESS;
		}
	}
	if (!receiver || judged->facts & MESH_JUDGED_FROM_NODE)
		return 0;
	if (receiver->ingress) {
		if (mesh_set_admits(judged, receiver->ingress, receiver->ingress_class,
				    judged->identity, 0))
			return 0;
		mesh_policy_drop(receiver->ingress);
		return MESH_REASON_POLICY_INGRESS;
	}
	return mesh_admits(receiver->identity, receiver->ns ? receiver->ns : receiver->identity,
			   judged->identity, judged->facts & MESH_JUDGED_SERVICE)
		       ? 0
		       : MESH_REASON_ISOLATION;
}
