/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_BACKEND_LOAD_MAP_NAME "mesh_be_load"

/* Key: mesh_backend_key. Only backends of least-loaded sets have a row. */
struct mesh_backend_load_value {
	/* Live flows from this node: the programs add new ones, the collector puts it right. */
	__u32 flows;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_backend_load_value) == 4, "ABI");
