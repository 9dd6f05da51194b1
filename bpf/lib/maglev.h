/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_maglev: tables that give a flow the same backend on every node. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/flow_hash.h"
#include "mesh/shared/set_map.h"

/* The flag lets tables differ in size. */
struct mesh_maglev_table {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SET_MAX_ENTRIES);
	__type(key, struct mesh_set_key);
	__array(values, struct mesh_maglev_table);
} mesh_maglev SEC(".maps");

/* The backend at the place of `hash`; 0: the table has just become another one. */
static __always_inline __u32 mesh_maglev_lookup(__u32 set_id, __u32 table_size, __u32 hash)
{
	__u32 index = mesh_hash_index(hash, table_size);
	struct mesh_set_key key = {.set_id = set_id};
	__u32 *backend_id;
	void *table;

	table = bpf_map_lookup_elem(&mesh_maglev, &key);
	if (!table)
		return 0;
	backend_id = bpf_map_lookup_elem(table, &index);
	return backend_id ? *backend_id : 0;
}
