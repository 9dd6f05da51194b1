// SPDX-License-Identifier: Apache-2.0
// Packets to be traced, as bytes. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/ip_address.h"

namespace mesh::cli {

inline constexpr uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;

struct FrameSpec {
  IpAddress source, destination;  // of one family
  uint8_t protocol = kTcp;        // kIcmp: an echo request, of IPv6 too
  uint16_t source_port = 0, destination_port = 0;
  uint8_t tcp_flags = 0;
};

// An Ethernet frame with right lengths and checksums.
std::string MakeFrame(const FrameSpec& spec);

// "syn", "syn,ack", "SA" or "none" as the byte of the TCP header. INVALID_ARGUMENT names the flag
// that is none.
absl::StatusOr<uint8_t> ParseTcpFlags(std::string_view text);
// "syn,ack"; "none".
std::string TcpFlagsText(uint8_t flags);

// Why no program can take the frame: which header is cut; empty: one can. Lengths that the headers
// tell are not looked at: what they are wrong about the programs judge.
std::string WhyCut(std::string_view frame);

// What a frame is, in a line: "TCP 10.244.1.3:40000 -> 10.96.0.10:80 syn".
std::string FrameText(std::string_view frame);

// "10.244.1.3:80", "[fd00::1]:80".
std::string PlaceText(const IpAddress& ip, uint16_t port);

}  // namespace mesh::cli
