/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_state. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/state_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mesh_state_value);
} mesh_state __weak SEC(".maps");

static __always_inline __u32 mesh_generation(void)
{
	__u32 zero = 0;
	struct mesh_state_value *state = bpf_map_lookup_elem(&mesh_state, &zero);

	return state ? state->generation : 0;
}
