/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the maps mesh_service, mesh_svc_set, mesh_svc_slot, mesh_maglev, mesh_backend, mesh_be_load,
 * mesh_affinity and mesh_src_range: from what a client dials to who answers. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/affinity_map.h"
#include "mesh/shared/backend_load_map.h"
#include "mesh/shared/backend_map.h"
#include "mesh/shared/service_map.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/slot_map.h"
#include "mesh/shared/source_range_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SERVICE_MAX_ENTRIES);
	__type(key, struct mesh_service_key);
	__type(value, struct mesh_service_value);
} mesh_service SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SET_MAX_ENTRIES);
	__type(key, struct mesh_set_key);
	__type(value, struct mesh_set_value);
} mesh_svc_set SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SLOT_MAX_ENTRIES);
	__type(key, struct mesh_slot_key);
	__type(value, struct mesh_slot_value);
} mesh_svc_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_BACKEND_MAX_ENTRIES);
	__type(key, struct mesh_backend_key);
	__type(value, struct mesh_backend_value);
} mesh_backend SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_BACKEND_MAX_ENTRIES);
	__type(key, struct mesh_backend_key);
	__type(value, struct mesh_backend_load_value);
} mesh_be_load SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MESH_AFFINITY_MAX_ENTRIES);
	__type(key, struct mesh_affinity_key);
	__type(value, struct mesh_affinity_value);
} mesh_affinity SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SOURCE_RANGE_MAX_ENTRIES);
	__type(key, struct mesh_source_range_key);
	__type(value, struct mesh_source_range_value);
} mesh_src_range SEC(".maps");

static __always_inline struct mesh_backend_value *mesh_backend_lookup(__u32 backend_id)
{
	struct mesh_backend_key key = {.backend_id = backend_id};

	return bpf_map_lookup_elem(&mesh_backend, &key);
}

struct mesh_selection {
	__u32 service_id;
	__u32 backend_id;
	__be32 ip;
	__be16 port;
};

/*
 * Picks an active backend at random. Returns 0 or a reason. Twice at most: the slots of a
 * generation go away after the set's value has moved to the next one, so a reader of the old
 * value may miss once.
 */
static __always_inline int mesh_service_select(__be32 vip, __be16 port, __u8 proto,
					       struct mesh_selection *out)
{
	struct mesh_service_key key = {.vip = vip, .port = port, .proto = proto};
	struct mesh_backend_value *backend;
	struct mesh_service_value *service;
	struct mesh_set_key set_key;
	struct mesh_set_value *set;
	struct mesh_slot_value *slot;
	struct mesh_slot_key slot_key;
	int i;

#pragma unroll
	for (i = 0; i < 2; i++) {
		service = bpf_map_lookup_elem(&mesh_service, &key);
		if (!service)
			return MESH_REASON_NO_SERVICE;
		set_key.set_id = service->set_id;
		set = bpf_map_lookup_elem(&mesh_svc_set, &set_key);
		if (!set || !set->count)
			return MESH_REASON_NO_BACKEND;
		slot_key.set_id = set_key.set_id;
		slot_key.generation = set->generation;
		slot_key.index = ((__u64)bpf_get_prandom_u32() * set->count) >> 32;
		slot = bpf_map_lookup_elem(&mesh_svc_slot, &slot_key);
		if (!slot)
			continue;
		backend = mesh_backend_lookup(slot->backend_id);
		if (!backend)
			continue;
		out->service_id = service->service_id;
		out->backend_id = slot->backend_id;
		out->ip = backend->ip;
		out->port = backend->port;
		return 0;
	}
	return MESH_REASON_NO_BACKEND;
}
