// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Hooks: connect, sendmsg, recvmsg and getpeername of sockets, at the root of the control groups.
 * A packet of a process to an address of its own machine never leaves the kernel's stack: no
 * program of the packet path sees it. So what a process of the node dials there, NodePort or host
 * port, becomes an address that stands for them and leads to mesh_host, where mesh_node goes on;
 * and it is named as it was dialled when the process asks. Sockets of other network namespaces are
 * left alone.
 * A TCP connection to another address that is not the cluster's alone but has a frontend there
 * (externalIPs) is bound to mesh_host, which the node's routing leads there: for its life, whatever
 * becomes of the Service, and no other connection is, neither one that stands already nor an answer
 * to that address.
 * Sockets of IPv6 may dial IPv4, as ::ffff:192.0.2.1: that is the matter of the programs
 * of IPv4, which stand at those hooks too (but for sendmsg: there the kernel asks the hook of IPv4
 * itself). Verdicts: always 1 (go on). Reads mesh_service. Kernel 6.1.
 */
#include "lib/family.h"
#include "lib/service.h"

#ifdef MESH_IPV6
#define mesh_dialled mesh_dialled6
#endif

/* Of the node's network namespace. */
volatile const __u64 mesh_netns_cookie = 0;
/* The interface whose index is mesh_config.host_ifindex. */
volatile const char mesh_host_name[16] = {};

#define SOL_SOCKET	1
#define SO_BINDTODEVICE 25

struct mesh_dialled_value {
	mesh_addr ip;
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
static __always_inline int mesh_is_frontend(const mesh_addr *ip, __be16 port, __u8 proto)
{
	struct mesh_service_key key = {.vip = *ip, .port = port, .proto = proto};

	if (bpf_map_lookup_elem(&mesh_service, &key))
		return 1;
	__builtin_memset(&key.vip, 0, sizeof(key.vip));
	return bpf_map_lookup_elem(&mesh_service, &key) != NULL;
}

/* Whether the address that stands for the node's is to be dialled instead of `ip`. */
static __always_inline int mesh_dial(struct bpf_sock_addr *ctx, const mesh_addr *ip)
{
	struct mesh_dialled_value *dialled;
	__u8 proto = ctx->protocol;

	/* The node may have no address of IPv6; to dial "::" means something else. */
	if (mesh_addr_is_zero(ip) || !(mesh_is_own(ip, node_ip) || mesh_is_own(ip, gateway)) ||
	    !ctx->sk)
		return 0;
	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	if (!mesh_is_of_node(ctx) || !mesh_is_frontend(ip, ctx->user_port, proto))
		return 0;
	dialled = bpf_sk_storage_get(&mesh_dialled, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!dialled)
		return 0;
	dialled->ip = *ip;
	return 1;
}

/*
 * Leads a connection to a frontend at an address to which the node's routes go elsewhere. Who has
 * bound the socket himself knows better.
 */
static __always_inline void mesh_lead(struct bpf_sock_addr *ctx, const mesh_addr *ip)
{
	struct mesh_service_key key = {.vip = *ip, .port = ctx->user_port, .proto = IPPROTO_TCP};
	char host[sizeof(mesh_host_name)];

	if (ctx->protocol != IPPROTO_TCP || !ctx->sk || ctx->sk->bound_dev_if ||
	    mesh_in_own(ip, service) || mesh_is_own(ip, node_ip) || mesh_is_own(ip, gateway))
		return;
	if (!mesh_is_of_node(ctx) || !bpf_map_lookup_elem(&mesh_service, &key))
		return;
#pragma unroll
	for (int i = 0; i < (int)sizeof(host); i++)
		host[i] = mesh_host_name[i];
	bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, host, sizeof(host));
}

/* What the socket has dialled, when `ip` is what stands for it; NULL: it is its own name. */
static __always_inline const struct mesh_dialled_value *mesh_dialled_as(struct bpf_sock_addr *ctx,
									const mesh_addr *ip)
{
	if (!mesh_addr_stands_for_own(ip) || !ctx->sk || !mesh_is_of_node(ctx))
		return NULL;
	return bpf_sk_storage_get(&mesh_dialled, ctx->sk, NULL, 0);
}

#ifdef MESH_IPV6

/* Word by word: the context is no memory. */
static __always_inline void mesh_read_user_ip(struct bpf_sock_addr *ctx, mesh_addr *ip)
{
	ip->w[0] = ctx->user_ip6[0];
	ip->w[1] = ctx->user_ip6[1];
	ip->w[2] = ctx->user_ip6[2];
	ip->w[3] = ctx->user_ip6[3];
}

