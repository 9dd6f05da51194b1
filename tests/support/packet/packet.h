// SPDX-License-Identifier: Apache-2.0
// Frames as values, for tests of the programs.
#pragma once

#include <array>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh::testing {

constexpr uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kAck = 0x10;

// An IPv4 packet in an Ethernet frame. Encode() fills lengths and checksums; Decode() checks them.
struct Packet {
  IpAddress source, destination;
  uint8_t protocol = 6;
  uint16_t source_port = 0, destination_port = 0;  // TCP, UDP
  uint8_t tcp_flags = 0;
  uint8_t icmp_type = 0, icmp_code = 0;
  uint16_t icmp_id = 0;
  std::string payload;
  bool udp_checksum = true;  // false: the field is 0
  uint16_t fragment = 0;     // flags and offset of the IP header
  uint16_t id = 0;           // of the IP header
  uint8_t ttl = 64;
  uint32_t tcp_sequence = 0, tcp_acknowledged = 0;
  std::string options;  // of the IP header, in steps of 4 bytes

  // How far a packet has come does not make it another one.
  friend bool operator==(const Packet& a, const Packet& b);
};

// "10.0.0.1:4000", for short tests.
struct Place {
  IpAddress ip;
  uint16_t port = 0;
};
Place At(const std::string& text);

Packet Tcp(const Place& from, const Place& to, uint8_t flags, std::string payload = "");
Packet Udp(const Place& from, const Place& to, std::string payload = "data");
Packet Echo(const std::string& from, const std::string& to, uint16_t id);
Packet EchoReply(const std::string& from, const std::string& to, uint16_t id);
// "Port unreachable" about `about`, of which header and 8 bytes are quoted.
Packet Unreachable(const std::string& from, const std::string& to, const Packet& about);

std::string Encode(const Packet& packet);
// The frames that carry `packet` when `size` bytes of its fourth layer go into each; a multiple
// of 8.
std::vector<std::string> EncodeFragments(const Packet& packet, size_t size);
// INVALID_ARGUMENT names the length or checksum that is wrong.
absl::StatusOr<Packet> Decode(const std::string& frame);
// What an ICMP error quotes; its own checksums are those of the receiver's packet, so only the IP
// header's is checked.
absl::StatusOr<Packet> DecodeQuoted(const Packet& error);

std::ostream& operator<<(std::ostream& out, const Packet& packet);

}  // namespace mesh::testing
