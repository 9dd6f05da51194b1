// SPDX-License-Identifier: Apache-2.0
#include "tests/support/packet/family.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace mesh::testing {
namespace {

constexpr size_t kEth = 14, kIp4 = 20, kIp6 = 40, kFragment = 8;
constexpr uint32_t kHairpin4 = 0xa9fe4001;
constexpr std::array<uint32_t, 4> kHairpin6 = {0xfd6d6573, 0x68000000, 0, 1};
constexpr uint8_t kDestinationOptions = 60, kFragmentHeader = 44;

uint32_t Get(const std::string& in, size_t at, size_t bytes) {
  uint32_t out = 0;
  for (size_t i = 0; i < bytes; ++i) out = out << 8 | static_cast<uint8_t>(in[at + i]);
  return out;
}
void Put(std::string& out, size_t at, size_t bytes, uint32_t value) {
  for (size_t i = 0; i < bytes; ++i) out[at + i] = static_cast<char>(value >> 8 * (bytes - 1 - i));
}

// One's complement sum, for differences.
uint32_t Fold(uint64_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint32_t>(sum);
}
uint32_t Sum(const std::string& bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    sum += static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (i % 2 == 0 ? 8 : 0);
  }
  return Fold(sum);
}
// The checksum at `at` takes up that what it covers has become `after` instead of `before`.
void Adjust(std::string& bytes, size_t at, uint32_t before, uint32_t after) {
  const uint32_t old = Get(bytes, at, 2);
  Put(bytes, at, 2, ~Fold(uint64_t{~old & 0xffff} + (~before & 0xffff) + after) & 0xffff);
}

std::string Bytes6(const IpAddress& address) {
  return {address.bytes().begin(), address.bytes().end()};
}
std::string Address6(const std::string& four) {
  return Bytes6(ToIpv6(IpAddress::V4(Get(four, 0, 4))));
}
std::string Address4(const std::string& sixteen) {
  std::array<uint8_t, 16> bytes;
  std::copy(sixteen.begin(), sixteen.end(), bytes.begin());
  std::string out(4, '\0');
  Put(out, 0, 4, ToIpv4(IpAddress::FromBytes(bytes)).v4());
  return out;
}

// type and code: {IPv4, IPv6}.
struct IcmpPair {
  uint8_t type4, code4, type6, code6;
};
constexpr IcmpPair kIcmp[] = {{8, 0, 128, 0}, {0, 0, 129, 0}, {3, 3, 1, 4},  {3, 1, 1, 3},
                              {3, 4, 2, 0},   {3, 2, 4, 1},   {11, 0, 3, 0}, {12, 0, 4, 0}};

std::string ToSix(const std::string& ip);
std::string ToFour(const std::string& ip);

size_t ChecksumAt(uint8_t protocol) {
  return protocol == 6 ? 16 : protocol == 17 ? 6 : protocol == 1 || protocol == 58 ? 2 : SIZE_MAX;
}

// Changes the fourth layer between the families. `before` and `after` are sums of the pseudo
// headers.
void ChangeL4(std::string& l4, uint8_t protocol, uint32_t before, uint32_t after) {
  const size_t at = ChecksumAt(protocol);
  if (at == SIZE_MAX || l4.size() < at + 2) return;
  if (protocol == 17 && Get(l4, at, 2) == 0) return;
  Adjust(l4, at, before, after);
  // All zeros would say that there is none.
  if (protocol == 17 && Get(l4, at, 2) == 0) Put(l4, at, 2, 0xffff);
}

