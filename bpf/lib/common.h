/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What every program needs: kernel types, helpers, the read-only configuration. */
#pragma once

#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "mesh/shared/config.h"
#include "mesh/shared/drop_reason.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* <linux/icmp.h> wants the C library's headers of the host. */
struct mesh_icmp {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 id;
	__be16 sequence;
};

#define MESH_ICMP_UNREACHABLE	3
#define MESH_ICMP_TIME_EXCEEDED 11
#define MESH_ICMP_PARAMETER	12

/* Weak, as the maps without addresses: the halves of a program of both families share it. */
volatile const struct mesh_config mesh_config __weak = {};

/* All ones when `bit` is 1, and no branch, which the verifier would follow to both of its ends. */
static __always_inline __u32 mesh_mask_of(__u32 bit)
{
	__u32 mask = -bit;

	asm volatile("" : "+r"(mask));
	return mask;
}

/*
 * Where a program's packets come from. Each has one origin, MESH_ORIGIN, which stands before the
 * first include; but for those at the uplink, which with native routing may be another node's.
 */
enum mesh_origin {
	MESH_ORIGIN_POD,     /* a pod of this node */
	MESH_ORIGIN_NODE,    /* a process of this node */
	MESH_ORIGIN_OVERLAY, /* another node */
	MESH_ORIGIN_UPLINK,  /* outside the cluster */
};

/* Whether packets to other nodes go as they are. Never those that have come through the tunnel. */
#define MESH_IS_NATIVE                                                                             \
	(MESH_ORIGIN != MESH_ORIGIN_OVERLAY && mesh_config.routing == MESH_ROUTING_NATIVE)

#include "lib/trace.h"
