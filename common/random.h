// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "common/check.h"

namespace mesh {

// SplitMix64 (Steele, Lea, Flood 2014): the same sequence for a seed on every platform and library.
// Not for secrets.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // From the kernel's generator.
  static Random FromEntropy();

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Uniform in [0, bound). REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound) {
    MESH_DCHECK(bound > 0);
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
  }
  double Fraction() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

}  // namespace mesh