std::string ToSix(const std::string& ip) {
  const size_t header = static_cast<size_t>(ip[0] & 15) * 4;
  if (header < kIp4 || ip.size() < header) return ip;
  const uint8_t protocol4 = static_cast<uint8_t>(ip[9]);
  const uint8_t protocol = protocol4 == 1 ? 58 : protocol4;
  const uint32_t fragment = Get(ip, 6, 2) & 0x3fff;
  const std::string from = ip.substr(12, 4), to = ip.substr(16, 4);
  const std::string from6 = Address6(from), to6 = Address6(to);
  const size_t l4_length = Get(ip, 2, 2) - header;
  std::string l4 = ip.substr(header);

  std::string extension;
  uint8_t first = protocol;
  if (header > kIp4) {
    // As one option of a kind that nobody knows; their number stands before them.
    const std::string options = ip.substr(kIp4, header - kIp4);
    extension.assign((options.size() + 5 + 7) / 8 * 8, '\0');
    extension[0] = static_cast<char>(protocol);
    extension[1] = static_cast<char>(extension.size() / 8 - 1);
    extension[2] = 0x1e;
    extension[3] = static_cast<char>(extension.size() - 4);
    extension[4] = static_cast<char>(options.size());
    extension.replace(5, options.size(), options);
    first = kDestinationOptions;
  } else if (fragment != 0) {
    extension.assign(kFragment, '\0');
    extension[0] = static_cast<char>(protocol);
    Put(extension, 2, 2, (fragment & 0x1fff) << 3 | (fragment >> 13 & 1));
    Put(extension, 4, 4, Get(ip, 4, 2));
    first = kFragmentHeader;
  }
  if ((fragment & 0x1fff) == 0) {
    uint32_t before = Fold(uint64_t{Sum(from)} + Sum(to));
    uint32_t after = Fold(uint64_t{Sum(from6)} + Sum(to6));
    if (protocol == 58 && l4.size() >= 4) {
      const uint32_t sum = Sum(l4);
      for (const IcmpPair& pair : kIcmp) {
        if (l4[0] != static_cast<char>(pair.type4) || l4[1] != static_cast<char>(pair.code4))
          continue;
        l4[0] = static_cast<char>(pair.type6);
        l4[1] = static_cast<char>(pair.code6);
        if (pair.type6 < 128 && l4.size() >= 8 + kIp4) l4 = l4.substr(0, 8) + ToSix(l4.substr(8));
        if (pair.type6 == 4 && pair.code6 == 1) Put(l4, 4, 4, 6);
        break;
      }
      // It covers itself, the pseudo header, and what may have become longer.
      const size_t length6 = l4.size() - ip.substr(header).size() + l4_length;
      before = sum;
      after = Fold(uint64_t{Sum(l4)} + after + length6 + 58);
    }
    ChangeL4(l4, protocol, before, after);
  }
  std::string out(8, '\0');
  const uint32_t tos = static_cast<uint8_t>(ip[1]);
  Put(out, 0, 4, 6U << 28 | tos << 20 | (Get(ip, 6, 2) >> 15) << 19);
  Put(out, 4, 2,
      static_cast<uint32_t>(extension.size() + l4_length + l4.size() - (ip.size() - header)));
  out[6] = static_cast<char>(first);
  out[7] = ip[8];
  return out + from6 + to6 + extension + l4;
}

