/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_MAGLEV_MAP_NAME "mesh_maglev"

/*
 * A row fits, with the kernel's header, into 1 KB of its allocator; the smallest table (1021
 * places) has five.
 */
#define MESH_MAGLEV_PART	      232
#define MESH_MAGLEV_PARTS(table_size) (((table_size) + MESH_MAGLEV_PART - 1) / MESH_MAGLEV_PART)

/*
 * Tables of different size of one set may stand there together: the new one is complete before the
 * row of the set names its size, the old one goes after. One that keeps its size changes row by
 * row; every place holds a backend that has a row at any moment.
 */
struct mesh_maglev_key {
	__u32 set_id;
	__u32 table_size;
	__u32 part; /* of place / MESH_MAGLEV_PART */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_maglev_key) == 12, "ABI");

struct mesh_maglev_value {
	__u32 backend_id[MESH_MAGLEV_PART]; /* beyond the table's end 0 */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_maglev_value) == 928, "ABI");
