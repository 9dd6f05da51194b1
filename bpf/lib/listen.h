/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the maps mesh_events, mesh_listen and mesh_event_loss: the way of flow events to the agent.
 * A traced packet (lib/trace.h) is nobody's flow and tells nothing.
 */
#pragma once

#include "lib/common.h"
#include "mesh/shared/flow_event.h"

/* Beside a reason: see mesh_flow_open(). */
#define MESH_REASON_DECIDED 0x100

#ifdef MESH_TRACE

static __always_inline __u32 mesh_listens(__u32 to)
{
	return 0;
}

#else

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MESH_EVENTS_BYTES);
} mesh_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mesh_listen_value);
} mesh_listen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mesh_event_loss_value);
} mesh_event_loss SEC(".maps");

/* Whether somebody wants to know of MESH_LISTEN_*. A load and a comparison: no helper is called. */
static __always_inline __u32 mesh_listens(__u32 to)
{
	__u32 zero = 0;
	struct mesh_listen_value *listen = bpf_map_lookup_elem(&mesh_listen, &zero);

	return listen ? listen->what & to : 0;
}

/* Whether one more drop is to be told by this CPU. */
static __always_inline int mesh_event_drop_due(__u64 now_ns)
{
	__u32 zero = 0;
	struct mesh_event_loss_value *loss = bpf_map_lookup_elem(&mesh_event_loss, &zero);
	__u64 window = now_ns >> MESH_EVENT_WINDOW_SHIFT;

	if (!loss)
		return 0;
	if (loss->window != window) {
		loss->window = window;
		loss->drops = 0;
	}
	if (loss->drops >= MESH_EVENT_DROPS_PER_WINDOW) {
		loss->suppressed++;
		return 0;
	}
	loss->drops++;
	return 1;
}

/* A record to be filled, zeroed but for its time; NULL: the ring is full, which is counted. */
static __always_inline struct mesh_flow_event *mesh_event_reserve(__u8 kind, __u64 now_ns)
{
	struct mesh_flow_event *event =
		bpf_ringbuf_reserve(&mesh_events, sizeof(struct mesh_flow_event), 0);

	if (!event) {
		__u32 zero = 0;
		struct mesh_event_loss_value *loss = bpf_map_lookup_elem(&mesh_event_loss, &zero);

		if (loss)
			loss->lost++;
		return NULL;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = now_ns;
	event->kind = kind;
	return event;
}

#endif
