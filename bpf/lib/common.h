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

#define MESH_ICMP_ECHO_REPLY	0
#define MESH_ICMP_UNREACHABLE	3
#define MESH_ICMP_ECHO		8
#define MESH_ICMP_TIME_EXCEEDED 11
#define MESH_ICMP_PARAMETER	12

volatile const struct mesh_config mesh_config = {};
