/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers of IPv4: which, to whom, and their headers. Included by lib/refuse.h. */
#pragma once

#define MESH_ICMP_CODE_PROTOCOL	   2
#define MESH_ICMP_CODE_PORT	   3
#define MESH_ICMP_CODE_FRAG_NEEDED 4

struct mesh_answer {
	struct ethhdr eth;
	struct iphdr ip;
	union {
		struct tcphdr tcp;
		struct {
			struct mesh_icmp icmp;
			__u8 quote[MESH_QUOTE_MAX];
		} __attribute__((packed));
	};
} __attribute__((packed));
_Static_assert(sizeof(struct mesh_answer) <= MESH_ANSWER_MAX, "room in mesh_scratch");

/* Addresses that cannot be answered, or that are not one receiver's: RFC 1122, 3.2.2. */
static __always_inline int mesh_answerable(const struct iphdr *ip)
{
	__u32 saddr = bpf_ntohl(ip->saddr), daddr = bpf_ntohl(ip->daddr);

	if (ip->version != 4 || ip->ihl < 5 || ip->frag_off & bpf_htons(0x1fff))
		return 0;
	/* 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on: groups, reserved, broadcast. */
	if (saddr >> 24 == 0 || saddr >> 24 == 127 || saddr >= 0xe0000000)
		return 0;
	return daddr >> 24 != 0 && daddr >> 24 != 127 && daddr < 0xe0000000;
}

static __always_inline void mesh_answer_ip(struct mesh_answer *answer, __u8 protocol, __u32 length,
					   __be32 saddr, __be32 daddr)
{
	struct iphdr *ip = &answer->ip;

	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->tot_len = bpf_htons(length);
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->saddr = saddr;
	ip->daddr = daddr;
	ip->check = mesh_csum_finish(bpf_csum_diff(NULL, 0, (__be32 *)ip, sizeof(*ip), 0));
}
