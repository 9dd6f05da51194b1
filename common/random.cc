// SPDX-License-Identifier: Apache-2.0
#include "common/random.h"

#include <sys/random.h>

namespace mesh {

Random Random::FromEntropy() {
  uint64_t seed = 0;
  MESH_CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
  return Random(seed);
}

}  // namespace mesh
