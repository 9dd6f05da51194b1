// SPDX-License-Identifier: Apache-2.0
#include "tests/support/packet/packet.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>
#include <tuple>
#include <utility>

#include "fmt/format.h"

namespace mesh::testing {
namespace {

constexpr size_t kEth = 14, kIp = 20;

uint32_t Sum(const std::string& bytes, uint32_t sum = 0) {
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const auto high = static_cast<uint8_t>(bytes[i]);
    const auto low = i + 1 < bytes.size() ? static_cast<uint8_t>(bytes[i + 1]) : uint8_t{0};
    sum += static_cast<uint32_t>(high << 8 | low);
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

void Put16(std::string& out, size_t at, uint32_t value) {
  out[at] = static_cast<char>(value >> 8);
  out[at + 1] = static_cast<char>(value);
}
uint16_t Get16(const std::string& in, size_t at) {
  return static_cast<uint16_t>(static_cast<uint8_t>(in[at]) << 8 |
                               static_cast<uint8_t>(in[at + 1]));
}
void Put32(std::string& out, size_t at, uint32_t value) {
  Put16(out, at, value >> 16);
  Put16(out, at + 2, value & 0xffff);
}
uint32_t Get32(const std::string& in, size_t at) {
  return static_cast<uint32_t>(Get16(in, at)) << 16 | Get16(in, at + 2);
}

std::string PseudoHeader(const Packet& packet, size_t length) {
  std::string out(12, '\0');
  Put32(out, 0, packet.source.v4());
  Put32(out, 4, packet.destination.v4());
  out[9] = static_cast<char>(packet.protocol);
  Put16(out, 10, static_cast<uint32_t>(length));
  return out;
}

// Where the fourth layer's checksum stands in it.
size_t ChecksumOffset(uint8_t protocol) { return protocol == 6 ? 16 : protocol == 17 ? 6 : 2; }

std::string EncodeL4(const Packet& packet) {
  std::string out;
  if (packet.protocol == 6) {
    out.assign(20, '\0');
    Put32(out, 4, packet.tcp_sequence);
    Put32(out, 8, packet.tcp_acknowledged);
    out[12] = 5 << 4;
    out[13] = static_cast<char>(packet.tcp_flags);
    Put16(out, 14, 65535);
  } else if (packet.protocol == 17) {
    out.assign(8, '\0');
    Put16(out, 4, static_cast<uint32_t>(8 + packet.payload.size()));
  } else {
    out.assign(8, '\0');
    out[0] = static_cast<char>(packet.icmp_type);
    out[1] = static_cast<char>(packet.icmp_code);
    Put16(out, 4, packet.icmp_id);
  }
  if (packet.protocol != 1) {
    Put16(out, 0, packet.source_port);
    Put16(out, 2, packet.destination_port);
  }
  out += packet.payload;
  if (packet.protocol == 17 && !packet.udp_checksum) return out;
  const uint32_t pseudo = packet.protocol == 1 ? 0 : Sum(PseudoHeader(packet, out.size()));
  uint32_t checksum = ~Sum(out, pseudo) & 0xffff;
  // All zeros would say that there is none.
  if (packet.protocol == 17 && checksum == 0) checksum = 0xffff;
  Put16(out, ChecksumOffset(packet.protocol), checksum);
  return out;
}

std::string EncodeIp(const Packet& packet) {
  const std::string l4 = EncodeL4(packet);
  std::string out = std::string(kIp, '\0') + packet.options;
  out[0] = static_cast<char>(0x40 + out.size() / 4);
  Put16(out, 2, static_cast<uint32_t>(out.size() + l4.size()));
  Put16(out, 4, packet.id);
  Put16(out, 6, packet.fragment);
  out[8] = static_cast<char>(packet.ttl);
  out[9] = static_cast<char>(packet.protocol);
  Put32(out, 12, packet.source.v4());
  Put32(out, 16, packet.destination.v4());
  Put16(out, 10, ~Sum(out) & 0xffff);
  return out + l4;
}

absl::StatusOr<Packet> DecodeIp(const std::string& in, bool whole) {
  if (in.size() < kIp + 8) return absl::InvalidArgumentError("too short");
  const size_t ip_header = static_cast<size_t>(in[0] & 15) * 4;
  if (ip_header < kIp || in.size() < ip_header + 8) {
    return absl::InvalidArgumentError("wrong length of the IP header");
  }
  if (Sum(in.substr(0, ip_header)) != 0xffff) {
    return absl::InvalidArgumentError("wrong IP checksum");
  }
  Packet out;
  out.options = in.substr(kIp, ip_header - kIp);
  out.id = Get16(in, 4);
  out.ttl = static_cast<uint8_t>(in[8]);
  out.fragment = Get16(in, 6);
  out.protocol = static_cast<uint8_t>(in[9]);
  out.source = IpAddress::V4(Get32(in, 12));
  out.destination = IpAddress::V4(Get32(in, 16));
  const std::string l4 = in.substr(ip_header);
  size_t header = 8;
  if (out.protocol != 1) {
    out.source_port = Get16(l4, 0);
    out.destination_port = Get16(l4, 2);
  } else {
    out.icmp_type = static_cast<uint8_t>(l4[0]);
    out.icmp_code = static_cast<uint8_t>(l4[1]);
    out.icmp_id = Get16(l4, 4);
  }
  if (!whole) return out;
  if (Get16(in, 2) != in.size()) return absl::InvalidArgumentError("wrong IP length");
  if (out.protocol == 6) {
    header = 20;
    if (l4.size() < header) return absl::InvalidArgumentError("cut short");
    out.tcp_flags = static_cast<uint8_t>(l4[13]);
    out.tcp_sequence = Get32(l4, 4);
    out.tcp_acknowledged = Get32(l4, 8);
  }
  out.payload = l4.substr(header);
  if (out.protocol == 17 && Get16(l4, 6) == 0) {
    out.udp_checksum = false;
    return out;
  }
  const uint32_t pseudo = out.protocol == 1 ? 0 : Sum(PseudoHeader(out, l4.size()));
  if (Sum(l4, pseudo) != 0xffff) {
    return absl::InvalidArgumentError(
        fmt::format("wrong checksum of protocol {}", int{out.protocol}));
  }
  return out;
}

Packet Icmp(const std::string& from, const std::string& to, uint8_t type, uint16_t id) {
  Packet out;
  out.source = *IpAddress::Parse(from);
  out.destination = *IpAddress::Parse(to);
  out.protocol = 1;
  out.icmp_type = type;
  out.icmp_id = id;
  return out;
}

}  // namespace

bool operator==(const Packet& a, const Packet& b) {
  const auto what = [](const Packet& p) {
    return std::tie(p.source, p.destination, p.protocol, p.source_port, p.destination_port,
                    p.tcp_flags, p.tcp_sequence, p.tcp_acknowledged, p.icmp_type, p.icmp_code,
                    p.icmp_id, p.payload, p.udp_checksum, p.fragment, p.id, p.options);
  };
  return what(a) == what(b);
}

Place At(const std::string& text) {
  const size_t colon = text.find(':');
  Place out{*IpAddress::Parse(text.substr(0, colon)), 0};
  std::from_chars(text.data() + colon + 1, text.data() + text.size(), out.port);
  return out;
}

Packet Tcp(const Place& from, const Place& to, uint8_t flags, std::string payload) {
  Packet out;
  out.source = from.ip;
  out.destination = to.ip;
  out.source_port = from.port;
  out.destination_port = to.port;
  out.tcp_flags = flags;
  out.payload = std::move(payload);
  return out;
}

Packet Udp(const Place& from, const Place& to, std::string payload) {
  Packet out = Tcp(from, to, 0, std::move(payload));
  out.protocol = 17;
  return out;
}

Packet Echo(const std::string& from, const std::string& to, uint16_t id) {
  return Icmp(from, to, 8, id);
}

Packet EchoReply(const std::string& from, const std::string& to, uint16_t id) {
  return Icmp(from, to, 0, id);
}

Packet Unreachable(const std::string& from, const std::string& to, const Packet& about) {
  Packet out = Icmp(from, to, 3, 0);
  out.icmp_code = 3;
  out.payload = EncodeIp(about).substr(0, kIp + 8);
  return out;
}

std::string Encode(const Packet& packet) {
  std::string frame(kEth, '\0');
  // Locally administered, so that the kernel takes them for unicast of somebody.
  frame[0] = frame[6] = 2;
  frame[5] = 1;
  frame[11] = 2;
  Put16(frame, 12, 0x0800);
  return frame + EncodeIp(packet);
}

std::vector<std::string> EncodeFragments(const Packet& packet, size_t size) {
  const std::string whole = Encode(packet);
  const std::string l4 = whole.substr(kEth + kIp);
  std::vector<std::string> out;
  for (size_t at = 0; at < l4.size(); at += size) {
    const std::string part = l4.substr(at, size);
    std::string ip = whole.substr(kEth, kIp);
    const size_t more = at + size < l4.size() ? 0x2000 : 0;
    Put16(ip, 2, static_cast<uint32_t>(kIp + part.size()));
    Put16(ip, 6, static_cast<uint32_t>(more | at / 8));
    Put16(ip, 10, 0);
    Put16(ip, 10, ~Sum(ip) & 0xffff);
    out.push_back(whole.substr(0, kEth) + ip + part);
  }
  return out;
}

absl::StatusOr<Packet> Decode(const std::string& frame) {
  if (frame.size() < kEth || Get16(frame, 12) != 0x0800) {
    return absl::InvalidArgumentError("not IPv4 in Ethernet");
  }
  return DecodeIp(frame.substr(kEth), true);
}

absl::StatusOr<Packet> DecodeQuoted(const Packet& error) { return DecodeIp(error.payload, false); }

std::ostream& operator<<(std::ostream& out, const Packet& packet) {
  return out << fmt::format(
             "{{{}:{} -> {}:{} protocol {} flags {:#x} icmp {}/{} id {}, {} bytes, ttl {}{}{}}}",
             packet.source.ToString(), packet.source_port, packet.destination.ToString(),
             packet.destination_port, int{packet.protocol}, int{packet.tcp_flags},
             int{packet.icmp_type}, int{packet.icmp_code}, packet.icmp_id, packet.payload.size(),
             int{packet.ttl}, packet.udp_checksum ? "" : ", no checksum",
             packet.fragment == 0 ? "" : fmt::format(", fragment {:#x}", packet.fragment));
}

}  // namespace mesh::testing
