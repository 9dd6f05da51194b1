/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_identity: whose pods those of other nodes are, with native routing. */
#pragma once

#include "lib/family.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_IDENTITY_MAX_ENTRIES);
	__type(key, struct mesh_identity_key);
	__type(value, struct mesh_identity_value);
} mesh_identity SEC(".maps");

/* Identity of what has the address `ip` at another node, 0 when it is not known. */
static __always_inline __u32 mesh_identity_lookup(const mesh_addr *ip)
{
	struct mesh_identity_key key = {.ip = *ip};
	struct mesh_identity_value *value = bpf_map_lookup_elem(&mesh_identity, &key);

	return value ? value->identity : 0;
}
