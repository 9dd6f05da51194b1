// SPDX-License-Identifier: Apache-2.0
#include "common/shared_map.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "common/random.h"
#include "common/shared_value.h"

namespace mesh {
namespace {

using Numbers = SharedMap<int, std::string>;

std::map<int, std::string> Copy(const Numbers& map) { return {map.begin(), map.end()}; }

// What ForEachChangeTo() tells, as "key:was>is".
std::vector<std::string> Differences(const Numbers& before, const Numbers& now) {
  std::vector<std::string> out;
  before.ForEachChangeTo(now, [&](int key, const std::string* was, const std::string* is) {
    out.push_back(std::to_string(key) + ":" + (was == nullptr ? "-" : *was) + ">" +
                  (is == nullptr ? "-" : *is));
  });
  return out;
}

std::vector<std::string> Differences(const std::map<int, std::string>& before,
                                     const std::map<int, std::string>& now) {
  std::map<int, std::pair<std::string, std::string>> both;
  for (const auto& [key, value] : before) both[key] = {value, "-"};
  for (const auto& [key, value] : now) {
    const auto [at, is_new] = both.try_emplace(key, "-", value);
    if (!is_new) at->second.second = value;
  }
  std::vector<std::string> out;
  for (const auto& [key, values] : both) {
    if (values.first == values.second) continue;
    out.push_back(std::to_string(key) + ":" + values.first + ">" + values.second);
  }
  return out;
}

TEST(SharedMapTest, HoldsWhatWasPut) {
  Numbers map;
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(map.find(1), map.end());
  map[2] = "two";
  map[1] = "one";
  EXPECT_EQ(map.size(), 2U);
  ASSERT_NE(map.find(1), map.end());
  EXPECT_EQ(map.find(1)->second, "one");
  EXPECT_FALSE(map.contains(0));
  EXPECT_FALSE(map.contains(3));
  EXPECT_EQ(Copy(map), (std::map<int, std::string>{{1, "one"}, {2, "two"}}));
  map.erase(1);
  map.erase(7);
  EXPECT_EQ(Copy(map), (std::map<int, std::string>{{2, "two"}}));
  map.clear();
  EXPECT_TRUE(map.empty());
}

TEST(SharedMapTest, ACopyKeepsWhatTheOtherChanges) {
  Numbers map;
  for (int i = 0; i < 1000; ++i) map[i] = "x";
  const Numbers before = map;
  EXPECT_TRUE(map.SameAs(before));
  map[500] = "y";
  map.erase(3);
  EXPECT_FALSE(map.SameAs(before));
  EXPECT_EQ(before.size(), 1000U);
  EXPECT_EQ(before.find(500)->second, "x");
  EXPECT_EQ(Differences(before, map), (std::vector<std::string>{"3:x>-", "500:x>y"}));
}

TEST(SharedMapTest, ChangesAreAsThoseOfAMapOfTheLibrary) {
  Random random(20260117);
  Numbers map;
  std::map<int, std::string> model;
  for (int round = 0; round < 600; ++round) {
    const Numbers before = map;
    const std::map<int, std::string> model_before = model;
    // Bursts and single ones; times of growing and of shrinking.
    const int count = random.Below(10) == 0 ? 200 : static_cast<int>(random.Below(4));
    const bool shrinks = (round / 50) % 2 == 1;
    Numbers::Changes changes;
    for (int i = 0; i < count; ++i) {
      const int key = static_cast<int>(random.Below(3000));
      if (random.Below(4) == 0 ? !shrinks : shrinks) {
        changes[key] = std::nullopt;
        model.erase(key);
      } else {
        model[key] = std::to_string(random.Below(3));
        changes[key] = model[key];
      }
    }
    map.Update(std::move(changes));
    ASSERT_EQ(Copy(map), model) << round;
    ASSERT_EQ(map.size(), model.size());
    ASSERT_EQ(Copy(before), model_before);
    ASSERT_EQ(Differences(before, map), Differences(model_before, model));
    const int key = static_cast<int>(random.Below(3000));
    ASSERT_EQ(map.contains(key), model.contains(key));
  }
}

TEST(SharedMapTest, ADifferenceIsLookedForInWhatIsNotSharedOnly) {
  struct Counted {
    int value = 0;
    int* compared = nullptr;
    bool operator==(const Counted& other) const {
      ++*compared;
      return value == other.value;
    }
  };
  int compared = 0;
  SharedMap<int, Counted> map;
  SharedMap<int, Counted>::Changes all;
  for (int i = 0; i < 10'000; ++i) all[i] = Counted{i, &compared};
  map.Update(std::move(all));
  const auto before = map;
  map[5000].value = 1;
  map.erase(7000);
  std::vector<int> changed;
  before.ForEachChangeTo(map, [&](int key, const auto*, const auto*) { changed.push_back(key); });
  EXPECT_EQ(changed, (std::vector<int>{5000, 7000}));
  EXPECT_LE(compared, 3 * static_cast<int>(map.kChunkEntries));
}

TEST(SharedMapTest, SharedValuesAreComparedByPointer) {
  SharedMap<int, Shared<std::string>> map;
  map[1] = std::string("a");
  auto now = map;
  now[1] = std::string("a");
  int told = 0;
  map.ForEachChangeTo(now, [&](int, const auto*, const auto*) { ++told; });
  EXPECT_EQ(told, 1);
  EXPECT_EQ(map, now);
}

}  // namespace
}  // namespace mesh
