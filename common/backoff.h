// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "absl/time/time.h"
#include "common/random.h"

namespace mesh {

struct BackoffPolicy {
  absl::Duration first = absl::Milliseconds(100);
  absl::Duration cap = absl::Seconds(10);
  double factor = 2;
  // Part of each delay that is random, 0..1.
  double jitter = 0.2;
};

// Delays between tries: first, first*factor, ... up to cap, each shortened by up to `jitter`.
class Backoff {
 public:
  explicit Backoff(BackoffPolicy policy) : policy_(policy), next_(policy.first) {}

  absl::Duration Next(Random& random) {
    const absl::Duration out = next_ * (1 - policy_.jitter * random.Fraction());
    next_ = std::min(next_ * policy_.factor, policy_.cap);
    return out;
  }
  void Reset() { next_ = policy_.first; }

 private:
  BackoffPolicy policy_;
  absl::Duration next_;
};

}  // namespace mesh
