/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owns the maps mesh_announce, mesh_no_masq and mesh_node_ip: the world outside the cluster. */
#pragma once

#include "lib/common.h"
#include "mesh/shared/outside_map.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_ANNOUNCE_MAX_ENTRIES);
	__type(key, struct mesh_announce_key);
	__type(value, __u32);
} mesh_announce SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_NO_MASQUERADE_MAX_ENTRIES);
	__type(key, struct mesh_no_masquerade_key);
	__type(value, __u32);
} mesh_no_masq SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MESH_TUNNEL_MAX_ENTRIES);
	__type(key, struct mesh_node_key);
	__type(value, __u32);
} mesh_node_ip SEC(".maps");
