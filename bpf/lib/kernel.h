/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the context does not tell about a packet, read from the kernel's own structure. */
#pragma once

#include "lib/common.h"

#include <bpf/bpf_core_read.h>

#define MESH_CHECKSUM_COMPLETE 2
#define MESH_CHECKSUM_PARTIAL  3

/* The kernel is too old to ask, or must learn of the change (CHECKSUM_COMPLETE). */
#define MESH_SUMMED_BY_HELPER -1

struct sk_buff {
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

/* Since Linux 6.2. */
extern void *bpf_cast_to_kern_ctx(void *context) __weak __ksym;

/* CHECKSUM_* of the packet, or MESH_SUMMED_BY_HELPER where the kernel is too old to ask. */
static __always_inline int mesh_ip_summed(struct __sk_buff *skb)
{
	struct sk_buff *kernel_skb;

	if (!mesh_config.kernel_context)
		return MESH_SUMMED_BY_HELPER;
	kernel_skb = bpf_cast_to_kern_ctx(skb);
	return BPF_CORE_READ_BITFIELD(kernel_skb, ip_summed);
}

/*
 * Who is to write the checksum of the fourth layer: MESH_SUMMED_BY_HELPER, or the program, which
 * then has to know whether it is MESH_CHECKSUM_PARTIAL. A helper call costs as much as the lookup
 * of the flow.
 */
static __always_inline int mesh_checksum_state(struct __sk_buff *skb)
{
	int summed = mesh_ip_summed(skb);

	return summed == MESH_CHECKSUM_COMPLETE ? MESH_SUMMED_BY_HELPER : summed;
}
