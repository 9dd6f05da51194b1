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
	__u32 pod_mtu;	      /* longest IP packet through the tunnel */
	__u32 kernel_context; /* bpf_cast_to_kern_ctx is there; set where programs are loaded */
	__u8 uplink_mac[6];
	__u8 pad0[2];
};
MESH_SHARED_ASSERT(sizeof(struct mesh_config) == 76, "ABI");
