// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Stands before a program that BPF_PROG_TEST_RUN repeats: the kernel leaves each repetition the
 * packet of the one before, translated and perhaps encapsulated. This puts bytes, length and the
 * marks of an skb back and tail-calls the program. With nothing to call it does the same work and
 * ends: its own cost, to be subtracted. Several packets are taken in turn.
 *
 * The frames must have MESH_FRONT_BYTES at least; what is behind them no program writes.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#define MESH_FRONT_BYTES 96
#define MESH_FRONT_PACKETS 4096

struct mesh_front_packet {
  __u32 length;
  __u8 bytes[MESH_FRONT_BYTES];
};

/* How a packet arrives. */
struct mesh_front_state {
  __u32 next, count;
  __u32 pkt_type;  /* PACKET_*: what the driver has noted */
  __u32 tunnel_id; /* with tunnel_peer: it came out of a tunnel */
  __u32 tunnel_peer, tunnel_self;
};

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, MESH_FRONT_PACKETS);
  __type(key, __u32);
  __type(value, struct mesh_front_packet);
} front_packets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct mesh_front_state);
} front_state SEC(".maps");

/* One each: the kernel binds such an array to one type of program. */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} front_tc_next SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} front_xdp_next SEC(".maps");

static __always_inline struct mesh_front_packet* mesh_front_take(struct mesh_front_state* state) {
  __u32 index = state->next;

  state->next = index + 1 >= state->count ? 0 : index + 1;
  return bpf_map_lookup_elem(&front_packets, &index);
}

SEC("tc")
int mesh_front_tc(struct __sk_buff* skb) {
  struct mesh_front_packet* packet;
  struct mesh_front_state* state;
  void *data, *data_end;
  __u32 zero = 0;

  state = bpf_map_lookup_elem(&front_state, &zero);
  if (!state) return TC_ACT_SHOT;
  packet = mesh_front_take(state);
  if (!packet) return TC_ACT_SHOT;
  if (skb->len != packet->length && bpf_skb_change_tail(skb, packet->length, 0)) return TC_ACT_SHOT;
  if (skb->pkt_type != state->pkt_type) bpf_skb_change_type(skb, state->pkt_type);
  skb->mark = 0;
  skb->cb[0] = 0;
  skb->cb[1] = 0;
  if (state->tunnel_peer) {
    struct bpf_tunnel_key key = {};

    key.tunnel_id = state->tunnel_id;
    /* What is set as local is read back as remote: the reader stands at the other end. */
    key.local_ipv4 = state->tunnel_peer;
    key.remote_ipv4 = state->tunnel_self;
    if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 0)) return TC_ACT_SHOT;
  }
  data = (void*)(long)skb->data;
  data_end = (void*)(long)skb->data_end;
  if (data + MESH_FRONT_BYTES > data_end) return TC_ACT_SHOT;
  __builtin_memcpy(data, packet->bytes, MESH_FRONT_BYTES);
  bpf_tail_call(skb, &front_tc_next, 0);
  return TC_ACT_OK;
}

SEC("xdp")
int mesh_front_xdp(struct xdp_md* ctx) {
  struct mesh_front_packet* packet;
  struct mesh_front_state* state;
  void *data, *data_end;
  __u32 zero = 0;
  int grown;

  state = bpf_map_lookup_elem(&front_state, &zero);
  if (!state) return XDP_ABORTED;
  packet = mesh_front_take(state);
  if (!packet) return XDP_ABORTED;
  grown = (int)(ctx->data_end - ctx->data) - (int)packet->length;
  if (grown && bpf_xdp_adjust_head(ctx, grown)) return XDP_ABORTED;
  data = (void*)(long)ctx->data;
  data_end = (void*)(long)ctx->data_end;
  if (data + MESH_FRONT_BYTES > data_end) return XDP_ABORTED;
  __builtin_memcpy(data, packet->bytes, MESH_FRONT_BYTES);
  bpf_tail_call(ctx, &front_xdp_next, 0);
  return XDP_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