std::string ToFour(const std::string& ip) {
  if (ip.size() < kIp6) return ip;
  uint8_t protocol = static_cast<uint8_t>(ip[6]);
  size_t header = kIp6;
  uint32_t fragment = 0, id = 0;
  std::string options;
  if (protocol == kFragmentHeader && ip.size() >= kIp6 + kFragment) {
    protocol = static_cast<uint8_t>(ip[kIp6]);
    const uint32_t field = Get(ip, kIp6 + 2, 2);
    fragment = field >> 3 | (field & 1) << 13;
    id = Get(ip, kIp6 + 4, 4);
    header += kFragment;
  } else if (protocol == kDestinationOptions && ip.size() >= kIp6 + 8) {
    protocol = static_cast<uint8_t>(ip[kIp6]);
    header += static_cast<size_t>(ip[kIp6 + 1] + 1) * 8;
    if (ip.size() >= header) options = ip.substr(kIp6 + 5, static_cast<size_t>(ip[kIp6 + 4]));
  }
  const std::string from = ip.substr(8, 16), to = ip.substr(24, 16);
  const std::string from4 = Address4(from), to4 = Address4(to);
  const size_t l4_length = Get(ip, 4, 2) + kIp6 - header;
  std::string l4 = ip.substr(std::min(header, ip.size()));
  const size_t l4_before = l4.size();
  if ((fragment & 0x1fff) == 0) {
    uint32_t before = Fold(uint64_t{Sum(from)} + Sum(to));
    uint32_t after = Fold(uint64_t{Sum(from4)} + Sum(to4));
    if (protocol == 58 && l4.size() >= 4) {
      before = Fold(uint64_t{before} + Sum(l4) + l4_length + 58);
      for (const IcmpPair& pair : kIcmp) {
        if (l4[0] != static_cast<char>(pair.type6) || l4[1] != static_cast<char>(pair.code6))
          continue;
        const bool options_refused = pair.type6 == 4 && l4.size() >= 8 + kIp6 &&
                                     static_cast<uint8_t>(l4[8 + 6]) == kDestinationOptions;
        l4[0] = static_cast<char>(options_refused ? 12 : pair.type4);
        l4[1] = static_cast<char>(options_refused ? 0 : pair.code4);
        if (pair.type6 == 4) {
          Put(l4, 4, 4, 0);
          if (options_refused) l4[4] = kIp4;
        }
        if (pair.type6 < 128 && l4.size() >= 8 + kIp6) l4 = l4.substr(0, 8) + ToFour(l4.substr(8));
        break;
      }
      after = Sum(l4);
    }
    ChangeL4(l4, protocol, before, after);
  }
  std::string out(kIp4, '\0');
  out[0] = static_cast<char>(0x45 + options.size() / 4);
  out[1] = static_cast<char>(Get(ip, 0, 2) >> 4);
  Put(out, 2, 2, static_cast<uint32_t>(kIp4 + options.size() + l4_length + l4.size() - l4_before));
  Put(out, 4, 2, id);
  Put(out, 6, 2, fragment | (Get(ip, 0, 4) >> 19 & 1) << 15);
  out[8] = ip[7];
  out[9] = static_cast<char>(protocol == 58 ? 1 : protocol);
  out.replace(12, 4, from4);
  out.replace(16, 4, to4);
  out += options;
  Put(out, 10, 2, ~Sum(out) & 0xffff);
  return out + l4;
}

}  // namespace

IpAddress ToIpv6(const IpAddress& address) {
  const uint32_t v4 = address.v4();
  if (v4 == 0) return {};
  std::array<uint32_t, 4> words = {0xfd006d65, v4 & 0xffff0000, v4 >> 8, v4};
  if (v4 == kHairpin4) words = kHairpin6;
  if (v4 >> 24 == 127) words = {0, 0, 0, 1};
  if (v4 >> 28 >= 14) words[0] = 0xff0e0000;  // groups
  std::array<uint8_t, 16> bytes;
  for (size_t i = 0; i < 16; ++i) bytes[i] = static_cast<uint8_t>(words[i / 4] >> (24 - i % 4 * 8));
  return IpAddress::FromBytes(bytes);
}

IpPrefix ToIpv6(const IpPrefix& range) {
  const int length = range.length();
  if (length == 0) return *IpPrefix::Parse("::/0");
  // The words hold the first 16 bits, the first 24, all.
  const int length6 = length <= 16 ? 32 + length : length <= 24 ? 72 + length : 96 + length;
  std::array<uint8_t, 16> bytes = ToIpv6(range.base()).bytes();
  for (size_t i = 0; i < 128; ++i) {
    if (static_cast<int>(i) >= length6) bytes[i / 8] &= static_cast<uint8_t>(~(0x80 >> i % 8));
  }
  return *IpPrefix::Parse(IpAddress::FromBytes(bytes).ToString() + "/" + std::to_string(length6));
}

IpAddress ToIpv4(const IpAddress& address) {
  const std::string bytes = Bytes6(address);
  bool hairpin = true;
  for (size_t i = 0; i < 4; ++i) hairpin = hairpin && Get(bytes, 4 * i, 4) == kHairpin6[i];
  return IpAddress::V4(hairpin ? kHairpin4 : Get(bytes, 12, 4));
}

std::string FrameToIpv6(const std::string& frame) {
  if (frame.size() < kEth || Get(frame, 12, 2) != 0x0800) return frame;
  const std::string eth = frame.substr(0, 12) + "\x86\xdd";
  if (frame.size() < kEth + kIp4) return eth + std::string(frame.size() - kEth, '\x60');
  return eth + ToSix(frame.substr(kEth));
}

std::string FrameToIpv4(const std::string& frame) {
  if (frame.size() < kEth + kIp6 || Get(frame, 12, 2) != 0x86dd) return frame;
  return frame.substr(0, 12) + std::string("\x08\0", 2) + ToFour(frame.substr(kEth));
}

}  // namespace mesh::testing
