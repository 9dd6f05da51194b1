/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The headers of the tunnel, as the programs write them (lib/direct.h, lib/encap.h). */
#pragma once

#include "lib/checksum.h"
#include "lib/family.h"
#include "lib/flow.h"

struct mesh_vxlan {
	__be32 flags; /* MESH_VXLAN_HAS_VNI */
	__be32 vni;   /* in the upper 24 bits */
};
#define MESH_VXLAN_HAS_VNI 0x08000000

/* Ethernet, IPv4, UDP, VXLAN. */
#define MESH_OUTER_SIZE                                                                            \
	(ETH_HLEN + sizeof(struct iphdr) + sizeof(struct udphdr) + sizeof(struct mesh_vxlan))
_Static_assert(MESH_OUTER_SIZE == 50, "the tunnel's overhead");

#define MESH_OUTER_TTL	64
#define MESH_OUTER_ECN	3 /* of the type of service */
#define MESH_OUTER_PORT 49152

/*
 * Learns who takes packets to the other node, when that is somebody at the uplink and the way takes
 * whole packets. Returns 0 when not; then the kernel's own tunnel has to find out.
 */
static __always_inline int mesh_next_hop_learn(void *ctx, struct mesh_flow_value *flow,
					       struct bpf_fib_lookup *fib)
{
	__builtin_memset(fib, 0, sizeof(*fib));
#ifdef MESH_IPV6
	/* As it is: it goes to the node's address of its own family (mesh_native_send()). */
	if (MESH_IS_NATIVE && flow->target == MESH_TARGET_NODE) {
		fib->family = MESH_AF;
		mesh_copy_own((mesh_addr *)fib->ipv6_src, node_ip);
		__builtin_memcpy(fib->ipv6_dst, &flow->next_hop, sizeof(fib->ipv6_dst));
	} else
#endif
	{
		fib->family = 2; /* AF_INET */
		fib->ipv4_src = mesh_config.node_ip;
		fib->ipv4_dst = flow->out_peer;
	}
	fib->tot_len = mesh_config.tunnel_mtu + MESH_OUTER_SIZE;
	fib->ifindex = mesh_config.net_ifindex; /* see mesh_resolve_outside() */
	if (bpf_fib_lookup(ctx, fib, sizeof(*fib), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    fib->ifindex != mesh_config.uplink_ifindex) {
		__builtin_memset(flow->next_hop_mac, 0, ETH_ALEN);
		return 0;
	}
	__builtin_memcpy(flow->next_hop_mac, fib->dmac, ETH_ALEN);
	return 1;
}

/* Also of an uplink whose frames have no addresses. */
static __always_inline int mesh_next_hop_unknown(const struct mesh_flow_value *flow)
{
	const __u8 *mac = flow->next_hop_mac;

	return !(mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]);
}

/* The same for all packets of a flow: they take one way through the network between nodes. */
static __always_inline __u32 mesh_flow_spread(const struct mesh_flow_value *flow)
{
	__u32 ports = (__u32)flow->sport << 16 | flow->dport;

	return (mesh_addr_fold(&flow->saddr) ^ mesh_addr_fold(&flow->daddr) ^ ports) *
		       0x9e3779b1u >>
	       18;
}

/* Destination and source of a frame to the flow's node. */
static __always_inline void mesh_outer_macs(void *outer, const struct mesh_flow_value *flow)
{
	__builtin_memcpy(outer, flow->next_hop_mac, ETH_ALEN);
	*(__u32 *)(outer + ETH_ALEN) = *(const volatile __u32 *)&mesh_config.uplink_mac[0];
	*(__u16 *)(outer + ETH_ALEN + 4) = *(const volatile __u16 *)&mesh_config.uplink_mac[4];
}

/*
 * Writes the headers in front of an inner frame of `inner_length` bytes (with its own Ethernet
 * header). `outer` has MESH_OUTER_SIZE bytes.
 *
 * Routers may cut the packet, as with the kernel's tunnel, so those of one flow need different
 * ids: one step for each 1024 bytes also leaves room for the segments of a packet that is cut up
 * later. Congestion is told and asked for outside as inside (RFC 6040, normal mode); the class of
 * service of a pod's packet is not the network's between the nodes.
 */
static __always_inline void mesh_outer_write(void *outer, const struct mesh_flow_value *flow,
					     __u32 inner_length, __u32 inner_tos)
{
	struct iphdr *ip = outer + ETH_HLEN;
	struct udphdr *udp = (void *)(ip + 1);
	struct mesh_vxlan *vxlan = (void *)(udp + 1);
	__u32 length = inner_length + MESH_OUTER_SIZE - ETH_HLEN;
	__u32 spread = mesh_flow_spread(flow);
	__be16 first = bpf_htons(0x4500 | (inner_tos & MESH_OUTER_ECN));
	__be16 id = bpf_htons((__u16)(spread + (flow->bytes >> 10)));
	__u64 sum;

	mesh_outer_macs(outer, flow);
	*(__be16 *)(outer + 2 * ETH_ALEN) = bpf_htons(ETH_P_IP);
	*(__be16 *)ip = first;
	ip->tot_len = bpf_htons(length);
	ip->id = id;
	ip->frag_off = 0;
	*(__be16 *)&ip->ttl = bpf_htons(MESH_OUTER_TTL << 8 | IPPROTO_UDP);
	ip->saddr = mesh_config.node_ip;
	ip->daddr = flow->out_peer;
	sum = first;
	sum += bpf_htons(length);
	sum += id;
	sum += bpf_htons(MESH_OUTER_TTL << 8 | IPPROTO_UDP);
	sum += mesh_config.node_ip;
	sum += flow->out_peer;
	ip->check = mesh_csum_apply((__sum16)0xffff, mesh_csum_fold32(sum));
	udp->source = bpf_htons(MESH_OUTER_PORT | spread);
	udp->dest = bpf_htons(MESH_VXLAN_PORT);
	udp->len = bpf_htons(length - sizeof(*ip));
	udp->check = 0;
	vxlan->flags = bpf_htonl(MESH_VXLAN_HAS_VNI);
	vxlan->vni = bpf_htonl(flow->vni << 8);
}
