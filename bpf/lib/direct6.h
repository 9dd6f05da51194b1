/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * IPv6 in XDP. Included by lib/direct.h. What is not TCP or UDP right behind the fixed header
 * (extension headers and fragments, neighbour discovery and all other ICMP) has no flow here.
 */
#pragma once

static __always_inline __u32 mesh_direct_length(const struct mesh_ip6 *ip)
{
	return MESH_IP_HEADER_SIZE + bpf_ntohs(ip->length);
}

static __always_inline __u32 mesh_direct_tos(const struct mesh_ip6 *ip)
{
	return bpf_ntohl(ip->version_flow) >> 20 & 0xff;
}

static __always_inline __u32 mesh_direct_read(const struct mesh_ip6 *ip, struct mesh_flow_key *key)
{
	if ((*(const __u8 *)ip & 0xf0) != 0x60 || ip->hop_limit <= 1)
		return 0;
	key->saddr = ip->saddr;
	key->daddr = ip->daddr;
	key->proto = ip->next;
	return mesh_direct_length(ip);
}

static __always_inline void mesh_direct_route(struct mesh_ip6 *ip)
{
	ip->hop_limit--;
}

static __always_inline void mesh_direct_write(struct mesh_ip6 *ip,
					      const struct mesh_flow_value *flow)
{
	ip->saddr = flow->saddr;
	ip->daddr = flow->daddr;
}

static __always_inline void mesh_direct_mark(struct mesh_ip6 *ip, int marked)
{
	ip->version_flow = (ip->version_flow & ~bpf_htonl(MESH_IP6_MARK)) |
			   (marked ? bpf_htonl(MESH_IP6_MARK) : 0);
}
