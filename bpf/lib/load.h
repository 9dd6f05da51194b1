/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_be_load: live flows of the backends of least-loaded sets. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/backend_load_map.h"
#include "mesh/shared/backend_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_BACKEND_MAX_ENTRIES);
	__type(key, struct mesh_backend_key);
	__type(value, struct mesh_backend_load_value);
} mesh_be_load SEC(".maps");
MESH_TRACE_LIVE(mesh_be_load);

static __always_inline struct mesh_backend_load_value *mesh_load_lookup(__u32 backend_id)
{
	struct mesh_backend_key key = {.backend_id = backend_id};

	MESH_TRACE_TAKE(mesh_be_load, &key);
	return bpf_map_lookup_elem(&mesh_be_load, &key);
}

static __always_inline __u32 mesh_load_of(__u32 backend_id)
{
	struct mesh_backend_load_value *load = mesh_load_lookup(backend_id);

	return load ? load->flows : 0;
}

static __always_inline void mesh_load_begin(__u32 backend_id)
{
	struct mesh_backend_load_value *load = mesh_load_lookup(backend_id);

	if (load)
		__sync_fetch_and_add(&load->flows, 1);
}

/* The collector may have put the row right in between: never below zero. */
static __always_inline void mesh_load_end(__u32 backend_id)
{
	struct mesh_backend_load_value *load = mesh_load_lookup(backend_id);

	if (load && load->flows)
		__sync_fetch_and_sub(&load->flows, 1);
}
