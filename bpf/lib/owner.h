/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_owner: how many flows every pod answers for, and how many are left to it. */
#pragma once

#include "lib/family.h"
#include "mesh/shared/drop_reason.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_OWNER_MAX_ENTRIES);
	__type(key, struct mesh_owner_key);
	__type(value, struct mesh_owner_value);
} mesh_owner SEC(".maps");
MESH_TRACE_LIVE(mesh_owner);

static __always_inline struct mesh_owner_value *mesh_owner_lookup(const mesh_addr *ip)
{
	struct mesh_owner_key key = {.ip = *ip};

	MESH_TRACE_TAKE(mesh_owner, &key);
	return bpf_map_lookup_elem(&mesh_owner, &key);
}

/* The row of all flows together. */
static __always_inline struct mesh_owner_value *mesh_owner_of_all(void)
{
	struct mesh_owner_key key;

	__builtin_memset(&key, 0xff, sizeof(key));
	MESH_TRACE_TAKE(mesh_owner, &key);
	return bpf_map_lookup_elem(&mesh_owner, &key);
}

/*
 * Whether an owner (its row, or NULL) may have one more flow: 0, or the reason why not. `in_place`:
 * one of its own gives way to it.
 */
static __always_inline int mesh_owner_check(const struct mesh_owner_value *own,
					    const struct mesh_owner_value *all, int in_place)
{
	__u32 flows, all_flows;

	if (!own || !all || !all->capacity)
		return 0;
	flows = own->flows;
	all_flows = all->flows;
	if (in_place && flows && all_flows) {
		flows--;
		all_flows--;
	}
	return flows < mesh_owner_limit(all->capacity, all_flows) ? 0 : MESH_REASON_QUOTA;
}

static MESH_FRAME void mesh_owner_add(const mesh_addr *owner, struct mesh_owner_value *own,
				      struct mesh_owner_value *all)
{
	if (all)
		__sync_fetch_and_add(&all->flows, 1);
	if (own) {
		__sync_fetch_and_add(&own->flows, 1);
	} else {
		struct mesh_owner_key key = {.ip = *owner};
		struct mesh_owner_value first = {.flows = 1};

		bpf_map_update_elem(&mesh_owner, &key, &first, BPF_NOEXIST);
	}
}

/* The collector may have put a row right in between: never below zero. */
static MESH_FRAME void mesh_owner_sub(const mesh_addr *owner)
{
	struct mesh_owner_value *own = mesh_owner_lookup(owner);
	struct mesh_owner_value *all = mesh_owner_of_all();

	if (all && all->flows)
		__sync_fetch_and_sub(&all->flows, 1);
	if (own && own->flows)
		__sync_fetch_and_sub(&own->flows, 1);
}
