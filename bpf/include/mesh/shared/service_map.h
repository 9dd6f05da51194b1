/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_SERVICE_MAP_NAME "mesh_service"

/* Key: what a client dials. */
struct mesh_service_key {
	__be32 vip;
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service_key) == 8, "ABI");

/*
 * Writing this value is the moment a change takes effect: the slots of `generation` are complete
 * before, those of the last one are removed after.
 */
struct mesh_service_value {
	__u32 service_id;
	__u32 generation;
	__u32 count;	/* slots 0..count-1 exist */
	__u32 identity; /* of the Service's namespace */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service_value) == 16, "ABI");
