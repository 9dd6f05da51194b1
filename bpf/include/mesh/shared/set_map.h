/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_SET_MAP_NAME "mesh_svc_set"

/* The backends that a Service port has for one scope. */
struct mesh_set_key {
	__u32 set_id;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_set_key) == 4, "ABI");

#define MESH_SCOPE_INTERNAL	       0
#define MESH_SCOPE_EXTERNAL	       1
#define MESH_SCOPE_BIT(scope)	       (1 << (scope))
#define MESH_SET_ID(service_id, scope) ((service_id)*2 + (scope))

#define MESH_ALGORITHM_RANDOM	    0
#define MESH_ALGORITHM_MAGLEV	    1
#define MESH_ALGORITHM_LEAST_LOADED 2

/*
 * Writing this value is the moment a change takes effect: the slots of `generation` are complete
 * before, those of the last one are removed after; likewise the Maglev table of `table_size`.
 */
struct mesh_set_value {
	__u32 generation;
	__u32 count; /* slots 0..count-1 exist; a backend of weight n has n of them */
	__u32 algorithm;
	__u32 table_size; /* Maglev: a prime; else 0 */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_set_value) == 16, "ABI");
