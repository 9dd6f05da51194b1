// SPDX-License-Identifier: Apache-2.0
// bpf/lib/packet.h as the programs of each family have it, on any bytes: reads nothing behind the
// packet, and what it accepts is what its header says.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/packet.h"

#define MAX_BYTES 4096

/* Addresses of packets have 32 bits in __sk_buff. The packet ends where the readable memory does.
 */
static unsigned char* Room(void) {
  static unsigned char* room;
  if (room != NULL) return room;
  room = mmap(NULL, 2 * MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
              -1, 0);
  if (room == MAP_FAILED || mprotect(room + MAX_BYTES, MAX_BYTES, PROT_NONE) != 0) abort();
  return room;
}

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > MAX_BYTES) return 0;
  unsigned char* packet_data = Room() + MAX_BYTES - size;
  if (size > 0) memcpy(packet_data, data, size);
  struct __sk_buff skb = {
      .len = (uint32_t)size,
      .protocol = bpf_htons(MESH_ETH_P),
      .data = (uint32_t)(uintptr_t)packet_data,
      .data_end = (uint32_t)(uintptr_t)(packet_data + size),
  };
  struct mesh_packet packet;
  memset(&packet, 0xff, sizeof(packet));
  const int reason = mesh_parse(&skb, &packet);
  if (reason < 0 || reason >= MESH_REASON_COUNT) abort();
  if (reason != 0) return 0;
  if (size < (size_t)MESH_L4_OFFSET) abort();
  if (packet.key.pad0[0] != 0 || packet.key.pad0[1] != 0 || packet.key.pad0[2] != 0) abort();
#ifdef MESH_IPV6
  const struct mesh_ip6* ip = (const void*)(packet_data + MESH_L3_OFFSET);
  const unsigned char next = ip->next;
  if (packet_data[MESH_L3_OFFSET] >> 4 != 6) abort();
  /* Nothing of a link goes on but what one of its routers reports. */
  if (mesh_is_of_link(&ip->daddr)) abort();
  if (mesh_is_of_link(&ip->saddr) && !(packet.icmp_error && mesh_is_link_local(&ip->saddr))) {
    abort();
  }
  if (!!packet.fragment != (next == IPPROTO_FRAGMENT)) abort();
  if (packet.fragment != 0 && packet.icmp_error) abort();
  const unsigned char proto = next == IPPROTO_FRAGMENT ? packet_data[MESH_L4_OFFSET] : next;
#else
  const struct iphdr* ip = (const void*)(packet_data + MESH_L3_OFFSET);
  const unsigned char proto = ip->protocol;
  if (packet_data[MESH_L3_OFFSET] != 0x45) abort();
#endif
  if (memcmp(&packet.source, &ip->saddr, sizeof(packet.source)) != 0) abort();
  if (!packet.icmp_error && (memcmp(&packet.key.saddr, &ip->saddr, sizeof(packet.key.saddr)) != 0 ||
                             memcmp(&packet.key.daddr, &ip->daddr, sizeof(packet.key.daddr)) != 0 ||
                             packet.key.proto != proto)) {
    abort();
  }
  return 0;
}
