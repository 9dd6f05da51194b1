/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the map mesh_metrics: every packet is counted once, with the reason of its fate. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/metrics_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MESH_METRICS_MAX_ENTRIES);
	__type(key, __u32);
	__type(value, struct mesh_metrics_value);
} mesh_metrics __weak SEC(".maps");

static __always_inline void mesh_count_bytes(__u32 reason, __u32 direction, __u32 bytes)
{
	__u32 index = MESH_METRICS_INDEX(reason, direction);
	struct mesh_metrics_value *value = bpf_map_lookup_elem(&mesh_metrics, &index);

	MESH_NOTE(REASON, reason, direction, 0);
	if (value) {
		value->packets++;
		value->bytes += bytes;
	}
}

static __always_inline void mesh_count(const struct __sk_buff *skb, __u32 reason, __u32 direction)
{
	mesh_count_bytes(reason, direction, skb->len);
}

/* The destination's decisions, and the sender's, wherever they are taken. */
static __always_inline __u32 mesh_drop_direction(__u32 reason, __u32 direction)
{
	if (reason == MESH_REASON_ISOLATION || reason == MESH_REASON_POLICY_INGRESS)
		return MESH_DIRECTION_INGRESS;
	return reason == MESH_REASON_POLICY_EGRESS ? MESH_DIRECTION_EGRESS : direction;
}
