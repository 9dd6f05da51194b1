// SPDX-License-Identifier: Apache-2.0
#include "dataplane/maglev/maglev.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <tuple>

#include "common/check.h"

namespace mesh::dataplane {
namespace {

// Finalizer of splitmix64: every bit of the input moves every bit of the output. Part of what all
// nodes agree on: never to be changed.
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9;
  x ^= x >> 27;
  x *= 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t HashOf(const MaglevBackend& backend, uint64_t seed) {
  uint64_t hash = seed;
  uint64_t half = 0;
  const std::array<uint8_t, 16>& bytes = backend.ip.bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    half = (half << 8) | bytes[i];
    if (i % 8 == 7) hash = Mix(hash ^ half);
  }
  return Mix(hash ^ backend.port);
}

// The order in which one backend asks for places.
struct Permutation {
  uint32_t backend = 0;
  uint32_t next = 0;
  uint32_t skip = 0;
  uint64_t weight = 0, credit = 0;
};

}  // namespace

uint32_t MaglevTableSize(size_t backends) {
  if (backends == 0) return 0;
  if (backends <= 10) return 1021;
  if (backends <= 40) return 4093;
  if (backends <= 160) return 16381;
  if (backends <= 655) return 65521;
  return 131071;
}

std::vector<uint32_t> BuildMaglevTable(const std::vector<MaglevBackend>& backends, uint32_t size) {
  MESH_CHECK(!backends.empty() && size > 2) << "no table of " << size << " places";
  std::vector<Permutation> permutations;
  uint64_t heaviest = 1;
  for (uint32_t i = 0; i < backends.size(); ++i) {
    const MaglevBackend& backend = backends[i];
    Permutation& p = permutations.emplace_back();
    p.backend = i;
    p.next = static_cast<uint32_t>(HashOf(backend, 0x6d657368) % size);
    p.skip = static_cast<uint32_t>(HashOf(backend, 0x6d61676c6576) % (size - 1)) + 1;
    p.weight = std::max<uint32_t>(1, backend.weight);
    heaviest = std::max(heaviest, p.weight);
  }
  // Whose turn comes first must not depend on how the caller has sorted them.
  std::sort(permutations.begin(), permutations.end(),
            [&](const Permutation& a, const Permutation& b) {
              const MaglevBackend &x = backends[a.backend], &y = backends[b.backend];
              return std::tie(x.ip, x.port) < std::tie(y.ip, y.port);
            });

  constexpr uint32_t kFree = std::numeric_limits<uint32_t>::max();
  std::vector<uint32_t> table(size, kFree);
  uint32_t filled = 0;
  while (true) {
    for (Permutation& p : permutations) {
      // A backend of half the greatest weight has a turn in every second round.
      p.credit += p.weight;
      if (p.credit < heaviest) continue;
      p.credit -= heaviest;
      uint32_t place = p.next;
      while (table[place] != kFree) {
        place += p.skip;
        if (place >= size) place -= size;
      }
      table[place] = p.backend;
      place += p.skip;
      p.next = place >= size ? place - size : place;
      if (++filled == size) return table;
    }
  }
}

}  // namespace mesh::dataplane
