/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Owns the map mesh_scratch, the memory of one packet at a time: the stack of a program with all
 * its functions ends at 512 bytes. Of IPv6 the slow path keeps more there.
 */
#pragma once

#include "lib/family.h"
#include "lib/policy.h"

struct mesh_dial {
	mesh_addr client, vip;
	__be16 client_port, port;
	__u8 proto;
	__u8 own_address; /* vip is an address of this node: NodePorts and host ports */
	__u8 outside;	  /* the client is no pod and no process of this node */
	__u8 pad0;
};

struct mesh_selection {
	__u32 service_id;
	__u32 backend_id;
	__u32 identity; /* of the Service's namespace; 0: of the backend's own */
	__u32 flags;	/* MESH_SERVICE_* of the frontend */
	mesh_addr ip;
	__be16 port;
	__u8 counted; /* a new flow counts in mesh_be_load */
	__u8 maglev;  /* every node chooses the same for a client */
};

/* What an ICMP error quotes, and the longest answer. */
#ifdef MESH_IPV6
#define MESH_QUOTE_MAX	128
#define MESH_ANSWER_MAX 192
#else
#define MESH_QUOTE_MAX	68 /* an IP header with all its options, and 8 bytes */
#define MESH_ANSWER_MAX 112
#endif

/* The two entries while they are made, and what lib/refuse.h answers. */
struct mesh_scratch_value {
	struct mesh_flow_value flow, answer;
	struct mesh_endpoint_value sender; /* of MESH_ORIGIN_POD: its row */
	__u8 answer_frame[MESH_ANSWER_MAX];
	/* ICMP errors of this CPU in this second. */
	__u32 icmp_second, icmp_errors;
	struct bpf_fib_lookup fib;
	struct mesh_judged judged;
#ifdef MESH_IPV6
	struct mesh_dial dial;
	struct mesh_selection selection;
	struct mesh_flow_key key, answer_key, other_key, partner_key;
	struct mesh_service_key service_key;
	struct mesh_source_range_key range_key;
	struct mesh_affinity_key affinity_key;
#endif
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mesh_scratch_value);
} mesh_scratch SEC(".maps");

static __always_inline struct mesh_scratch_value *mesh_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&mesh_scratch, &zero);
}

#define MESH_SCRATCH(name, otherwise)                                                              \
	struct mesh_scratch_value *name = mesh_scratch_get();                                      \
	if (!name)                                                                                 \
	return otherwise

/*
 * MESH_KEY_OF declares `name`, which points at the key at `from`, or at a copy of it. MESH_ROOM
 * declares `name`, which points at room for a `type`: on the stack, or that of `scratch`.
 */
#ifdef MESH_IPV6
#define MESH_KEY_OF(name, from, scratch)                                                           \
	struct mesh_flow_key *name = &(scratch)->key;                                              \
	*name = *(from)
#define MESH_ROOM(type, name, scratch) type *name = &(scratch)->name
#else
#define MESH_KEY_OF(name, from, scratch)                                                           \
	const struct mesh_flow_key name##_copy = *(from), *name = &name##_copy
#define MESH_ROOM(type, name, scratch) type name##_room, *name = &name##_room
#endif
