// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hooks: those of the other programs, while an agent takes over a node whose connection table is
 * another one. One write to mesh_moving leads the packets of all hooks from the programs of before
 * to those that take over. Kernel 6.1.
 */
#include "lib/moving.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} mesh_moving SEC(".maps");

static __always_inline int mesh_turn(struct __sk_buff *skb, __u32 hook)
{
	__u32 *moving, zero = 0;

	moving = bpf_map_lookup_elem(&mesh_moving, &zero);
	if (moving && *moving == MESH_MOVING_AFTER)
		bpf_tail_call_static(skb, &mesh_turnout, MESH_HOOK_COUNT + hook);
	else
		bpf_tail_call_static(skb, &mesh_turnout, hook);
	/* Both places are filled before this program stands anywhere. */
	return TC_ACT_SHOT;
}

SEC("tc")
int mesh_turn_pod(struct __sk_buff *skb)
{
	return mesh_turn(skb, MESH_HOOK_FROM_POD);
}

SEC("tc")
int mesh_turn_node(struct __sk_buff *skb)
{
	return mesh_turn(skb, MESH_HOOK_NODE);
}

SEC("tc")
int mesh_turn_over(struct __sk_buff *skb)
{
	return mesh_turn(skb, MESH_HOOK_OVERLAY);
}

SEC("tc")
int mesh_turn_uplink(struct __sk_buff *skb)
{
	return mesh_turn(skb, MESH_HOOK_UPLINK);
}

char _license[] SEC("license") = "Dual BSD/GPL";
