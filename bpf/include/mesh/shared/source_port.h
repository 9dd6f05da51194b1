/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose the source ports are that one address of a node has towards one destination. The range is
 * cut into groups of 2^shift ports, and of each group a holder may have one only: which one, a hash
 * of both tells. So nobody gets more than that part of the range, and what one holder has taken is
 * about the same part of the ports of any other. Pure; nothing is counted, nothing to be put right.
 */
#pragma once

#include "mesh/shared/flow_hash.h"
#include "mesh/shared/limits.h"

/* Pods, processes of the node, and clients outside all together where they share with pods. */
#define MESH_PORT_SHIFT_INSIDE 2
/* Each client outside, where nobody else draws: one address may stand for many people. */
#define MESH_PORT_SHIFT_OUTSIDE 1

/* Clients outside as one holder. */
#define MESH_PORT_HOLDER_OUTSIDE 0

/*
 * `holder`: a hash of whom the flow is for. `random`: any number; all ports of a holder are equally
 * likely. Returns a port of first..first + count - 1, in host order. REQUIRES: count >= 2^shift.
 */
static inline __u16 mesh_source_port(__u32 holder, __u32 first, __u32 count, __u32 shift,
				     __u32 random)
{
	__u32 group = random % (count >> shift);
	__u32 place = mesh_hash_end(mesh_hash_add(holder, group)) & ((1U << shift) - 1);

	return (__u16)(first + (group << shift) + place);
}
