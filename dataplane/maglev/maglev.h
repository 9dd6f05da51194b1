// SPDX-License-Identifier: Apache-2.0
// Lookup tables of consistent hashing (Eisenbud et al., "Maglev", NSDI 2016, section 3.4): every
// node fills the same table for the same backends, and a backend that comes or goes moves little
// more than its own share. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "common/ip_address.h"

namespace mesh::dataplane {

struct MaglevBackend {
  IpAddress ip;
  uint16_t port = 0;
  uint32_t weight = 1;  // 1 and more; its share of the table, relative to the others
};

// A prime of at least 100 places per backend up to 655 of them, so that shares differ by about one
// percent; 131071 beyond. Follows from the number of backends alone. 0 for none.
uint32_t MaglevTableSize(size_t backends);

// Which backend stands at each of `size` places, by its index. The order of `backends` has no
// influence.
// REQUIRES: `size` is a prime of MaglevTableSize(); backends differ in (ip, port); not empty.
// Cost: about size * ln(size) steps; 20 us for 1021 places, 10 ms for 131071.
std::vector<uint32_t> BuildMaglevTable(const std::vector<MaglevBackend>& backends, uint32_t size);

}  // namespace mesh::dataplane
