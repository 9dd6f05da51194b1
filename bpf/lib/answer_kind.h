/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which answer a packet gets that goes nowhere; lib/refuse.h gives it. */
#pragma once

#include "lib/family.h"
#include "mesh/shared/drop_reason.h"

/* What is to be said: 0 (nothing), or one of these. */
enum mesh_answer_kind {
	MESH_ANSWER_NONE,
	MESH_ANSWER_RESET,
	MESH_ANSWER_PORT,     /* ICMP: nobody at this port */
	MESH_ANSWER_PROTOCOL, /* ICMP: nobody for this protocol */
	MESH_ANSWER_OPTIONS,  /* ICMP: these IP options are not carried */
	MESH_ANSWER_TTL,
	MESH_ANSWER_TOO_BIG,
};

/* `proto`: of the fourth layer, or of the extension header that is not carried. */
static __always_inline int mesh_answer_kind(int reason, __u8 proto)
{
	switch (reason) {
	case MESH_REASON_NO_SERVICE:
	case MESH_REASON_NO_BACKEND:
	case MESH_REASON_BACKEND_GONE:
	case MESH_REASON_NO_PORT:
		return proto == IPPROTO_TCP ? MESH_ANSWER_RESET : MESH_ANSWER_PORT;
	case MESH_REASON_NO_FLOW:
		return proto == IPPROTO_TCP ? MESH_ANSWER_RESET : MESH_ANSWER_NONE;
	case MESH_REASON_SCTP:
		return MESH_ANSWER_PROTOCOL;
	case MESH_REASON_UNSUPPORTED:
		return proto == MESH_IPPROTO_ICMP ? MESH_ANSWER_NONE : MESH_ANSWER_PROTOCOL;
	case MESH_REASON_TTL:
		return MESH_ANSWER_TTL;
	case MESH_REASON_TOO_BIG:
		return MESH_ANSWER_TOO_BIG;
	}
	return MESH_ANSWER_NONE;
}
