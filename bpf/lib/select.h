/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From what a client dials to the backend of a new flow. Slow path only: the flow keeps the answer
 * for its life.
 *
 * Lookups of a new flow through a ClusterIP: frontend, set, slot, backend. Maglev takes a
 * part of its table for the slot, least-loaded two slots, two backends, two loads and one more to
 * count the flow; affinity adds one when the client is known and two when it is not; source ranges
 * one.
 */
#pragma once

#include "lib/affinity.h"
#include "lib/family.h"
#include "lib/load.h"
#include "lib/maglev.h"
#include "lib/scratch.h"
#include "lib/service.h"
#include "lib/source_range.h"

/* A reader of a generation that has just gone reads again; a second change may overtake it too. */
#define MESH_SELECT_TRIES 3

/* Fills `out` when `key` may dial a frontend; pods' own addresses are none. */
static __always_inline int mesh_dials(const struct mesh_flow_key *key, int outside, int of_node,
				      struct mesh_dial *out)
{
	int own_address = mesh_is_own(&key->daddr, gateway) || mesh_is_own(&key->daddr, node_ip);

	if (key->proto != IPPROTO_TCP && key->proto != IPPROTO_UDP)
		return 0;
	if (!own_address && mesh_in_own(&key->daddr, cluster))
		return 0;
	out->client = key->saddr;
	out->vip = key->daddr;
	out->client_port = key->sport;
	out->port = key->dport;
	out->proto = key->proto;
	out->own_address = own_address;
	out->outside = outside;
	out->pad0 = 0;
	/* An address of its own node, as progs/sock.bpf.c writes it. */
	if (of_node && mesh_addr_stands_for_own(&key->daddr)) {
		mesh_copy_own(&out->vip, node_ip);
		out->own_address = 1;
	}
	return 1;
}

/* From outside only what is meant for the outside is there. `key` becomes the frontend's. */
static __always_inline struct mesh_service_value *mesh_frontend_lookup(const struct mesh_dial *dial,
								       struct mesh_service_key *key)
{
	struct mesh_service_value *service;

	key->vip = dial->vip;
	key->port = dial->port;
	key->proto = dial->proto;
	key->pad0 = 0;
	service = bpf_map_lookup_elem(&mesh_service, key);
	if (!service && dial->own_address) {
		__builtin_memset(&key->vip, 0, sizeof(key->vip));
		service = bpf_map_lookup_elem(&mesh_service, key);
	}
	if (service && dial->outside && !(service->flags & MESH_SERVICE_EXTERNAL))
		return NULL;
	return service;
}

/* Which of two backends has fewer flows for its weight. */
static __always_inline __u32 mesh_less_loaded(__u32 a, __u32 b)
{
	struct mesh_backend_value *backend_a = mesh_backend_lookup(a);
	struct mesh_backend_value *backend_b = mesh_backend_lookup(b);
	__u64 load_a, load_b;

	if (!backend_a)
		return b;
	if (!backend_b)
		return a;
	load_a = (__u64)mesh_load_of(a) * (backend_b->weight ? backend_b->weight : 1);
	load_b = (__u64)mesh_load_of(b) * (backend_a->weight ? backend_a->weight : 1);
	MESH_NOTE(LOADS, a, b, mesh_load_of(a) << 16 | (mesh_load_of(b) & 0xffff));
	return load_b < load_a ? b : a;
}

/* A backend of the set, by its algorithm; 0: what was read belongs to an older set. */
static __always_inline __u32 mesh_set_pick(__u32 set_id, const struct mesh_set_value *set,
					   __u32 hash)
{
	__u32 generation = set->generation, count = set->count;
	__u32 index, a, b;

	if (set->algorithm == MESH_ALGORITHM_MAGLEV) {
		a = mesh_maglev_lookup(set_id, set->table_size, hash);
		if (a)
			return a;
		/* A table of another size has taken its place since the set's row was read. */
		return mesh_slot_lookup(set_id, generation, mesh_hash_index(hash, count));
	}
	index = mesh_hash_index(bpf_get_prandom_u32(), count);
	a = mesh_slot_lookup(set_id, generation, index);
	if (set->algorithm != MESH_ALGORITHM_LEAST_LOADED || count < 2)
		return a;
	/* Another slot than the first. */
	index += 1 + mesh_hash_index(bpf_get_prandom_u32(), count - 1);
	if (index >= count)
		index -= count;
	b = mesh_slot_lookup(set_id, generation, index);
	if (!a || !b || a == b)
		return a ? a : b;
	return mesh_less_loaded(a, b);
}

