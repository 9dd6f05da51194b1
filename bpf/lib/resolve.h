/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who sends, and which way leads to an address. */
#pragma once

#include "lib/family.h"
#include "lib/endpoint.h"
#include "lib/identity.h"
#include "lib/outside.h"
#include "lib/packet.h"
#include "lib/scratch.h"
#include "lib/tunnel.h"

/* Who sends. */
struct mesh_source {
	__u32 ifindex;
	__be32 peer; /* MESH_ORIGIN_OVERLAY */
	__u32 identity;
	/* Of MESH_ORIGIN_UPLINK: from another node, as it is; no peer is known. */
	__u8 native;
	/* MESH_ORIGIN_OVERLAY: told by the VNI, or by the mark. */
	__u8 through_service;
	/* MESH_ORIGIN_OVERLAY: the backend that the other node has chosen for a client outside,
	 * whom this node answers itself (direct return); else 0. Of its address the last 4 bytes.
	 */
	__be16 backend_port;
	__be32 backend_ip;
	__u32 service_identity; /* of that Service's namespace: told by the inner source MAC */
};

/* Whose the address is that packets go to, where it is a pod's; else 0. */
struct mesh_receiver {
	__u32 identity;
	__u32 ns; /* of its namespace */
};

/* Known when the program is compiled, but for native routing at the uplink. */
static __always_inline enum mesh_origin mesh_origin(const struct mesh_source *source)
{
	return MESH_ORIGIN == MESH_ORIGIN_UPLINK && MESH_IS_NATIVE && source->native
		       ? MESH_ORIGIN_OVERLAY
		       : MESH_ORIGIN;
}

/* mesh_source.backend_ip, which packets have that come through the tunnel. */
static __always_inline __be32 mesh_source_backend(const struct mesh_source *source)
{
	return MESH_ORIGIN == MESH_ORIGIN_OVERLAY ? source->backend_ip : 0;
}

/* A client outside the cluster, with its own address. */
static __always_inline int mesh_source_is_outside(const struct mesh_source *source)
{
	return mesh_origin(source) == MESH_ORIGIN_UPLINK || mesh_source_backend(source);
}

#include "lib/native.h"

static __always_inline int mesh_in_cluster(const mesh_addr *address)
{
	return mesh_in_own(address, cluster) || mesh_in_own(address, service);
}

/*
 * Checks that the source address belongs to the sender, and learns its identity and, of a pod of
 * this node, its row (`sender` of mesh_scratch). TO_STACK: not for these programs.
 */
__noinline int mesh_source_check(struct mesh_source *source, const struct mesh_packet *packet)
{
	struct mesh_scratch_value *scratch = mesh_scratch_get();
	struct mesh_endpoint_value *endpoint;

	if (!source || !packet || !scratch)
		return MESH_REASON_KERNEL;
	MESH_ADDR_OF(address, &packet->source);

	switch (mesh_origin(source)) {
	case MESH_ORIGIN_POD:
		endpoint = mesh_endpoint_lookup(address);
		if (!endpoint || endpoint->ifindex != source->ifindex)
			return MESH_REASON_SOURCE_ADDRESS;
		source->identity = endpoint->identity;
		scratch->sender = *endpoint;
		return 0;
	case MESH_ORIGIN_NODE:
		source->identity = mesh_is_own(address, gateway) || mesh_is_own(address, node_ip)
					   ? MESH_IDENTITY_HOST
					   : MESH_IDENTITY_WORLD;
		return 0;
	case MESH_ORIGIN_UPLINK:
		source->identity = MESH_IDENTITY_WORLD;
		return mesh_in_cluster(address) ? MESH_REASON_TO_STACK : 0;
	default:
		if (mesh_source_backend(source))
			return mesh_is_peer(source->peer) && !mesh_in_cluster(address)
				       ? 0
				       : MESH_REASON_UNKNOWN_PEER;
		/* An error may be of a router behind the peer, which translates it for the side
		 * that the flow knows. */
		if (packet->icmp_error)
			address = &packet->key.saddr;
		if (MESH_IS_NATIVE && source->native) {
			if (!mesh_tunnel_lookup(address))
				return MESH_REASON_UNKNOWN_PEER;
			source->identity = mesh_identity_lookup(address);
			return source->identity ? 0 : MESH_REASON_UNKNOWN_IDENTITY;
		}
		if (!source->peer || mesh_tunnel_lookup(address) != source->peer)
			return MESH_REASON_UNKNOWN_PEER;
		return 0;
	}
}

/*
 * A pod whose bandwidth is limited (MESH_ENDPOINT_* of its row) is delivered to through the queue
 * of its veth. To be decided last: before, the target says that it is a pod of this node.
 */
