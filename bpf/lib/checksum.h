/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One's complement sums (RFC 1624): differences are computed once per flow, applied per packet. */
#pragma once

#include "lib/common.h"

static __always_inline __u32 mesh_csum_fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return sum;
}

/* What replacing `from` by `to` adds to a sum. */
static __always_inline __u64 mesh_csum_replace(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

/* Applies a difference to the stored (complemented) checksum of a header. */
static __always_inline __sum16 mesh_csum_apply(__sum16 check, __u32 diff)
{
	__u32 sum = (__u16)~check;

	sum += (diff & 0xffff) + (diff >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__sum16)~sum;
}
