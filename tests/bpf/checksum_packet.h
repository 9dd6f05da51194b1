// SPDX-License-Identifier: Apache-2.0
// Packets with a certain checksum, for the two that are the same to a sum and not to a receiver.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <string>

#include "tests/bpf/world.h"
#include "tests/support/packet/family.h"
#include "tests/support/packet/packet.h"

namespace mesh::dataplane::testing {

using mesh::testing::Packet;

// As it is on the wire, and the checksum of its fourth layer there.
inline std::string Wire(const Packet& packet) {
  return kIpv6 ? mesh::testing::FrameToIpv6(mesh::testing::Encode(packet))
               : mesh::testing::Encode(packet);
}
inline std::string ChecksumOf(const Packet& packet) {
  return Wire(packet).substr(14 + (kIpv6 ? 40 : 20) + (packet.protocol == IPPROTO_TCP ? 16 : 6), 2);
}
// The packet with that checksum: of all payloads of two bytes one has it.
inline Packet WithChecksum(Packet packet, const std::string& checksum) {
  for (int word = 0; word < 65536; ++word) {
    packet.payload = {static_cast<char>(word >> 8), static_cast<char>(word)};
    if (ChecksumOf(packet) == checksum) return packet;
  }
  ADD_FAILURE() << "no payload has that checksum";
  return packet;
}
inline const std::string kZeros(2, '\0'), kOnes(2, '\xff');

}  // namespace mesh::dataplane::testing
