/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The slow path's last step: the two entries of a flow that is decided go into the table. */
#pragma once

#include "lib/family.h"
#include "lib/flow.h"
#include "lib/load.h"
#include "lib/owner.h"
#include "lib/scratch.h"
#include "lib/traffic.h"
#include "mesh/shared/source_port.h"

/*
 * Tries to find a source port that the server does not know yet. One is missed in 1e-4 of flows
 * while a quarter of the sender's ports are free, in 4% while a tenth are. The last ones take one
 * whose flow has had its answer, too.
 */
#define MESH_PORT_TRIES	     32
#define MESH_PORT_TRIES_FREE 24
#define MESH_PORT_FIRST	     32768
#define MESH_PORT_COUNT	     28232

/*
 * A source port for a flow that comes with `key`, of the range that its address has: where senders
 * share an address of the node, one of those that this one may have (mesh/shared/source_port.h).
 */
static __noinline void mesh_flow_draw_port(const struct mesh_flow_key *key,
					   struct mesh_flow_value *flow)
{
	__u32 first = MESH_PORT_FIRST, count = MESH_PORT_COUNT, shift = 0, holder = 0;
	int outside = flow->flags & MESH_FLOW_OUTSIDE;

	if (flow->flags & MESH_FLOW_MASQUERADED) {
		first = MESH_MASQUERADE_PORT_FIRST;
		count = MESH_MASQUERADE_PORT_COUNT;
		shift = outside ? MESH_PORT_SHIFT_OUTSIDE : MESH_PORT_SHIFT_INSIDE;
		if (key->proto == MESH_IPPROTO_ICMP) { /* an id: any but 0 */
			first = 1;
			count = 65535;
		}
		if (outside && flow->target == MESH_TARGET_UPLINK) { /* as pods do */
			shift = MESH_PORT_SHIFT_INSIDE;
			holder = MESH_PORT_HOLDER_OUTSIDE;
		} else {
			holder = mesh_hash_of_holder(&key->saddr, outside);
		}
	}
	flow->sport =
		bpf_htons(mesh_source_port(holder, first, count, shift, bpf_get_prandom_u32()));
}

#define MESH_PORT_TAKEN -1

/* How a flow is to be entered: what mesh_flow_review() says. */
#define MESH_FLOW_ANEW	   -1
#define MESH_FLOW_IN_PLACE -2

/* Whether `other`, which comes with `other_key`, gives its port to the flow that comes with `key`.
 */
static __always_inline int mesh_flow_gives_port(const struct mesh_flow_value *other,
						const struct mesh_flow_key *other_key,
						const struct mesh_flow_key *key, __u64 now_ns)
{
	const struct mesh_flow_value *asks;

	if (key->proto != IPPROTO_UDP || other_key->proto != IPPROTO_UDP ||
	    !(other->flags & MESH_FLOW_REPLY) || !mesh_addr_equal(&other_key->saddr, &key->saddr))
		return 0;
	asks = bpf_map_lookup_elem(&mesh_flow, other_key);
	return asks && mesh_flow_has_answered(asks, other, now_ns);
}

/*
 * Enters the answers' entry (`answer` of mesh_scratch) to the flow that comes with `key` (`flow`
 * there). Its key may belong to another flow: the same client port to the Service and straight to
 * the pod look alike to the pod. A flow that is closing or over gives way, and in the last of the
 * tries one of the same sender that has had its answer; beside a living one the new flow gets
 * another source port, with which to try again (MESH_PORT_TAKEN).
 */
__noinline int mesh_flow_enter_answer(const struct mesh_flow_key *key, int tried)
{
	struct mesh_scratch_value *scratch = mesh_scratch_get();
	struct mesh_flow_value *flow, *other;
	int error; /* before 6.4 only 32 bits of it are defined */

	if (!key || !scratch)
		return MESH_REASON_KERNEL;
	MESH_ROOM(struct mesh_flow_key, answer_key, scratch);
	MESH_ROOM(struct mesh_flow_key, other_key, scratch);
	flow = &scratch->flow;
	mesh_flow_partner_key(flow, key->proto, answer_key);
	if (mesh_moving_has(answer_key) &&
	    (key->proto != MESH_IPPROTO_ICMP || flow->flags & MESH_FLOW_MASQUERADED))
		goto taken;
	mesh_flow_set_diffs(answer_key, &scratch->answer);
	mesh_flow_take(answer_key);
	error = bpf_map_update_elem(&mesh_flow, answer_key, &scratch->answer, BPF_NOEXIST);
	if (!error)
		return 0;
	if (error != -17 /* EEXIST */)
		return MESH_REASON_FLOWS_FULL;
	other = bpf_map_lookup_elem(&mesh_flow, answer_key);
	if (!other)
		return MESH_PORT_TAKEN;
	mesh_flow_partner_key(other, key->proto, other_key);
	if (mesh_flow_key_equal(key, other_key) ||
	    (key->proto == MESH_IPPROTO_ICMP && !(flow->flags & MESH_FLOW_MASQUERADED)) ||
	    mesh_flow_finished(other, key->proto, flow->last_seen_ns) ||
	    (tried >= MESH_PORT_TRIES_FREE &&
	     mesh_flow_gives_port(other, other_key, key, flow->last_seen_ns))) {
		mesh_owner_sub(&other->owner);
		if (!mesh_flow_key_equal(key, other_key))
			bpf_map_delete_elem(&mesh_flow, other_key);
		if (bpf_map_update_elem(&mesh_flow, answer_key, &scratch->answer, BPF_ANY))
			return MESH_REASON_FLOWS_FULL;
		return 0;
	}
taken:
	mesh_flow_draw_port(key, flow);
	return MESH_PORT_TAKEN;
}

