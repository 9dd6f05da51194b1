/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Answers of IPv6: which, to whom, and their headers. Included by lib/refuse.h. RFC 4443. */
#pragma once

#define MESH_ICMP6_CODE_PORT 4
#define MESH_ICMP6_CODE_NEXT 1 /* of a parameter problem: this header is not carried */

struct mesh_answer {
	struct ethhdr eth;
	struct mesh_ip6 ip;
	union {
		struct tcphdr tcp;
		struct {
			struct mesh_icmp icmp;
			__u8 quote[MESH_QUOTE_MAX];
		} __attribute__((packed));
	};
} __attribute__((packed));
_Static_assert(sizeof(struct mesh_answer) <= MESH_ANSWER_MAX, "room in mesh_scratch");

/* Addresses that cannot be answered, or that are not one receiver's: RFC 4443, 2.4 (e). */
static __always_inline int mesh_answerable(const struct mesh_ip6 *ip)
{
	return (ip->version_flow & bpf_htonl(0xf0000000)) == bpf_htonl(0x60000000) &&
	       !mesh_is_of_link(&ip->saddr) && !mesh_is_of_link(&ip->daddr);
}

/* All but the addresses. `length`: of what follows this header. */
static __always_inline void mesh_answer_ip(struct mesh_answer *answer, __u8 protocol, __u32 length)
{
	struct mesh_ip6 *ip = &answer->ip;

	ip->version_flow = bpf_htonl(0x60000000);
	ip->length = bpf_htons(length);
	ip->next = protocol;
	ip->hop_limit = 64;
}

/* Of what stands at `l4` and, before it, of the pseudo header: RFC 8200, 8.1. */
static __always_inline __sum16 mesh_answer_sum(struct mesh_answer *answer, void *l4, __u32 length)
{
	__u64 sum = (__u32)bpf_csum_diff(NULL, 0, l4, length, 0);

	sum += (__u32)bpf_csum_diff(NULL, 0, answer->ip.saddr.w, 2 * sizeof(answer->ip.saddr), 0);
	sum += bpf_htons(length);
	sum += bpf_htons(answer->ip.next);
	return mesh_csum_finish(sum);
}
