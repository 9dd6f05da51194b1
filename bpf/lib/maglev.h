/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_maglev: tables that give a flow the same backend on every node. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/flow_hash.h"
#include "mesh/shared/maglev_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_MAGLEV_MAX_ENTRIES);
	__type(key, struct mesh_maglev_key);
	__type(value, struct mesh_maglev_value);
} mesh_maglev SEC(".maps");

/* The backend at the place of `hash`; 0: the set has just got another table. */
static __always_inline __u32 mesh_maglev_lookup(__u32 set_id, __u32 table_size, __u32 hash)
{
	__u32 place = mesh_hash_index(hash, table_size);
	struct mesh_maglev_key key = {
		.set_id = set_id, .table_size = table_size, .part = place / MESH_MAGLEV_PART};
	struct mesh_maglev_value *value = bpf_map_lookup_elem(&mesh_maglev, &key);

	if (!value)
		return 0;
	place -= key.part * MESH_MAGLEV_PART;
	/* The compiler knows that it is, the verifier does not. */
	asm volatile("" : "+r"(place));
	return place < MESH_MAGLEV_PART ? value->backend_id[place] : 0;
}
