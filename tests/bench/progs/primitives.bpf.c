// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Single steps of a packet's way, timed in the same run as the programs: on a slow machine, or in
 * a slow minute, these are slow too. Each does its step eight times.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

struct mesh_step_key {
  __u32 words[4];
};

struct mesh_step_value {
  __u64 words[12];
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 65536);
  __type(key, struct mesh_step_key);
  __type(value, struct mesh_step_value);
} step_hash SEC(".maps");

#define MESH_STEPS 8

SEC("tc")
int mesh_step_none(struct __sk_buff* skb) { return TC_ACT_OK; }

SEC("tc")
int mesh_step_hash(struct __sk_buff* skb) {
  struct mesh_step_key key = {.words = {1, 2, 3, 4}};
  __u64 sum = 0;

#pragma unroll
  for (int i = 0; i < MESH_STEPS; i++) {
    struct mesh_step_value* value;

    key.words[0] = i;
    value = bpf_map_lookup_elem(&step_hash, &key);
    if (!value) return TC_ACT_SHOT;
    sum += value->words[0];
  }
  return sum == MESH_STEPS ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int mesh_step_csum(struct __sk_buff* skb) {
  int offset = (int)(sizeof(struct ethhdr) + sizeof(struct iphdr) + offsetof(struct tcphdr, check));

#pragma unroll
  for (int i = 0; i < MESH_STEPS; i++) {
    if (bpf_l4_csum_replace(skb, offset, 0, 0x01020304, BPF_F_PSEUDO_HDR)) return TC_ACT_SHOT;
  }
  return TC_ACT_OK;
}

SEC("tc")
int mesh_step_clock(struct __sk_buff* skb) {
  __u64 last = 0;

#pragma unroll
  for (int i = 0; i < MESH_STEPS; i++) last |= bpf_ktime_get_coarse_ns();
  return last ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int mesh_step_redirect(struct __sk_buff* skb) {
  int verdict = 0;

#pragma unroll
  for (int i = 0; i < MESH_STEPS; i++) verdict |= bpf_redirect_peer(1, 0);
  return verdict == TC_ACT_REDIRECT ? TC_ACT_OK : TC_ACT_SHOT;
}

SEC("tc")
int mesh_step_tunnel(struct __sk_buff* skb) {
  struct bpf_tunnel_key key = {.tunnel_id = 7, .remote_ipv4 = 0x0a000001, .tunnel_ttl = 64};

#pragma unroll
  for (int i = 0; i < MESH_STEPS; i++) {
    if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), BPF_F_ZERO_CSUM_TX)) return TC_ACT_SHOT;
  }
  return TC_ACT_OK;
}

SEC("tc")
int mesh_step_atomic(struct __sk_buff* skb) {
  struct mesh_step_key key = {.words = {0, 2, 3, 4}};
  struct mesh_step_value* value = bpf_map_lookup_elem(&step_hash, &key);

  if (!value) return TC_ACT_SHOT;
#pragma unroll
  for (int i = 0; i < MESH_STEPS; i++) __sync_fetch_and_add(&value->words[1 + i % 2], skb->len);
  return TC_ACT_OK;
}

char _license[] SEC("license") = "Dual BSD/GPL";
