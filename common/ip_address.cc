// SPDX-License-Identifier: Apache-2.0
#include "common/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "common/check.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh {
namespace {

constexpr std::array<uint8_t, 12> kV4Prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ParseInt(std::string_view text, int* out) {
  const char* end = text.data() + text.size();
  auto [at, error] = std::from_chars(text.data(), end, *out);
  return error == std::errc() && at == end;
}

// Eight bytes from `from`, as a number.
uint64_t Half(const std::array<uint8_t, 16>& bytes, int from) {
  uint64_t out = 0;
  for (int i = 0; i < 8; ++i) out = out << 8 | bytes[from + i];
  return out;
}

// base + high * 2^64 + low. REQUIRES: what is added are bits that the base has not.
IpAddress Offset(const IpAddress& base, uint64_t high, uint64_t low) {
  high += Half(base.bytes(), 0);
  low += Half(base.bytes(), 8);
  std::array<uint8_t, 16> bytes;
  for (int i = 0; i < 8; ++i) {
    bytes[i] = static_cast<uint8_t>(high >> (56 - 8 * i));
    bytes[8 + i] = static_cast<uint8_t>(low >> (56 - 8 * i));
  }
  return IpAddress::FromBytes(bytes);
}

}  // namespace

absl::StatusOr<IpAddress> IpAddress::Parse(std::string_view text) {
  const std::string copy(text);
  IpAddress out;
  in_addr v4;
  if (inet_pton(AF_INET, copy.c_str(), &v4) == 1) return V4(ntohl(v4.s_addr));
  if (inet_pton(AF_INET6, copy.c_str(), out.bytes_.data()) == 1) return out;
  return absl::InvalidArgumentError(fmt::format("\"{}\" is not an IP address", text));
}

IpAddress IpAddress::V4(uint32_t value) {
  IpAddress out;
  std::copy(kV4Prefix.begin(), kV4Prefix.end(), out.bytes_.begin());
  for (int i = 0; i < 4; ++i) out.bytes_[12 + i] = static_cast<uint8_t>(value >> (24 - 8 * i));
  return out;
}

IpAddress IpAddress::FromBytes(const std::array<uint8_t, 16>& bytes) {
  IpAddress out;
  out.bytes_ = bytes;
  return out;
}

bool IpAddress::is_v4() const {
  return std::equal(kV4Prefix.begin(), kV4Prefix.end(), bytes_.begin());
}

uint32_t IpAddress::v4() const {
  MESH_CHECK(is_v4()) << ToString();
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) out = out << 8 | bytes_[12 + i];
  return out;
}

std::string IpAddress::ToString() const {
  char text[INET6_ADDRSTRLEN];
  if (is_v4()) return inet_ntop(AF_INET, &bytes_[12], text, sizeof text);
  return inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
}

absl::StatusOr<IpPrefix> IpPrefix::ParseMasked(std::string_view text) {
  const size_t slash = text.find('/');
  int length = -1;
  if (slash == std::string_view::npos || !ParseInt(text.substr(slash + 1), &length))
    return absl::InvalidArgumentError(fmt::format("\"{}\" is not an address range", text));
  auto base = IpAddress::Parse(text.substr(0, slash));
  if (!base.ok()) return base.status();
  const int bits = base->is_v4() ? 32 : 128;
  if (length < 0 || length > bits)
    return absl::InvalidArgumentError(
        fmt::format("\"{}\": prefix length must be between 0 and {}", text, bits));
  std::array<uint8_t, 16> bytes = base->bytes();
  for (int bit = 128 - bits + length; bit < 128; ++bit) {
    bytes[bit / 8] &= static_cast<uint8_t>(~(0x80 >> (bit % 8)));
  }
  IpPrefix out;
  out.base_ = IpAddress::FromBytes(bytes);
  out.length_ = length;
  return out;
}

absl::StatusOr<IpPrefix> IpPrefix::Parse(std::string_view text) {
  ASSIGN_OR_RETURN(const IpPrefix out, ParseMasked(text));
  // The base is parsed above.
  if (*IpAddress::Parse(text.substr(0, text.find('/'))) != out.base_) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" has bits set beyond its prefix length", text));
  }
  return out;
}

IpPrefix IpPrefix::Of(const IpAddress& address) {
  IpPrefix out;
  out.base_ = address;
  out.length_ = address.is_v4() ? 32 : 128;
  return out;
}

bool IpPrefix::Contains(const IpAddress& address) const {
  if (address.is_v4() != base_.is_v4()) return false;
  const int bits = (base_.is_v4() ? 96 : 0) + length_;
  if (std::memcmp(address.bytes().data(), base_.bytes().data(), bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  const uint8_t mask = static_cast<uint8_t>(0xff << (8 - bits % 8));
  return ((address.bytes()[bits / 8] ^ base_.bytes()[bits / 8]) & mask) == 0;
}

std::optional<IpAddress> IpPrefix::At(uint64_t index) const {
  if (index >= size() && length_ > bits() - 64) return std::nullopt;
  return Offset(base_, 0, index);
}

std::optional<uint64_t> IpPrefix::IndexOf(const IpAddress& address) const {
  if (!Contains(address)) return std::nullopt;
  for (int i = 0; i < 8; ++i) {
    if (address.bytes()[i] != base_.bytes()[i]) return std::nullopt;
  }
  return Half(address.bytes(), 8) - Half(base_.bytes(), 8);
}

std::optional<IpPrefix> IpPrefix::Subrange(int length, uint64_t index) const {
  MESH_CHECK(length >= length_ && length <= bits()) << ToString() << " into /" << length;
  const int index_bits = length - length_;
  if (index_bits < 64 && index >= uint64_t{1} << index_bits) return std::nullopt;
  const int shift = bits() - length;
  IpPrefix out;
  out.length_ = length;
  if (shift >= 64) {
    out.base_ = Offset(base_, shift == 128 ? 0 : index << (shift - 64), 0);
  } else {
    out.base_ = Offset(base_, shift == 0 ? 0 : index >> (64 - shift), index << shift);
  }
  return out;
}

uint64_t IpPrefix::SubrangeCount(int length) const {
  MESH_CHECK(length >= length_ && length <= bits()) << ToString() << " into /" << length;
  return uint64_t{1} << std::min(length - length_, 63);
}

bool IpPrefix::Overlaps(const IpPrefix& other) const {
  return Contains(other.base_) || other.Contains(base_);
}

int IpPrefix::bits() const { return base_.is_v4() ? 32 : 128; }

uint64_t IpPrefix::size() const { return uint64_t{1} << std::min(bits() - length_, 63); }

std::string IpPrefix::ToString() const { return fmt::format("{}/{}", base_.ToString(), length_); }

}  // namespace mesh
