/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_NAMESPACE_MAP_NAME "mesh_namespace"

struct mesh_namespace_key {
	__u32 identity; /* number of the namespace */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_namespace_key) == 4, "ABI");

#define MESH_ISOLATION_DEFAULT 0
#define MESH_ISOLATION_OPEN    1
#define MESH_ISOLATION_CLOSED  2

/* A namespace without a row is MESH_ISOLATION_DEFAULT. */
struct mesh_namespace_value {
	__u32 isolation;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_namespace_value) == 4, "ABI");
