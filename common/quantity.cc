// SPDX-License-Identifier: Apache-2.0
#include "common/quantity.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "fmt/format.h"

namespace mesh {
namespace {

constexpr int64_t kMax = int64_t{1} << 62;
using Wide = __int128;

struct Suffix {
  std::string_view text;
  int base;  // 10 or 2
  int exponent;
};

constexpr std::array<Suffix, 16> kSuffixes = {{{"", 10, 0},
                                               {"n", 10, -9},
                                               {"u", 10, -6},
                                               {"m", 10, -3},
                                               {"k", 10, 3},
                                               {"M", 10, 6},
                                               {"G", 10, 9},
                                               {"T", 10, 12},
                                               {"P", 10, 15},
                                               {"E", 10, 18},
                                               {"Ki", 2, 10},
                                               {"Mi", 2, 20},
                                               {"Gi", 2, 30},
                                               {"Ti", 2, 40},
                                               {"Pi", 2, 50},
                                               {"Ei", 2, 60}}};

absl::Status Bad(std::string_view text) {
  return absl::InvalidArgumentError(fmt::format(
      "\"{}\" is not a quantity (a number with an optional suffix like m, k, Ki, Mi, Gi)", text));
}

bool Suffixed(std::string_view suffix, Suffix* out) {
  for (const Suffix& s : kSuffixes) {
    if (s.text == suffix) {
      *out = s;
      return true;
    }
  }
  if (suffix.size() >= 2 && (suffix[0] == 'e' || suffix[0] == 'E')) {
    int exponent = 0;
    const char* end = suffix.data() + suffix.size();
    auto [at, error] = std::from_chars(suffix.data() + 1, end, exponent);
    if (error == std::errc() && at == end && exponent >= -18 && exponent <= 18) {
      *out = {"", 10, exponent};
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<int64_t> ParseQuantityMilli(std::string_view text) {
  std::string_view rest = text;
  bool negative = false;
  if (!rest.empty() && (rest[0] == '+' || rest[0] == '-')) {
    negative = rest[0] == '-';
    rest.remove_prefix(1);
  }
  Wide digits = 0;
  int fraction = 0, seen = 0;
  bool point = false;
  while (!rest.empty() && ((rest[0] >= '0' && rest[0] <= '9') || (rest[0] == '.' && !point))) {
    if (rest[0] == '.') {
      point = true;
    } else {
      if (++seen > 18) return Bad(text);
      digits = digits * 10 + (rest[0] - '0');
      fraction += point;
    }
    rest.remove_prefix(1);
  }
  Suffix suffix;
  if (seen == 0 || !Suffixed(rest, &suffix)) return Bad(text);

  // value = digits * 10^-fraction * base^exponent; in thousandths times 1000. Powers of ten are
  // applied one by one so that 128 bits suffice: saturate on the way up, round up on the way down.
  Wide value = digits;
  const Wide limit = Wide{kMax} << 20;
  int tens = 3 - fraction + (suffix.base == 10 ? suffix.exponent : 0);
  if (suffix.base == 2) {
    for (int i = 0; i < suffix.exponent; ++i) value = std::min(value * 2, limit << 20);
  }
  for (; tens > 0; --tens) value = std::min(value * 10, limit << 20);
  bool inexact = false;
  for (; tens < 0; ++tens) {
    inexact |= value % 10 != 0;
    value /= 10;
  }
  if (inexact && !negative) ++value;
  const int64_t out = static_cast<int64_t>(std::min(value, Wide{kMax}));
  return negative ? -out : out;
}

absl::StatusOr<int64_t> ParseQuantity(std::string_view text) {
  auto milli = ParseQuantityMilli(text);
  if (!milli.ok()) return milli.status();
  if (*milli == kMax) {
    // Thousandths saturate at 4.6e15 units; large plain values still matter (bytes of a disk).
    return kMax / 1000;
  }
  return *milli >= 0 ? (*milli + 999) / 1000 : *milli / 1000;
}

std::string FormatCpuMilli(int64_t milli) {
  return milli % 1000 == 0 ? fmt::format("{}", milli / 1000) : fmt::format("{}m", milli);
}

std::string FormatBytes(int64_t bytes) {
  static constexpr std::array<std::string_view, 7> kUnits = {"",   "Ki", "Mi", "Gi",
                                                             "Ti", "Pi", "Ei"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{}{}", bytes, kUnits[unit]);
}

}  // namespace mesh
