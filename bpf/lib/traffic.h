/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the map mesh_svc_count: connections that are begun through each Service, and how long they
 * take to be answered. Packets of established flows pass by here without a step.
 */
#pragma once

#include "lib/common.h"
#include "lib/family.h"
#include "mesh/shared/service_traffic_map.h"

#ifdef MESH_TRACE

#define mesh_traffic_begun(service_id)		    0
#define mesh_traffic_answered(service_id, begun_ns) 0

#else

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_SERVICE_MAX_ENTRIES);
	__type(key, struct mesh_service_traffic_key);
	__type(value, struct mesh_service_traffic_value);
} mesh_svc_count SEC(".maps");

/* Not on the stack, which is full here. */
static const struct mesh_service_traffic_value mesh_no_traffic;

/* A connection has begun. Without room for a row it is not counted. Returns 0. */
static MESH_FRAME int mesh_traffic_begun(__u32 service_id)
{
	struct mesh_service_traffic_key key = {.service_id = service_id};
	struct mesh_service_traffic_value *row = bpf_map_lookup_elem(&mesh_svc_count, &key);

	if (unlikely(!row)) {
		bpf_map_update_elem(&mesh_svc_count, &key, &mesh_no_traffic, BPF_NOEXIST);
		row = bpf_map_lookup_elem(&mesh_svc_count, &key);
	}
	if (row)
		row->connections++;
	return 0;
}

/* Its SYN of `begun_ns` is answered. Returns 0. */
static MESH_FRAME int mesh_traffic_answered(__u32 service_id, __u64 begun_ns)
{
	struct mesh_service_traffic_key key = {.service_id = service_id};
	struct mesh_service_traffic_value *row = bpf_map_lookup_elem(&mesh_svc_count, &key);
	__u64 now_ns = bpf_ktime_get_ns();
	__u32 bucket;

	if (!row || now_ns < begun_ns)
		return 0;
	bucket = mesh_handshake_bucket(now_ns - begun_ns);
	if (bucket >= MESH_HANDSHAKE_BUCKETS)
		return 0;
	row->handshakes[bucket]++;
	row->handshake_ns += now_ns - begun_ns;
	return 0;
}

#endif
