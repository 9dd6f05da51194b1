/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#pragma once

#include "mesh/shared/base.h"

/* Read-only data of every program, fixed when it is loaded. Addresses in network order. */
struct mesh_config {
	__be32 node_ip;
	__be32 gateway;
	__be32 pod_base, pod_mask;
	__be32 cluster_base, cluster_mask;
	__be32 service_base, service_mask;
	__u32 host_ifindex;  /* mesh_host */
	__u32 net_ifindex;   /* mesh_net */
	__u32 vxlan_ifindex; /* mesh_vxlan */
	__u8 host_mac[6];
	__u8 net_mac[6];
	__u32 uplink_ifindex; /* 0: none */
	__u32 pod_mtu;	      /* longest IP packet between pods of two nodes */
	__u32 kernel_context; /* bpf_cast_to_kern_ctx is there; set where programs are loaded */
	__u8 uplink_mac[6];
	__u8 routing;	  /* MESH_ROUTING_* */
	__u8 ipv6;	  /* programs of IPv6 stand behind those of IPv4 at every hook */
	__u32 tunnel_mtu; /* longest IP packet through the tunnel */
};
MESH_SHARED_ASSERT(sizeof(struct mesh_config) == 80, "ABI");

#define MESH_ROUTING_VXLAN  0
#define MESH_ROUTING_NATIVE 1 /* all nodes on one link: packets between pods go as they are */

/* Beside it, in the programs of IPv6. All "::" in a cluster without it: nothing is forwarded. */
struct mesh_config6 {
	struct mesh_in6 node_ip; /* "::": the node has none; nothing leaves the cluster */
	struct mesh_in6 gateway;
	struct mesh_in6 pod_base, pod_mask;
	struct mesh_in6 cluster_base, cluster_mask;
	struct mesh_in6 service_base, service_mask;
};
MESH_SHARED_ASSERT(sizeof(struct mesh_config6) == 128, "ABI");
