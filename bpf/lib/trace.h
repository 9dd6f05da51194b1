/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Why a packet goes the way it goes: with -DMESH_TRACE the same programs write down what they
 * decide. They run on a packet that somebody asks about (BPF_PROG_TEST_RUN) and leave nothing
 * behind: every map that programs write to is there twice, the one they work on and the live one
 * (MESH_TRACE_LIVE), of which they take the rows that they meet (MESH_TRACE_TAKE). Without it
 * nothing of this remains in a program. Included by lib/common.h.
 */
#pragma once

#include "mesh/shared/trace.h"

#ifdef MESH_TRACE

struct mesh_trace_value mesh_trace = {};

static __always_inline void mesh_note(__u32 step, __u32 a, __u32 b, __u32 c)
{
	__u32 i = *(volatile __u32 *)&mesh_trace.count & (MESH_TRACE_MAX_NOTES - 1);
	struct mesh_trace_note *note;

	/* The verifier is to see the bound, whatever the compiler knows. */
	asm volatile("" : "+r"(i));
	if (i >= MESH_TRACE_MAX_NOTES)
		return;
	note = &mesh_trace.notes[i];
	note->step = step;
	note->a = a;
	note->b = b;
	note->c = c;
	mesh_trace.count++;
}

static __always_inline void mesh_trace_take(void *own, void *live, const void *key)
{
	void *row = bpf_map_lookup_elem(live, key);

	if (row)
		bpf_map_update_elem(own, key, row, BPF_NOEXIST);
}

#define MESH_NOTE(step, a, b, c)   mesh_note(MESH_TRACE_##step, a, b, c)
#define MESH_TRACE_LIVE(map)	   __typeof__(map) map##_live SEC(".maps")
#define MESH_TRACE_TAKE(map, key)  mesh_trace_take(&map, &map##_live, key)
#define MESH_TRACE_KEEP(flow_left) (*(struct mesh_flow_value *)mesh_trace.flow = *(flow_left))

#else

#define MESH_NOTE(step, a, b, c)                                                                   \
	do {                                                                                       \
	} while (0)
#define MESH_TRACE_LIVE(map) _Static_assert(sizeof(map) > 0, "a map")
#define MESH_TRACE_TAKE(map, key)                                                                  \
	do {                                                                                       \
	} while (0)
#define MESH_TRACE_KEEP(flow_left)                                                                 \
	do {                                                                                       \
	} while (0)

#endif
