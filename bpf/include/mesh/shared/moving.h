/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Taking over from programs whose connection table is another one (a layout or size that has
 * changed), without losing a packet. See dataplane/takeover.h.
 */
#pragma once

#include "mesh/shared/base.h"

/* Program array: by MESH_HOOK_* what ran at the hook before, MESH_HOOK_COUNT further what takes
 * over.
 */
#define MESH_TURNOUT_MAP_NAME "mesh_turnout"
/* The connection table of those programs; looked up, never read. */
#define MESH_FLOW_WAS_MAP_NAME "mesh_flow_was"
/* Array of one __u32, MESH_MOVING_*. */
#define MESH_MOVING_MAP_NAME "mesh_moving"

/* Of programs that take over: whether they can read the rows of before. */
#define MESH_TAKING_OVER       1 /* their keys alone: the rest is laid out otherwise */
#define MESH_TAKING_OVER_ALIKE 2

#define MESH_HOOK_FROM_POD 0
#define MESH_HOOK_NODE	   1
#define MESH_HOOK_OVERLAY  2
#define MESH_HOOK_UPLINK   3
#define MESH_HOOK_COUNT	   4

/* The programs of before decide about every packet, while the turnout is put at all hooks. */
#define MESH_MOVING_BEFORE 0
/* Those that take over decide; what is left to the others are flows that only they know, until
 * those are carried over. */
#define MESH_MOVING_AFTER 1
