/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"
#include "mesh/shared/limits.h"

#define MESH_IDENTITY_MAP_NAME	"mesh_identity"
#define MESH_IDENTITY6_MAP_NAME "mesh_identity6"

/*
 * Hash: identities of the pods of other nodes, where packets between nodes do not carry them
 * (native routing), and where policies ask whom a pod sends to. With native routing a pod without a
 * row is unknown: it is admitted nowhere.
 */
struct mesh_identity_key {
	__be32 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_identity_key) == 4, "ABI");

struct mesh_identity6_key {
	struct mesh_in6 ip;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_identity6_key) == 16, "ABI");

struct mesh_identity_value {
	__u32 identity;
	__u32 ns; /* of its namespace; 0: the same number as identity */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_identity_value) == 8, "ABI");

#define MESH_POD_NAMESPACE_MAP_NAME "mesh_pod_ns"

/* Hash: the namespace that an identity's pods are of. Without a row it is its own namespace. */
struct mesh_pod_namespace_key {
	__u32 identity;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_pod_namespace_key) == 4, "ABI");

struct mesh_pod_namespace_value {
	__u32 ns;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_pod_namespace_value) == 4, "ABI");
