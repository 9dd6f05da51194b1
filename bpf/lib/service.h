/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the maps mesh_service, mesh_svc_set, mesh_svc_slot and mesh_backend. */
#pragma once

#include "lib/family.h"
#include "mesh/shared/set_map.h"
#include "mesh/shared/slot_map.h"

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

static __always_inline struct mesh_backend_value *mesh_backend_lookup(__u32 backend_id)
{
	struct mesh_backend_key key = {.backend_id = backend_id};

	return bpf_map_lookup_elem(&mesh_backend, &key);
}

static __always_inline struct mesh_set_value *mesh_set_lookup(__u32 set_id)
{
	struct mesh_set_key key = {.set_id = set_id};

	return bpf_map_lookup_elem(&mesh_svc_set, &key);
}

/* The backend in a slot; 0: the slot is gone, the set has moved to its next generation. */
static __always_inline __u32 mesh_slot_lookup(__u32 set_id, __u32 generation, __u32 index)
{
	struct mesh_slot_key key = {.set_id = set_id, .generation = generation, .index = index};
	struct mesh_slot_value *value = bpf_map_lookup_elem(&mesh_svc_slot, &key);

	return value ? value->backend_id : 0;
}
