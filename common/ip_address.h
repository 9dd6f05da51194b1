// SPDX-License-Identifier: Apache-2.0
// Network value types. Host-side code uses these; byte order appears only in dataplane/tables.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mesh {

// An IPv4 or IPv6 address, held as 16 bytes in network order; IPv4 is v4-mapped (::ffff:a.b.c.d).
class IpAddress {
 public:
  constexpr IpAddress() = default;  // "::"
  // Dotted quad or RFC 4291 text. No leading zeros, no zone. INVALID_ARGUMENT otherwise.
  static absl::StatusOr<IpAddress> Parse(std::string_view text);
  // `value` in host order: 0x0a000001 is 10.0.0.1.
  static IpAddress V4(uint32_t value);
  static IpAddress FromBytes(const std::array<uint8_t, 16>& bytes);

  bool is_v4() const;
  // REQUIRES: is_v4(). Host order.
  uint32_t v4() const;
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }
  std::string ToString() const;

  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const IpAddress& a) {
    return H::combine(std::move(h), a.bytes_);
  }

 private:
  std::array<uint8_t, 16> bytes_{};
};

// An address range "10.244.3.0/24". The base has no bits outside the prefix.
class IpPrefix {
 public:
  constexpr IpPrefix() = default;
  // INVALID_ARGUMENT when malformed or when host bits are set.
  static absl::StatusOr<IpPrefix> Parse(std::string_view text);
  // Takes host bits and clears them: "10.9.8.7/24" is 10.9.8.0/24.
  static absl::StatusOr<IpPrefix> ParseMasked(std::string_view text);
  // The range of one address.
  static IpPrefix Of(const IpAddress& address);

  // False for IpPrefix(): no range at all.
  bool is_set() const { return *this != IpPrefix(); }

  const IpAddress& base() const { return base_; }
  // In the family's own terms: 0..32 or 0..128.
  int length() const { return length_; }
  bool Contains(const IpAddress& address) const;
  // base + index; nullopt past the end.
  std::optional<IpAddress> At(uint64_t index) const;
  // The inverse; nullopt when `address` is outside, or further than 64 bits count.
  std::optional<uint64_t> IndexOf(const IpAddress& address) const;
  // The range number `index` of those of `length` that this one consists of; nullopt past the end.
  // REQUIRES: length() <= length <= 32 or 128.
  std::optional<IpPrefix> Subrange(int length, uint64_t index) const;
  // Number of such ranges, saturated at 2^63.
  uint64_t SubrangeCount(int length) const;
  // Some address is in both.
  bool Overlaps(const IpPrefix& other) const;
  // Number of addresses, saturated at 2^63.
  uint64_t size() const;
  std::string ToString() const;

  friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;

 private:
  // 32 or 128.
  int bits() const;

  IpAddress base_;
  int length_ = 0;
};

}  // namespace mesh
