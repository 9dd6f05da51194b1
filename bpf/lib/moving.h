/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the maps mesh_turnout and mesh_flow_was: see mesh/shared/moving.h. */
#pragma once

#include "lib/family.h"
#include "lib/packet.h"
#include "mesh/shared/moving.h"

/* Read-only data, MESH_TAKING_OVER_*: where it is 0 nothing of this remains in the program, and the
 * maps do not exist.
 */
volatile const __u32 mesh_taking_over __weak = 0;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2 * MESH_HOOK_COUNT);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} mesh_turnout SEC(".maps");

/* In place of the values stand those of another layout. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct mesh_flow_key);
	__type(value, __u64);
} mesh_flow_was SEC(".maps");

/* Whether the connection table of before has `key`: its flow may not be carried over yet. */
static __always_inline int mesh_moving_has(const struct mesh_flow_key *key)
{
	return mesh_taking_over && bpf_map_lookup_elem(&mesh_flow_was, key);
}
