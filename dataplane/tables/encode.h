// SPDX-License-Identifier: Apache-2.0
// The only place where host values become network order and back.
#pragma once

#include <arpa/inet.h>

#include <cstdint>

#include "common/ip_address.h"

namespace mesh::dataplane {

// REQUIRES: ip.is_v4().
inline uint32_t EncodeIp(const IpAddress& ip) { return htonl(ip.v4()); }
inline IpAddress DecodeIp(uint32_t ip_be) { return IpAddress::V4(ntohl(ip_be)); }
inline uint16_t EncodePort(uint16_t port) { return htons(port); }
inline uint16_t DecodePort(uint16_t port_be) { return ntohs(port_be); }
inline uint32_t EncodeMask(int prefix_length) {
  return prefix_length == 0 ? 0 : htonl(~uint32_t{0} << (32 - prefix_length));
}

}  // namespace mesh::dataplane
