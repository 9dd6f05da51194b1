// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hooks: connect, sendmsg, recvmsg and getpeername of IPv4 sockets, at the root of the control
 * groups. A packet of a process to an address of its own machine never leaves the kernel's stack:
 * no program of the packet path sees it. So what a process of the node dials there, NodePort or
 * host port, becomes an address that stands for them and leads to mesh_host, where mesh_node goes
 * on; and it is named as it was dialled when the process asks. Sockets of other network namespaces
 * are left alone. Verdicts: always 1 (go on). Reads mesh_service. Kernel 6.1.
 */
#include "lib/family.h"
#include "lib/service.h"

/* Of the node's network namespace. */
volatile const __u64 mesh_netns_cookie = 0;

struct mesh_dialled_value {
	__be32 ip;
};

/* What a socket has dialled last. It ends with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mesh_dialled_value);
} mesh_dialled SEC(".maps");

static __always_inline int mesh_is_of_node(struct bpf_sock_addr *ctx)
{
	return bpf_get_netns_cookie(ctx) == mesh_netns_cookie;
}

/* Whether outside, too, the node is served at `ip` and `port`. */
static __always_inline int mesh_is_frontend(__be32 ip, __be16 port, __u8 proto)
{
	struct mesh_service_key key = {.vip = ip, .port = port, .proto = proto};

	if (bpf_map_lookup_elem(&mesh_service, &key))
		return 1;
	key.vip = 0;
	return bpf_map_lookup_elem(&mesh_service, &key) != NULL;
}

static __always_inline void mesh_dial(struct bpf_sock_addr *ctx)
{
	struct mesh_dialled_value *dialled;
	__be32 ip = ctx->user_ip4;
	__u8 proto = ctx->protocol;

	if ((ip != mesh_config.node_ip && ip != mesh_config.gateway) || !ctx->sk)
		return;
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return;
	if (!mesh_is_of_node(ctx) || !mesh_is_frontend(ip, ctx->user_port, proto))
		return;
	dialled = bpf_sk_storage_get(&mesh_dialled, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!dialled)
		return;
	dialled->ip = ip;
	ctx->user_ip4 = bpf_htonl(MESH_OWN_ADDRESS);
}

static __always_inline void mesh_name_as_dialled(struct bpf_sock_addr *ctx)
{
	struct mesh_dialled_value *dialled;

	if (ctx->user_ip4 != bpf_htonl(MESH_OWN_ADDRESS) || !ctx->sk || !mesh_is_of_node(ctx))
		return;
	dialled = bpf_sk_storage_get(&mesh_dialled, ctx->sk, NULL, 0);
	if (dialled)
		ctx->user_ip4 = dialled->ip;
}

SEC("cgroup/connect4")
int mesh_connect4(struct bpf_sock_addr *ctx)
{
	mesh_dial(ctx);
	return 1;
}

SEC("cgroup/sendmsg4")
int mesh_sendmsg4(struct bpf_sock_addr *ctx)
{
	mesh_dial(ctx);
	return 1;
}

SEC("cgroup/recvmsg4")
int mesh_recvmsg4(struct bpf_sock_addr *ctx)
{
	mesh_name_as_dialled(ctx);
	return 1;
}

SEC("cgroup/getpeername4")
int mesh_getpeer4(struct bpf_sock_addr *ctx)
{
	mesh_name_as_dialled(ctx);
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
