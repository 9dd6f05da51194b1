/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_SOURCE_RANGE_MAP_NAME "mesh_src_range"

/* A range that may reach a Service port; the layout is the kernel's bpf_lpm_trie_key. */
struct mesh_source_range_key {
	__u32 prefix_length; /* 32 of the service id, and those of the range */
	__u32 service_id;
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_source_range_key) == 12, "ABI");

struct mesh_source_range_value {
	__u32 allowed; /* 1 */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_source_range_value) == 4, "ABI");

#define MESH_SOURCE_RANGE6_MAP_NAME "mesh_src_range6"

struct mesh_source_range6_key {
	__u32 prefix_length; /* 32 of the service id, and those of the range */
	__u32 service_id;
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_source_range6_key) == 24, "ABI");
