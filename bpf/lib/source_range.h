/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_src_range: who may reach a Service port (loadBalancerSourceRanges). */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SOURCE_RANGE_MAX_ENTRIES);
	__type(key, struct mesh_source_range_key);
	__type(value, struct mesh_source_range_value);
} mesh_src_range SEC(".maps");

static __always_inline int mesh_source_allowed(__u32 service_id, const mesh_addr *client)
{
	struct mesh_source_range_key key = {
		.prefix_length = 32 + MESH_ADDRESS_BITS, .service_id = service_id, .ip = *client};

	return bpf_map_lookup_elem(&mesh_src_range, &key) != NULL;
}