/* Whether both leave with the same addresses and ports: so their answers come with one key. */
static __always_inline int mesh_flow_leaves_alike(const struct mesh_flow_value *a,
						  const struct mesh_flow_value *b)
{
	return mesh_addr_equal(&a->saddr, &b->saddr) & mesh_addr_equal(&a->daddr, &b->daddr) &
	       !((a->sport ^ b->sport) | (a->dport ^ b->dport));
}

/* Another CPU was first with the same flow, or the table is full. Returns 0 or a reason. */
static __always_inline int mesh_flow_came_second(const struct mesh_flow_key *key,
						 const struct mesh_flow_value *flow)
{
	struct mesh_flow_value *winner = bpf_map_lookup_elem(&mesh_flow, key);
	struct mesh_flow_key answer_key;

	if (!(flow->flags & MESH_FLOW_ONE_WAY) &&
	    (!winner || !mesh_flow_leaves_alike(winner, flow))) {
		mesh_flow_partner_key(flow, key->proto, &answer_key);
		bpf_map_delete_elem(&mesh_flow, &answer_key);
	}
	return winner ? 0 : MESH_REASON_FLOWS_FULL;
}

/*
 * Enters the answers to the flow that comes with `key`, in place of those to `old` when there is
 * one. Returns 0 or a reason.
 */
static __always_inline int mesh_flow_enter_answers(const struct mesh_flow_key *key,
						   const struct mesh_flow_value *old,
						   struct mesh_scratch_value *scratch)
{
	struct mesh_flow_value *old_answer;
	int i, reason = MESH_PORT_TAKEN;

	if (old) {
		MESH_ROOM(struct mesh_flow_key, answer_key, scratch);
		mesh_flow_partner_key(old, key->proto, answer_key);
		if (mesh_flow_leaves_alike(old, &scratch->flow)) {
			old_answer = bpf_map_lookup_elem(&mesh_flow, answer_key);
			if (old_answer) {
				mesh_flow_set_diffs(answer_key, &scratch->answer);
				if (mesh_flow_write(answer_key, old_answer, &scratch->answer))
					return 0;
			}
		} else {
			bpf_map_delete_elem(&mesh_flow, answer_key);
		}
	}
	for (i = 0; i < MESH_PORT_TRIES && reason == MESH_PORT_TAKEN; i++)
		reason = mesh_flow_enter_answer(key, i);
	return reason == MESH_PORT_TAKEN ? MESH_REASON_NO_PORT : reason;
}

/* Ends the flow that comes with `of`, in whose place none could be begun. Returns 0. */
__noinline int mesh_flow_forget(const struct mesh_flow_key *of)
{
	struct mesh_flow_value *flow;

	if (!of)
		return 0;
	MESH_SCRATCH(scratch, 0);
	MESH_KEY_OF(key, of, scratch);
	flow = bpf_map_lookup_elem(&mesh_flow, key);
	if (flow)
		mesh_flow_delete(key, flow);
	return 0;
}

/*
 * Enters the flow that comes with `of` (`flow` and `answer` of mesh_scratch). `how`: anew, or over
 * the entries of the one that stands there and has closed, which spares the table to take two out
 * and to allocate two. Returns 0 or a reason.
 */
__noinline int mesh_flow_enter(const struct mesh_flow_key *of, int how)
{
	struct mesh_scratch_value *scratch = mesh_scratch_get();
	struct mesh_flow_value *flow, *old = NULL;
	struct mesh_owner_value *own, *all;
	int one_way, reason;

	if (!of || !scratch)
		return MESH_REASON_KERNEL;
	MESH_KEY_OF(key, of, scratch);
	flow = &scratch->flow;
	one_way = flow->flags & MESH_FLOW_ONE_WAY;
	if (how == MESH_FLOW_IN_PLACE)
		old = bpf_map_lookup_elem(&mesh_flow, key);
	if (old && (one_way || !mesh_addr_equal(&old->owner, &flow->owner))) {
		mesh_flow_delete(key, old);
		old = NULL;
	}
	own = mesh_owner_lookup(&flow->owner);
	all = mesh_owner_of_all();
	reason = mesh_owner_check(own, all, old != NULL);
	if (!reason && !one_way)
		reason = mesh_flow_enter_answers(key, old, scratch);
	if (reason) {
		if (old)
			mesh_flow_forget(of);
		return reason;
	}
	mesh_flow_set_diffs(key, flow);
	if (!old || !mesh_flow_write(key, old, flow)) {
		/* Who is carried over in between has closed: mesh_moving_ended(). */
		if (bpf_map_update_elem(
			    &mesh_flow, key, flow,
			    mesh_taking_over && key->proto == IPPROTO_TCP ? BPF_ANY : BPF_NOEXIST))
			return mesh_flow_came_second(key, flow);
		mesh_owner_add(&flow->owner, own, all);
	}
	if (flow->flags & MESH_FLOW_COUNTED)
		mesh_load_begin(flow->backend_id);
	if (flow->service_id)
		mesh_traffic_begun(flow->service_id);
	return 0;
}
