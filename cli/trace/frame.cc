// SPDX-License-Identifier: Apache-2.0
#include "cli/trace/frame.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr size_t kEthernet = 14;
constexpr uint8_t kIcmp6 = 58;

constexpr std::array<std::pair<std::string_view, uint8_t>, 6> kFlags = {
    {{"fin", 1}, {"syn", 2}, {"rst", 4}, {"psh", 8}, {"ack", 16}, {"urg", 32}}};

void Put16(std::string& out, uint32_t value) {
  out.push_back(static_cast<char>(value >> 8));
  out.push_back(static_cast<char>(value));
}

void Set16(std::string& out, size_t at, uint32_t value) {
  out[at] = static_cast<char>(value >> 8);
  out[at + 1] = static_cast<char>(value);
}

std::string AddressBytes(const IpAddress& ip) {
  const auto& bytes = ip.bytes();
  return {bytes.begin() + (ip.is_v4() ? 12 : 0), bytes.end()};
}

// One's complement sum of `bytes`, of which the last may stand alone.
uint16_t Checksum(std::string_view bytes) {
  uint32_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const uint32_t byte = static_cast<uint8_t>(bytes[i]);
    sum += i % 2 == 0 ? byte << 8 : byte;
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

// The fourth layer and all behind it, without its checksum; `*sum_at`: where that belongs.
std::string Transport(const FrameSpec& spec, size_t* sum_at) {
  std::string out;
  if (spec.protocol == kTcp) {
    Put16(out, spec.source_port);
    Put16(out, spec.destination_port);
    out.append(std::string("\0\0\0\1\0\0\0\0", 8));
    out.push_back('\x50');
    out.push_back(static_cast<char>(spec.tcp_flags));
    Put16(out, 64240);
    Put16(out, 0);
    Put16(out, 0);
    *sum_at = 16;
  } else if (spec.protocol == kUdp) {
    const std::string_view payload = "trace";
    Put16(out, spec.source_port);
    Put16(out, spec.destination_port);
    Put16(out, static_cast<uint32_t>(8 + payload.size()));
    Put16(out, 0);
    out.append(payload);
    *sum_at = 6;
  } else {
    out.push_back(spec.source.is_v4() ? '\x08' : '\x80');
    out.push_back('\0');
    Put16(out, 0);
    Put16(out, spec.source_port);  // the id
    Put16(out, 1);
    out.append("mesh trace");
    *sum_at = 2;
  }
  return out;
}

uint16_t Read16(std::string_view bytes, size_t at) {
  if (at + 2 > bytes.size()) return 0;
  return static_cast<uint16_t>(static_cast<uint8_t>(bytes[at]) << 8 |
                               static_cast<uint8_t>(bytes[at + 1]));
}

}  // namespace

std::string MakeFrame(const FrameSpec& spec) {
  const bool ipv4 = spec.source.is_v4();
  const uint8_t protocol = spec.protocol == kIcmp && !ipv4 ? kIcmp6 : spec.protocol;
  size_t sum_at = 0;
  std::string transport = Transport(spec, &sum_at);
  const std::string addresses = AddressBytes(spec.source) + AddressBytes(spec.destination);
  std::string pseudo;
  if (protocol != kIcmp) {
    pseudo = addresses;
    Put16(pseudo, protocol);
    Put16(pseudo, static_cast<uint32_t>(transport.size()));
  }
  uint16_t sum = Checksum(pseudo + transport);
  if (sum == 0 && protocol == kUdp) sum = 0xffff;
  Set16(transport, sum_at, sum);

  std::string out(12, '\0');
  if (ipv4) {
    Put16(out, 0x0800);
    std::string ip;
    Put16(ip, 0x4500);
    Put16(ip, static_cast<uint32_t>(20 + transport.size()));
    Put16(ip, 0);
    Put16(ip, 0x4000);
    ip.push_back(64);
    ip.push_back(static_cast<char>(protocol));
    Put16(ip, 0);
    ip += addresses;
    Set16(ip, 10, Checksum(ip));
    out += ip;
  } else {
    Put16(out, 0x86dd);
    Put16(out, 0x6000);
    Put16(out, 0);
    Put16(out, static_cast<uint32_t>(transport.size()));
    out.push_back(static_cast<char>(protocol));
    out.push_back(64);
    out += addresses;
  }
  return out + transport;
}

