/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What both compilers (clang -target bpf and the host's C++ compiler) read. */
#pragma once

#include <linux/types.h>

/*
 * Part of the pin path. Raise it when the meaning or layout of a map changes: a newer agent then
 * makes new maps beside the old ones instead of reading foreign bytes.
 */
#define MESH_ABI_VERSION 4

#ifdef __cplusplus
#define MESH_SHARED_ASSERT(condition, why) static_assert(condition, why)
#else
#define MESH_SHARED_ASSERT(condition, why) _Static_assert(condition, why)
#endif

/*
 * IPv6. Its maps have the names of the IPv4 ones with a 6 at the end, and rows of the same meaning;
 * maps without addresses (sets, slots, Maglev tables, namespaces, loads, state, metrics) are
 * shared, and so are the numbers of Services and backends: one number belongs to one family.
 */
struct mesh_in6 {
	__be32 w[4];
};
MESH_SHARED_ASSERT(sizeof(struct mesh_in6) == 16, "ABI");

/*
 * Identities: what policies may ask about a pod has one number (lib/policy.h). Those of pods and
 * the numbers of namespaces begin at 256 and are different from each other.
 */
#define MESH_IDENTITY_HOST	1 /* processes of a node */
#define MESH_IDENTITY_WORLD	2 /* outside the cluster */
#define MESH_IDENTITY_UNMANAGED 3 /* attached by hand */
/*
 * Outside the cluster, and the backend's node answers the client itself. The packet has its first
 * addresses; the inner destination MAC holds the backend that the sending node has chosen: the last
 * 4 bytes of its address (of IPv6 the others are those of its node's range), 2 bytes port.
 */
#define MESH_IDENTITY_WORLD_DIRECT 4
/*
 * The resolver of the pod's own node. To policies it is the pod that a cluster's resolver is:
 * k8s-app=kube-dns in kube-system.
 */
#define MESH_IDENTITY_DNS	5
#define MESH_IDENTITY_FIRST_POD 256

#define MESH_DNS_PORT 53

/*
 * The 24-bit VNI of a packet between nodes: the identity of its source, and one bit that says that
 * it came through a Service (the destination node no longer sees the address the client dialled).
 */
#define MESH_VNI_IDENTITY_MASK 0x7fffff
#define MESH_VNI_SERVICE       0x800000

/* Of UDP, between nodes (RFC 7348). */
#define MESH_VXLAN_PORT 4789

/*
 * Source of a pod's connection to itself through its Service, as the pod sees it (169.254.64.1,
 * host order): its own address there would make the reply stay inside the pod.
 */
#define MESH_HAIRPIN_ADDRESS 0xa9fe4001
/* The same of IPv6 (words in host order): fd6d:6573:6800::1. */
#define MESH_HAIRPIN_ADDRESS6_0 0xfd6d6573
#define MESH_HAIRPIN_ADDRESS6_1 0x68000000
#define MESH_HAIRPIN_ADDRESS6_2 0
#define MESH_HAIRPIN_ADDRESS6_3 1
/* Next hop of the node's routes into the pod network (169.254.64.2, host order); never on a wire.
 */
#define MESH_NEXT_HOP 0xa9fe4002
/*
 * What a process of the node dials in place of an address of its own node (169.254.64.4, host
 * order); see progs/sock.bpf.c.
 */
#define MESH_OWN_ADDRESS 0xa9fe4004
/* The same of IPv6: fd6d:6573:6800::4. */
#define MESH_OWN_ADDRESS6_0 MESH_HAIRPIN_ADDRESS6_0
#define MESH_OWN_ADDRESS6_1 MESH_HAIRPIN_ADDRESS6_1
#define MESH_OWN_ADDRESS6_2 0
#define MESH_OWN_ADDRESS6_3 4
