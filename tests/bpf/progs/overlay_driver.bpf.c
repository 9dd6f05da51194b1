// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Test driver: BPF_PROG_TEST_RUN cannot give a packet a tunnel key, so this one makes it from the
 * context (cb[0]: VNI, and the highest bit for a packet to an address beside the node's own; cb[1]:
 * the other node, host order) and goes on as the overlay program does.
 */
#include "lib/overlay.h"

/* A frame of its own, gone before the way down: 6.1 counts 32 bytes per started 32 towards 512. */
static __noinline int mesh_set_tunnel(struct __sk_buff* skb) {
  struct bpf_tunnel_key tunnel = {};

  tunnel.tunnel_id = skb->cb[0] & 0xffffff;
  tunnel.remote_ipv4 = bpf_ntohl(mesh_config.node_ip) + (skb->cb[0] >> 31);
  /* What is set as local is read back as remote: the reader stands at the other end. */
  tunnel.local_ipv4 = skb->cb[1];
  return bpf_skb_set_tunnel_key(skb, &tunnel, sizeof(tunnel), 0);
}

SEC("tc")
int mesh_overlay_drv(struct __sk_buff* skb) {
  if (mesh_set_tunnel(skb)) return TC_ACT_SHOT;
  return mesh_overlay_receive(skb);
}

char _license[] SEC("license") = "Dual BSD/GPL";