absl::StatusOr<uint8_t> ParseTcpFlags(std::string_view text) {
  if (text == "none") return uint8_t{0};
  uint8_t out = 0;
  while (true) {
    const size_t comma = text.find(',');
    std::string word(text.substr(0, comma));
    for (char& c : word) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    bool found = false;
    for (const auto& [name, bit] : kFlags) {
      if (word != name) continue;
      out |= bit;
      found = true;
    }
    if (!found) {
      return absl::InvalidArgumentError(fmt::format(
          "--tcp-flags: \"{}\" is no flag; give some of fin,syn,rst,psh,ack,urg, or none", word));
    }
    if (comma == std::string_view::npos) return out;
    text.remove_prefix(comma + 1);
  }
}

std::string TcpFlagsText(uint8_t flags) {
  std::string out;
  for (const auto& [name, bit] : kFlags) {
    if ((flags & bit) == 0) continue;
    if (!out.empty()) out += ',';
    out += name;
  }
  return out.empty() ? "none" : out;
}

std::string PlaceText(const IpAddress& ip, uint16_t port) {
  if (port == 0) return ip.ToString();
  return fmt::format(fmt::runtime(ip.is_v4() ? "{}:{}" : "[{}]:{}"), ip.ToString(), port);
}

std::string WhyCut(std::string_view frame) {
  const auto text = [&](const char* header, size_t at, size_t bytes) {
    return fmt::format("of its {} header of {} bytes {} are there", header, bytes,
                       frame.size() - std::min(at, frame.size()));
  };
  if (frame.size() < kEthernet) return text("Ethernet", 0, kEthernet);
  const uint16_t type = Read16(frame, 12);
  if (type == 0x0800) {
    // The length that the header tells, where that is one.
    const size_t told =
        frame.size() > kEthernet ? 4u * (static_cast<uint8_t>(frame[kEthernet]) & 15u) : 0;
    const size_t bytes = std::max<size_t>(20, told);
    return frame.size() < kEthernet + bytes ? text("IPv4", kEthernet, bytes) : "";
  }
  if (type == 0x86dd) return frame.size() < kEthernet + 40 ? text("IPv6", kEthernet, 40) : "";
  return frame.size() == kEthernet ? "nothing is behind its Ethernet header" : "";
}

std::string FrameText(std::string_view frame) {
  const uint16_t type = Read16(frame, 12);
  const bool ipv4 = type == 0x0800;
  if ((!ipv4 && type != 0x86dd) || frame.size() < kEthernet + (ipv4 ? 20u : 40u)) {
    return fmt::format("frame of {} bytes, type {:#06x}", frame.size(), type);
  }
  const auto address = [&](size_t at) {
    if (ipv4) {
      return IpAddress::V4(static_cast<uint32_t>(Read16(frame, at)) << 16 | Read16(frame, at + 2));
    }
    std::array<uint8_t, 16> bytes;
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(frame[at + i]);
    return IpAddress::FromBytes(bytes);
  };
  const IpAddress source = address(ipv4 ? 26 : 22), destination = address(ipv4 ? 30 : 38);
  const auto protocol = static_cast<uint8_t>(frame[ipv4 ? 23 : 20]);
  const size_t l4 = kEthernet + (ipv4 ? 4u * (static_cast<uint8_t>(frame[kEthernet]) & 15u) : 40u);
  uint16_t from = 0, to = 0;
  std::string name = fmt::format("protocol {}", protocol), flags;
  const bool later_fragment = ipv4 && (Read16(frame, 20) & 0x1fff) != 0;
  if (protocol == kTcp || protocol == kUdp) name = protocol == kTcp ? "TCP" : "UDP";
  if (later_fragment) {
    flags = ", a later fragment";  // its payload begins where ports would be
  } else if (protocol == kTcp || protocol == kUdp) {
    from = Read16(frame, l4);
    to = Read16(frame, l4 + 2);
    if (protocol == kTcp && frame.size() > l4 + 13) {
      flags = " " + TcpFlagsText(static_cast<uint8_t>(frame[l4 + 13]));
    }
  } else if (protocol == kIcmp || protocol == kIcmp6) {
    name = "ICMP";
  }
  return fmt::format("{} {} -> {}{}", name, PlaceText(source, from), PlaceText(destination, to),
                     flags);
}

}  // namespace mesh::cli
