/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the maps mesh_identity (whose pods those of other nodes are, where packets do not tell) and
 * mesh_pod_ns (which namespace's pods).
 */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_IDENTITY_MAX_ENTRIES);
	__type(key, struct mesh_identity_key);
	__type(value, struct mesh_identity_value);
} mesh_identity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_IDENTITY_MAX_ENTRIES);
	__type(key, struct mesh_pod_namespace_key);
	__type(value, struct mesh_pod_namespace_value);
} mesh_pod_ns SEC(".maps");

/* What is known of the address `ip` at another node; NULL: nothing. */
static __always_inline struct mesh_identity_value *mesh_identity_find(const mesh_addr *ip)
{
	struct mesh_identity_key key = {.ip = *ip};

	return bpf_map_lookup_elem(&mesh_identity, &key);
}

/* Identity of what has the address `ip` at another node, 0 when it is not known. */
static __always_inline __u32 mesh_identity_lookup(const mesh_addr *ip)
{
	struct mesh_identity_value *value = mesh_identity_find(ip);

	return value ? value->identity : 0;
}

static __always_inline __u32 mesh_namespace_of(__u32 identity)
{
	struct mesh_pod_namespace_key key = {.identity = identity};
	struct mesh_pod_namespace_value *value;

	if (identity < MESH_IDENTITY_FIRST_POD)
		return identity;
	value = bpf_map_lookup_elem(&mesh_pod_ns, &key);
	return value ? value->ns : identity;
}
