// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The maps of ABI version 1 that are laid out otherwise since, as its programs described them. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct v1_service_key {
  __be32 vip;
  __be16 port;
  __u8 proto;
  __u8 pad0;
};

struct v1_service_value {
  __u32 service_id;
  __u32 generation;
  __u32 count;
  __u32 identity;
};

struct v1_slot_key {
  __u32 service_id;
  __u32 generation;
  __u32 index;
};

struct v1_slot_value {
  __u32 backend_id;
};

struct v1_flow_key {
  __be32 saddr, daddr;
  __be16 sport, dport;
  __u8 proto;
  __u8 pad0[3];
};

struct v1_flow_value {
  __be32 saddr, daddr;
  __be16 sport, dport;
  __u32 address_diff;
  __u32 port_diff;
  __u32 generation;
  __u32 in_ifindex;
  __be32 in_peer;
  __u32 out_ifindex;
  __be32 out_peer;
  __u32 vni;
  __u8 destination_mac[6], source_mac[6];
  __u8 target;
  __u8 flags;
  __u8 tcp_fin, tcp_rst, tcp_data;
  __u8 pad0[3];
  __u32 service_id;
  __u32 backend_id;
  __u32 identity;
  __u32 pad1;
  __u64 last_seen_ns;
  __u64 packets, bytes;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct v1_service_key);
  __type(value, struct v1_service_value);
} mesh_service SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct v1_slot_key);
  __type(value, struct v1_slot_value);
} mesh_svc_slot SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, struct v1_flow_key);
  __type(value, struct v1_flow_value);
} mesh_flow SEC(".maps");

char _license[] SEC("license") = "Dual BSD/GPL";
