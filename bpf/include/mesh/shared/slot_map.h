/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_SLOT_MAP_NAME "mesh_svc_slot"

/* The active backends of a set, by index. */
struct mesh_slot_key {
	__u32 set_id;
	__u32 generation;
	__u32 index;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_slot_key) == 12, "ABI");

struct mesh_slot_value {
	__u32 backend_id;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_slot_value) == 4, "ABI");