/* The row of a client's last backend if a new flow may have it. */
static __always_inline struct mesh_backend_value *
mesh_affinity_backend(__u32 backend_id, __u32 service_id, __u32 set_id)
{
	struct mesh_backend_value *backend = mesh_backend_lookup(backend_id);

	if (!backend || backend->service_id != service_id ||
	    backend->state != MESH_BACKEND_ACTIVE ||
	    !(backend->scopes & MESH_SCOPE_BIT(set_id & 1)))
		return NULL;
	return backend;
}

/*
 * Chooses the backend of a new flow. Returns 0 or a reason. A function of its own for the verifier,
 * which checks it once and knows nothing of its callers there.
 */
__noinline int mesh_service_select(const struct mesh_dial *dial, struct mesh_selection *out)
{
	struct mesh_affinity_value *affinity = NULL;
	struct mesh_backend_value *backend = NULL;
	__u32 service_id, set_id, affinity_s, backend_id = 0, hash;
	struct mesh_service_value *service;
	struct mesh_set_value *set;
	__u64 now_ns = 0;
	int i;

	if (!dial || !out)
		return MESH_REASON_KERNEL;
	MESH_SCRATCH(scratch, MESH_REASON_KERNEL);
	MESH_ROOM(struct mesh_service_key, service_key, scratch);
	service = mesh_frontend_lookup(dial, service_key);
	if (!service)
		return MESH_REASON_NO_SERVICE;
	service_id = service->service_id;
	set_id = service->set_id;
	affinity_s = service->affinity_s;
	if (service->flags & MESH_SERVICE_SOURCE_RANGES &&
	    !mesh_source_allowed(service_id, &dial->client))
		return MESH_REASON_SOURCE_RANGE;
	MESH_NOTE(SERVICE, service_id, service->flags, set_id);
	out->service_id = service_id;
	out->identity = service->identity;
	out->flags = service->flags;

	/*
	 * Who dials an external address from inside is still inside: what is kept to the node for
	 * the sake of the client's address (externalTrafficPolicy: Local) does not concern it.
	 */
	if (!dial->outside && service->flags & MESH_SERVICE_EXTERNAL) {
		set = mesh_set_lookup(MESH_SET_ID(service_id, MESH_SCOPE_INTERNAL));
		if (set && set->count)
			set_id = MESH_SET_ID(service_id, MESH_SCOPE_INTERNAL);
	}

	if (affinity_s) {
		now_ns = bpf_ktime_get_coarse_ns();
		affinity = mesh_affinity_lookup(service_id, &dial->client);
		if (affinity && affinity->last_seen_ns + affinity_s * MESH_SECOND_NS > now_ns) {
			/* Once: another CPU may write it. */
			backend_id = *(volatile __u32 *)&affinity->backend_id;
			backend = mesh_affinity_backend(backend_id, service_id, set_id);
			MESH_NOTE(AFFINITY, backend_id, backend != NULL, 0);
		}
		hash = mesh_hash_of_client(&dial->client);
	} else {
		hash = mesh_hash_of_flow(&dial->client, &service_key->vip, dial->client_port,
					 dial->port, dial->proto);
	}

	set = NULL;
	for (i = 0; i < MESH_SELECT_TRIES; i++) {
		set = mesh_set_lookup(set_id);
		MESH_NOTE(SET, set ? set->count : 0, set ? set->algorithm : 0,
			  set ? set->table_size : 0);
		if (!set || !set->count)
			return MESH_REASON_NO_BACKEND;
		if (backend)
			break;
		backend_id = mesh_set_pick(set_id, set, hash);
		if (!backend_id)
			continue;
		backend = mesh_backend_lookup(backend_id);
		/* A number that the row of another Service has taken over: of an old set. */
		if (backend && backend->service_id != service_id)
			backend = NULL;
		if (backend)
			break;
	}
	if (!set || !backend)
		return MESH_REASON_NO_BACKEND;

	if (affinity) {
		affinity->backend_id = backend_id;
		affinity->last_seen_ns = now_ns;
	} else if (affinity_s &&
		   mesh_affinity_enter(service_id, &dial->client, backend_id, now_ns)) {
		/* Two first connections of one client at once: both go where the first goes. */
		affinity = mesh_affinity_lookup(service_id, &dial->client);
		if (affinity) {
			__u32 first_id = *(volatile __u32 *)&affinity->backend_id;
			struct mesh_backend_value *first =
				mesh_affinity_backend(first_id, service_id, set_id);

			if (first) {
				backend = first;
				backend_id = first_id;
			}
		}
	}
	MESH_NOTE(BACKEND, backend_id, 0, 0);
	out->backend_id = backend_id;
	out->ip = backend->ip;
	out->port = backend->port;
	out->counted = set->algorithm == MESH_ALGORITHM_LEAST_LOADED;
	out->maglev = set->algorithm == MESH_ALGORITHM_MAGLEV;
	return 0;
}