static __always_inline int mesh_dial6(struct bpf_sock_addr *ctx, int connects)
{
	mesh_addr ip;

	mesh_read_user_ip(ctx, &ip);
	if (mesh_dial(ctx, &ip)) {
		ctx->user_ip6[0] = bpf_htonl(MESH_OWN_ADDRESS6_0);
		ctx->user_ip6[1] = bpf_htonl(MESH_OWN_ADDRESS6_1);
		ctx->user_ip6[2] = bpf_htonl(MESH_OWN_ADDRESS6_2);
		ctx->user_ip6[3] = bpf_htonl(MESH_OWN_ADDRESS6_3);
	} else if (connects) {
		mesh_lead(ctx, &ip);
	}
	return 1;
}

static __always_inline int mesh_name6(struct bpf_sock_addr *ctx)
{
	const struct mesh_dialled_value *dialled;
	mesh_addr ip;

	mesh_read_user_ip(ctx, &ip);
	dialled = mesh_dialled_as(ctx, &ip);
	if (dialled) {
		ctx->user_ip6[0] = dialled->ip.w[0];
		ctx->user_ip6[1] = dialled->ip.w[1];
		ctx->user_ip6[2] = dialled->ip.w[2];
		ctx->user_ip6[3] = dialled->ip.w[3];
	}
	return 1;
}

SEC("cgroup/connect6")
int mesh_connect6(struct bpf_sock_addr *ctx)
{
	return mesh_dial6(ctx, 1);
}

SEC("cgroup/sendmsg6")
int mesh_sendmsg6(struct bpf_sock_addr *ctx)
{
	return mesh_dial6(ctx, 0);
}

SEC("cgroup/recvmsg6")
int mesh_recvmsg6(struct bpf_sock_addr *ctx)
{
	return mesh_name6(ctx);
}

SEC("cgroup/getpeername6")
int mesh_getpeer6(struct bpf_sock_addr *ctx)
{
	return mesh_name6(ctx);
}

#else

static __always_inline int mesh_dial4(struct bpf_sock_addr *ctx, int connects)
{
	mesh_addr ip = ctx->user_ip4;

	if (mesh_dial(ctx, &ip))
		ctx->user_ip4 = bpf_htonl(MESH_OWN_ADDRESS);
	else if (connects)
		mesh_lead(ctx, &ip);
	return 1;
}

static __always_inline int mesh_name4(struct bpf_sock_addr *ctx)
{
	const struct mesh_dialled_value *dialled;
	mesh_addr ip = ctx->user_ip4;

	dialled = mesh_dialled_as(ctx, &ip);
	if (dialled)
		ctx->user_ip4 = dialled->ip;
	return 1;
}

/* Of a socket of IPv6: ::ffff:0:0/96. */
static __always_inline int mesh_is_mapped(struct bpf_sock_addr *ctx)
{
	return !(ctx->user_ip6[0] | ctx->user_ip6[1]) && ctx->user_ip6[2] == bpf_htonl(0xffff);
}

SEC("cgroup/connect4")
int mesh_connect4(struct bpf_sock_addr *ctx)
{
	return mesh_dial4(ctx, 1);
}

SEC("cgroup/sendmsg4")
int mesh_sendmsg4(struct bpf_sock_addr *ctx)
{
	return mesh_dial4(ctx, 0);
}

SEC("cgroup/recvmsg4")
int mesh_recvmsg4(struct bpf_sock_addr *ctx)
{
	return mesh_name4(ctx);
}

SEC("cgroup/getpeername4")
int mesh_getpeer4(struct bpf_sock_addr *ctx)
{
	return mesh_name4(ctx);
}

SEC("cgroup/connect6")
int mesh_connect46(struct bpf_sock_addr *ctx)
{
	mesh_addr ip = ctx->user_ip6[3];

	if (!mesh_is_mapped(ctx))
		return 1;
	if (mesh_dial(ctx, &ip))
		ctx->user_ip6[3] = bpf_htonl(MESH_OWN_ADDRESS);
	else
		mesh_lead(ctx, &ip);
	return 1;
}

static __always_inline int mesh_name_mapped(struct bpf_sock_addr *ctx)
{
	const struct mesh_dialled_value *dialled;
	mesh_addr ip = ctx->user_ip6[3];

	if (!mesh_is_mapped(ctx))
		return 1;
	dialled = mesh_dialled_as(ctx, &ip);
	if (dialled)
		ctx->user_ip6[3] = dialled->ip;
	return 1;
}

SEC("cgroup/recvmsg6")
int mesh_recvmsg46(struct bpf_sock_addr *ctx)
{
	return mesh_name_mapped(ctx);
}

SEC("cgroup/getpeername6")
int mesh_getpeer46(struct bpf_sock_addr *ctx)
{
	return mesh_name_mapped(ctx);
}

#endif

char _license[] SEC("license") = "Dual BSD/GPL";
