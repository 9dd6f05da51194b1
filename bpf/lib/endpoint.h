/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_endpoint: the pods of this node. */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MESH_ENDPOINT_MAX_ENTRIES);
	__type(key, struct mesh_endpoint_key);
	__type(value, struct mesh_endpoint_value);
} mesh_endpoint SEC(".maps");

#ifndef MESH_IPV6
/* Kept beside the endpoints for the agent; no program reads it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_ENDPOINT_MAX_ENTRIES);
	__type(key, struct mesh_endpoint_key);
	__type(value, struct mesh_endpoint_name);
} mesh_ep_name SEC(".maps");
#endif

static __always_inline struct mesh_endpoint_value *mesh_endpoint_lookup(const mesh_addr *ip)
{
	struct mesh_endpoint_key key = {.ip = *ip};

	return bpf_map_lookup_elem(&mesh_endpoint, &key);
}
