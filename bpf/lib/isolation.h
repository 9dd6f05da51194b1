/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_namespace: whom a pod admits. */
#pragma once

#include "lib/common.h"
#include "lib/identity.h"
#include "mesh/shared/namespace_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_NAMESPACE_MAX_ENTRIES);
	__type(key, struct mesh_namespace_key);
	__type(value, struct mesh_namespace_value);
} mesh_namespace SEC(".maps");

/*
 * Whether a pod of `receiver`, one of namespace `ns`, takes a new flow of `sender`, when no policy
 * speaks about it. A Service's backends are pods of its own namespace, so "through a Service" is
 * "through a Service of the receiver's namespace".
 */
static __always_inline int mesh_admits(__u32 receiver, __u32 ns, __u32 sender, int through_service)
{
	struct mesh_namespace_key key = {.identity = ns};
	struct mesh_namespace_value *value;

	if (sender == receiver || mesh_namespace_of(sender) == ns)
		return 1;
	value = bpf_map_lookup_elem(&mesh_namespace, &key);
	MESH_NOTE(ISOLATION, key.identity, value ? value->isolation : 0, !!through_service);
	if (value && value->isolation == MESH_ISOLATION_OPEN)
		return 1;
	if (value && value->isolation == MESH_ISOLATION_CLOSED)
		return 0;
	return through_service;
}
