// SPDX-License-Identifier: Apache-2.0
// bpf/lib/packet.h as the programs have it, on any bytes: reads nothing behind the packet, and what
// it accepts is what its header says.
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
      .protocol = bpf_htons(ETH_P_IP),
      .data = (uint32_t)(uintptr_t)packet_data,
      .data_end = (uint32_t)(uintptr_t)(packet_data + size),
  };
  struct mesh_packet packet;
  memset(&packet, 0xff, sizeof(packet));
  const int reason = mesh_parse(&skb, &packet);
  if (reason < 0 || reason >= MESH_REASON_COUNT) abort();
  if (reason != 0) return 0;
  if (size < (size_t)MESH_L4_OFFSET || packet_data[MESH_L3_OFFSET] != 0x45) abort();
  if (packet.key.pad0[0] != 0 || packet.key.pad0[1] != 0 || packet.key.pad0[2] != 0) abort();
  if (!packet.icmp_error) {
    const struct iphdr* ip = (const void*)(packet_data + MESH_L3_OFFSET);
    if (memcmp(&packet.key.saddr, &ip->saddr, 4) != 0 ||
        memcmp(&packet.key.daddr, &ip->daddr, 4) != 0 || packet.key.proto != ip->protocol) {
      abort();
    }
  }
  return 0;
}
