// SPDX-License-Identifier: Apache-2.0
#include "common/backoff.h"

#include <gtest/gtest.h>

namespace mesh {
namespace {

TEST(Backoff, GrowsToItsCapAndStartsAgainAfterReset) {
  Random random(1);
  Backoff backoff(
      {.first = absl::Milliseconds(100), .cap = absl::Milliseconds(350), .factor = 2, .jitter = 0});

  EXPECT_EQ(backoff.Next(random), absl::Milliseconds(100));
  EXPECT_EQ(backoff.Next(random), absl::Milliseconds(200));
  EXPECT_EQ(backoff.Next(random), absl::Milliseconds(350));
  EXPECT_EQ(backoff.Next(random), absl::Milliseconds(350));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(random), absl::Milliseconds(100));
}

TEST(Backoff, JitterOnlyShortensADelay) {
  Random random(7);
  for (int i = 0; i < 1000; ++i) {
    Backoff backoff({.first = absl::Seconds(1), .jitter = 0.5});
    const absl::Duration delay = backoff.Next(random);
    EXPECT_LE(delay, absl::Seconds(1));
    EXPECT_GE(delay, absl::Milliseconds(500));
  }
}

TEST(Random, GivesTheSameSequenceForASeedEverywhere) {
  Random random(42);
  EXPECT_EQ(random.Next(), 13679457532755275413u);
  EXPECT_EQ(random.Next(), 2949826092126892291u);
}

TEST(Random, StaysBelowItsBound) {
  Random random(3);
  for (int i = 0; i < 10'000; ++i) EXPECT_LT(random.Below(7), 7u);
}

}  // namespace
}  // namespace mesh
