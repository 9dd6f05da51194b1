/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"

#define MESH_STATE_MAP_NAME "mesh_state"

/* One row. */
struct mesh_state_value {
	/*
	 * Moves on when a decision kept in flows may have changed: a backend, peer or endpoint
	 * left, or a namespace's isolation differs. Each flow is then judged again at its next
	 * packet.
	 */
	__u32 generation;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_state_value) == 4, "ABI");
