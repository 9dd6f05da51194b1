/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * In the place of libbpf's header: what bpf/lib needs to be compiled for the host, so that the very
 * lines that read packets in the kernel run under the sanitizers.
 */
#pragma once

#include <linux/types.h>

#define SEC(name)
#undef __always_inline
#define __weak __attribute__((weak))
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val)* name
#define __array(name, val) typeof(val)* name[]
#define __hidden

/* A packet here is linear: there is nothing to pull. */
static inline long bpf_skb_pull_data(struct __sk_buff* skb, __u32 length) {
  return length > skb->len ? -22 : 0;
}
