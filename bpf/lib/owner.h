/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_owner: how many flows every pod answers for, and how many are left to it. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/owner_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_ENDPOINT_MAX_ENTRIES + 2);
	__type(key, struct mesh_owner_key);
	__type(value, struct mesh_owner_value);
} mesh_owner SEC(".maps");

static __always_inline struct mesh_owner_value *mesh_owner_lookup(__be32 ip)
{
	struct mesh_owner_key key = {.ip = ip};

	return bpf_map_lookup_elem(&mesh_owner, &key);
}

/* Whether `owner` may have one more flow: 0, or the reason why not. */
static __always_inline int mesh_owner_check(__be32 owner)
{
	struct mesh_owner_value *own = mesh_owner_lookup(owner);
	struct mesh_owner_value *all = mesh_owner_lookup(MESH_OWNER_ALL);

	if (!own || !all || !all->capacity)
		return 0;
	return own->flows < mesh_owner_limit(all->capacity, all->flows) ? 0 : MESH_REASON_QUOTA;
}

static __always_inline void mesh_owner_add(__be32 owner)
{
	struct mesh_owner_value *own = mesh_owner_lookup(owner);
	struct mesh_owner_value *all = mesh_owner_lookup(MESH_OWNER_ALL);

	if (all)
		__sync_fetch_and_add(&all->flows, 1);
	if (own) {
		__sync_fetch_and_add(&own->flows, 1);
	} else {
		struct mesh_owner_key key = {.ip = owner};
		struct mesh_owner_value first = {.flows = 1};

		bpf_map_update_elem(&mesh_owner, &key, &first, BPF_NOEXIST);
	}
}

/* The collector may have put a row right in between: never below zero. */
static __always_inline void mesh_owner_sub(__be32 owner)
{
	struct mesh_owner_value *own = mesh_owner_lookup(owner);
	struct mesh_owner_value *all = mesh_owner_lookup(MESH_OWNER_ALL);

	if (all && all->flows)
		__sync_fetch_and_sub(&all->flows, 1);
	if (own && own->flows)
		__sync_fetch_and_sub(&own->flows, 1);
}
