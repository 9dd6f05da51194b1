/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writes what a flow says into a packet. */
#pragma once

#include "lib/checksum.h"
#include "lib/family.h"
#include "lib/kernel.h"
#include "lib/packet.h"

/*
 * Two differences, because a packet whose checksum the hardware is to fill in (CHECKSUM_PARTIAL)
 * holds the sum of the pseudo header only: addresses belong to it, ports do not. By the program
 * itself: `summed` is not MESH_SUMMED_BY_HELPER.
 */
static __always_inline void mesh_write_l4_checksum(__sum16 *check, __u8 proto, int summed,
						   const struct mesh_flow_value *flow)
{
	__u32 sum = *check;

	if (proto == IPPROTO_UDP && !sum)
		return;
	if (summed == MESH_CHECKSUM_PARTIAL) {
		sum = (__u16)~mesh_csum_apply(~sum, flow->address_diff);
	} else {
		sum = mesh_csum_apply(sum, flow->address_diff);
		sum = mesh_csum_apply(sum, flow->port_diff);
	}
	if (proto == IPPROTO_UDP && !sum)
		sum = 0xffff;
	*check = sum;
}

/*
 * The writer of each family:
 *   mesh_rewrite()        the flow's addresses and ports, and the checksums
 *   mesh_decrement_ttl()  what a router takes off
 */
#ifdef MESH_IPV6
#include "lib/rewrite6.h"
#else
#include "lib/rewrite4.h"
#endif
