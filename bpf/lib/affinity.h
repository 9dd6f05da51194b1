/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_affinity: which backend a client had last. */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MESH_AFFINITY_MAX_ENTRIES);
	__type(key, struct mesh_affinity_key);
	__type(value, struct mesh_affinity_value);
} mesh_affinity SEC(".maps");
MESH_TRACE_LIVE(mesh_affinity);

static __always_inline struct mesh_affinity_value *mesh_affinity_lookup(__u32 service_id,
									const mesh_addr *client)
{
	struct mesh_affinity_key key = {.service_id = service_id, .client = *client};

	MESH_TRACE_TAKE(mesh_affinity, &key);
	return bpf_map_lookup_elem(&mesh_affinity, &key);
}

/* Enters a client that has no row. Returns nonzero when another CPU was first, or there is no room.
 */
static __always_inline int mesh_affinity_enter(__u32 service_id, const mesh_addr *client,
					       __u32 backend_id, __u64 now_ns)
{
	struct mesh_affinity_key key = {.service_id = service_id, .client = *client};
	struct mesh_affinity_value value = {.last_seen_ns = now_ns, .backend_id = backend_id};

	return (int)bpf_map_update_elem(&mesh_affinity, &key, &value, BPF_NOEXIST);
}
