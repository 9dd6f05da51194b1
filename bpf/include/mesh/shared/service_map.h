/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_SERVICE_MAP_NAME "mesh_service"

/* Key: what a client dials. */
struct mesh_service_key {
	__be32 vip; /* 0: any address of the node, for NodePorts and host ports */
	__be16 port;
	__u8 proto; /* IPPROTO_TCP, IPPROTO_UDP */
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service_key) == 8, "ABI");

#define MESH_SERVICE_EXTERNAL	   1 /* NodePort, LoadBalancer or external address */
#define MESH_SERVICE_SOURCE_RANGES 2 /* only sources in mesh_src_range may */
#define MESH_SERVICE_DIRECT_RETURN 4 /* other nodes answer the client themselves */

/*
 * A frontend. Written when a Service changes, not when its backends do: those are in the row of
 * `set_id` in mesh_svc_set, which all frontends of one scope share.
 */
struct mesh_service_value {
	__u32 service_id; /* of the Service's port, the same in all its frontends */
	__u32 set_id;	  /* MESH_SET_ID */
	__u32 identity;	  /* of the Service's namespace; 0 for host ports */
	__u32 affinity_s; /* 0: none */
	__u32 flags;	  /* MESH_SERVICE_* */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service_value) == 20, "ABI");

#define MESH_SERVICE6_MAP_NAME "mesh_service6"

/* The value is that of mesh_service. */
struct mesh_service6_key {
	struct mesh_in6 vip; /* "::": any address of the node */
	__be16 port;
	__u8 proto;
	__u8 pad0;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_service6_key) == 20, "ABI");
