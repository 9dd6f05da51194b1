// SPDX-License-Identifier: Apache-2.0
// The only place where host values become network order and back.
#pragma once

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "common/ip_address.h"
#include "mesh/shared/base.h"

namespace mesh::dataplane {

// REQUIRES: ip.is_v4().
inline uint32_t EncodeIp(const IpAddress& ip) { return htonl(ip.v4()); }
inline IpAddress DecodeIp(uint32_t ip_be) { return IpAddress::V4(ntohl(ip_be)); }
inline mesh_in6 EncodeIp6(const IpAddress& ip) {
  mesh_in6 out;
  std::memcpy(out.w, ip.bytes().data(), sizeof(out.w));
  return out;
}
inline IpAddress DecodeIp6(const mesh_in6& ip_be) {
  std::array<uint8_t, 16> bytes;
  std::memcpy(bytes.data(), ip_be.w, sizeof(ip_be.w));
  return IpAddress::FromBytes(bytes);
}
inline uint16_t EncodePort(uint16_t port) { return htons(port); }
inline uint16_t DecodePort(uint16_t port_be) { return ntohs(port_be); }
inline uint32_t EncodeMask(int prefix_length) {
  return prefix_length == 0 ? 0 : htonl(~uint32_t{0} << (32 - prefix_length));
}
inline mesh_in6 EncodeMask6(int prefix_length) {
  mesh_in6 out{};
  for (int word = 0; word < 4; ++word) {
    out.w[word] = EncodeMask(std::clamp(prefix_length - 32 * word, 0, 32));
  }
  return out;
}

}  // namespace mesh::dataplane
