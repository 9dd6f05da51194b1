/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 in XDP. Included by lib/direct.h. */
#pragma once

static __always_inline __u32 mesh_direct_length(const struct iphdr *ip)
{
	return bpf_ntohs(ip->tot_len);
}

static __always_inline __u32 mesh_direct_tos(const struct iphdr *ip)
{
	return ip->tos;
}

static __always_inline __u32 mesh_direct_read(const struct iphdr *ip, struct mesh_flow_key *key)
{
	if (*(const __u8 *)ip != 0x45 || ip->frag_off & bpf_htons(0x3fff) || ip->ttl <= 1)
		return 0;
	key->saddr = ip->saddr;
	key->daddr = ip->daddr;
	key->proto = ip->protocol;
	return mesh_direct_length(ip);
}

static __always_inline void mesh_direct_route(struct iphdr *ip)
{
	__u32 sum;

	/* The upper half of its word: RFC 1141. */
	ip->ttl--;
	sum = (__u16)ip->check + (__u32)bpf_htons(0x0100);
	ip->check = (__sum16)(sum + (sum >= 0xffff));
}

static __always_inline void mesh_direct_write(struct iphdr *ip, const struct mesh_flow_value *flow)
{
	ip->saddr = flow->saddr;
	ip->daddr = flow->daddr;
	ip->check = mesh_csum_apply(ip->check, flow->address_diff);
}

static __always_inline void mesh_direct_mark(struct iphdr *ip, int marked)
{
	if (!!(ip->frag_off & bpf_htons(MESH_IP_MARK)) != marked)
		mesh_ip_turn_mark(ip);
}