static __always_inline void mesh_target_shaped(struct mesh_flow_value *flow, __u32 endpoint_flags)
{
	if (flow->target == MESH_TARGET_POD && endpoint_flags & MESH_ENDPOINT_SHAPED)
		flow->target = MESH_TARGET_POD_SHAPED;
}

static __always_inline void mesh_target_host(struct mesh_flow_value *flow)
{
	flow->target = MESH_TARGET_HOST;
	flow->out_ifindex = mesh_config.host_ifindex;
#pragma unroll
	for (int i = 0; i < 6; i++) {
		flow->destination_mac[i] = mesh_config.host_mac[i];
		flow->source_mac[i] = mesh_config.net_mac[i];
	}
}

/*
 * Writes where packets to `flow->daddr` go; `whose` they are, and `receiver`: the row of
 * that pod of this node, or NULL.
 * Returns 0 or a reason; TO_STACK: to none of the cluster's addresses, mesh_resolve_outside() knows
 * more.
 */
static __always_inline int mesh_resolve(const struct mesh_source *source,
					struct mesh_flow_value *flow, struct mesh_receiver *whose,
					const struct mesh_endpoint_value **receiver)
{
	struct mesh_endpoint_value *endpoint = mesh_endpoint_lookup(&flow->daddr);
	MESH_ADDR_OF(daddr, &flow->daddr);

	*receiver = endpoint;
	whose->identity = whose->ns = 0;
	if (endpoint) {
		flow->target = MESH_TARGET_POD;
		flow->out_ifindex = endpoint->ifindex;
		__builtin_memcpy(flow->destination_mac, endpoint->pod_mac, 6);
		__builtin_memcpy(flow->source_mac, endpoint->host_mac, 6);
		whose->identity = endpoint->identity;
		whose->ns = endpoint->ns ? endpoint->ns : endpoint->identity;
		return 0;
	}
	if (mesh_is_own(daddr, gateway) || mesh_is_own(daddr, node_ip)) {
		/* What a node sends to itself comes here through a Service only. */
		if (mesh_source_backend(source) ||
		    (mesh_origin(source) == MESH_ORIGIN_NODE && !(flow->flags & MESH_FLOW_SERVICE)))
			return MESH_REASON_NO_ENDPOINT;
		mesh_target_host(flow);
		return 0;
	}
	if (mesh_in_own(daddr, pod) || mesh_origin(source) == MESH_ORIGIN_OVERLAY)
		return MESH_REASON_NO_ENDPOINT;
	if (mesh_in_own(daddr, cluster)) {
		if (MESH_IS_NATIVE) {
			mesh_native_receiver(daddr, whose);
			return mesh_native_target(daddr, flow);
		}
		flow->target = MESH_TARGET_TUNNEL;
		flow->out_ifindex = mesh_config.vxlan_ifindex;
		flow->out_peer = mesh_tunnel_lookup(daddr);
		return flow->out_peer ? 0 : MESH_REASON_NO_TUNNEL;
	}
	if (mesh_in_own(daddr, service))
		return MESH_REASON_NO_SERVICE;
	return MESH_REASON_TO_STACK;
}

/*
 * The way to an address outside the cluster, by the node's own routes: by the uplink, or to the
 * node itself, which has more addresses than the one that is known here. TO_STACK: by another
 * interface, or by no way that these programs carry.
 */
static __always_inline int mesh_resolve_outside(void *ctx, struct mesh_flow_value *flow,
						struct bpf_fib_lookup *fib)
{
	__u32 size = sizeof(*fib);

	if (!mesh_config.uplink_ifindex || mesh_addr_is_group(&flow->daddr))
		return MESH_REASON_TO_STACK;
	__builtin_memset(fib, 0, size);
	fib->family = MESH_AF;
	__builtin_memcpy(&fib->ipv6_src, &flow->saddr, sizeof(flow->saddr));
	__builtin_memcpy(&fib->ipv6_dst, &flow->daddr, sizeof(flow->daddr));
	/* An interface that forwards, whatever the node's setting is. */
	fib->ifindex = mesh_config.net_ifindex;
	switch (bpf_fib_lookup(ctx, fib, size, 0)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		/* An address of Services: the packet would come back here from the node's stack. */
		if (fib->ifindex == mesh_config.host_ifindex)
			return MESH_REASON_NO_SERVICE;
		if (fib->ifindex != mesh_config.uplink_ifindex)
			return MESH_REASON_TO_STACK;
		flow->target = MESH_TARGET_UPLINK;
		flow->out_ifindex = mesh_config.uplink_ifindex;
		return 0;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		mesh_target_host(flow);
		return 0;
	}
	return MESH_REASON_TO_STACK;
}
