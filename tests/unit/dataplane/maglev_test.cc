// SPDX-License-Identifier: Apache-2.0
// Goal: shares follow the weights, and a change of one backend leaves the others' places alone.
#include "dataplane/maglev/maglev.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "common/random.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

std::vector<MaglevBackend> Backends(size_t count, uint32_t weight = 1) {
  std::vector<MaglevBackend> out;
  for (size_t i = 0; i < count; ++i) {
    out.push_back({IpAddress::V4(0x0af40000 + static_cast<uint32_t>(i)), 8080, weight});
  }
  return out;
}

// Address of whom each place belongs to: the same for tables of different backend lists.
std::vector<IpAddress> Owners(const std::vector<MaglevBackend>& backends, uint32_t size) {
  std::vector<IpAddress> out;
  for (const uint32_t index : BuildMaglevTable(backends, size)) out.push_back(backends[index].ip);
  return out;
}

std::map<IpAddress, double> Shares(const std::vector<IpAddress>& owners) {
  std::map<IpAddress, double> out;
  for (const IpAddress& owner : owners) out[owner] += 1.0 / static_cast<double>(owners.size());
  return out;
}

bool IsPrime(uint32_t n) {
  for (uint32_t i = 2; i * i <= n; ++i) {
    if (n % i == 0) return false;
  }
  return n > 1;
}

TEST(MaglevTableSize, IsAPrimeOfAHundredPlacesPerBackend) {
  EXPECT_EQ(MaglevTableSize(0), 0u);
  for (const size_t backends : {1, 10, 11, 40, 41, 160, 161, 655, 656, 1000}) {
    const uint32_t size = MaglevTableSize(backends);
    EXPECT_TRUE(IsPrime(size)) << size;
    EXPECT_GE(size, 100 * backends);
  }
}

TEST(BuildMaglevTable, GivesEveryBackendItsShareWithinTwoPercent) {
  for (const size_t count : {1, 2, 3, 10, 11, 40, 160, 655}) {
    SCOPED_TRACE(count);
    const auto backends = Backends(count);

    const auto shares = Shares(Owners(backends, MaglevTableSize(count)));

    ASSERT_EQ(shares.size(), count);
    const double fair = 1.0 / static_cast<double>(count);
    for (const auto& [ip, share] : shares) EXPECT_NEAR(share, fair, 0.02 * fair);
  }
}

TEST(BuildMaglevTable, FollowsTheWeights) {
  std::vector<MaglevBackend> backends = Backends(4);
  backends[1].weight = 2;
  backends[2].weight = 3;
  backends[3].weight = 10;

  const auto shares = Shares(Owners(backends, 1021));

  for (const MaglevBackend& backend : backends) {
    EXPECT_NEAR(shares.at(backend.ip), backend.weight / 16.0, 0.004);
  }
}

TEST(BuildMaglevTable, GivesTheLightestItsPlaceBesideTheHeaviest) {
  std::vector<MaglevBackend> backends = Backends(2);
  backends[0].weight = 1000;

  const auto shares = Shares(Owners(backends, 1021));

  EXPECT_NEAR(shares.at(backends[1].ip), 1 / 1001.0, 0.001);
  EXPECT_GT(shares.at(backends[1].ip), 0);
}

TEST(BuildMaglevTable, IsTheSameInWhateverOrderTheBackendsAreNamed) {
  Random random(1);
  std::vector<MaglevBackend> backends = Backends(40);
  for (MaglevBackend& backend : backends) {
    backend.weight = static_cast<uint32_t>(1 + random.Below(5));
  }
  const auto expected = Owners(backends, 4093);

  std::reverse(backends.begin(), backends.end());

  EXPECT_EQ(Owners(backends, 4093), expected);
}

// Nodes of different builds stand side by side during an upgrade: the table is a promise.
TEST(BuildMaglevTable, NeverChangesBetweenBuilds) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const uint32_t index : BuildMaglevTable(Backends(10), 1021)) {
    hash = (hash ^ index) * 0x100000001b3;
  }
  EXPECT_EQ(hash, 0x737bef60eef7e2f5u) << fmt::format("{:#x}", hash);
}

// At a hundred places a backend the method itself moves 2 to 3 percent of the others' places.
TEST(BuildMaglevTable, MovesLittleMoreThanTheShareOfABackendThatGoes) {
  for (const size_t count : {3, 10, 40, 160}) {
    SCOPED_TRACE(count);
    const auto before = Backends(count);
    const uint32_t size = MaglevTableSize(count);
    const auto old_owners = Owners(before, size);
    double moved = 0;
    for (size_t gone = 0; gone < std::min<size_t>(count, 10); ++gone) {
      auto after = before;
      after.erase(after.begin() + static_cast<ptrdiff_t>(gone));
      const auto new_owners = Owners(after, size);
      for (size_t i = 0; i < size; ++i) {
        if (old_owners[i] != before[gone].ip && old_owners[i] != new_owners[i]) ++moved;
      }
    }

    moved /= static_cast<double>(std::min<size_t>(count, 10)) * size;
    EXPECT_LT(moved, 0.03) << "of the places of backends that stayed";
  }
}

TEST(BuildMaglevTable, MovesPlacesOnlyToABackendThatComes) {
  const auto before = Owners(Backends(9), 1021);
  const auto with_one_more = Owners(Backends(10), 1021);
  const IpAddress newcomer = Backends(10).back().ip;

  int elsewhere = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] != with_one_more[i] && with_one_more[i] != newcomer) ++elsewhere;
  }

  EXPECT_LT(elsewhere, 1021 * 3 / 100);
}

}  // namespace
}  // namespace mesh::dataplane
