// SPDX-License-Identifier: Apache-2.0
#include "cli/output/unified_diff.h"

#include "common/random.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

std::string Numbers(int from, int to) {
  std::string out;
  for (int i = from; i <= to; ++i) out += std::to_string(i) + "\n";
  return out;
}

TEST(UnifiedDiff, IsEmptyForEqualTexts) {
  EXPECT_EQ(UnifiedDiff("", "", "a", "b"), "");
  EXPECT_EQ(UnifiedDiff("x\n", "x\n", "a", "b"), "");
}

TEST(UnifiedDiff, ShowsThreeLinesAroundAChange) {
  std::string after = Numbers(1, 20);
  after.replace(after.find("10\n"), 3, "ten\n");

  EXPECT_EQ(UnifiedDiff(Numbers(1, 20), after, "a", "b"),
            "--- a\n+++ b\n@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n");
}

TEST(UnifiedDiff, PutsFarChangesIntoHunksOfTheirOwn) {
  std::string after = "0\n" + Numbers(1, 19);

  EXPECT_EQ(
      UnifiedDiff(Numbers(1, 20), after, "a", "b"),
      "--- a\n+++ b\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -17,4 +18,3 @@\n 17\n 18\n 19\n-20\n");
}

TEST(UnifiedDiff, ShowsWhatIsNewOrGoneWhole) {
  EXPECT_EQ(UnifiedDiff("", "x\ny\n", "a", "b"), "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+x\n+y\n");
  EXPECT_EQ(UnifiedDiff("x\n", "", "a", "b"), "--- a\n+++ b\n@@ -1 +0,0 @@\n-x\n");
}

// The '-' and ' ' lines are the text before, the '+' and ' ' lines the one after.
TEST(UnifiedDiff, LeadsFromOneTextToTheOther) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    // Short enough that every line stands in some hunk's context or in both texts alike.
    std::string before, after;
    for (size_t i = random.Below(8); i > 0; --i) before += std::to_string(random.Below(3)) + "\n";
    for (size_t i = random.Below(8); i > 0; --i) after += std::to_string(random.Below(3)) + "\n";
    // A change at each end keeps all lines in one hunk.
    before = "first\n" + before + "last\n";
    after = "new first\n" + after + "new last\n";

    std::string text = UnifiedDiff(before, after, "a", "b");
    text = text.substr(text.find("@@\n") + 3);
    std::string was, is;
    while (!text.empty()) {
      const std::string line = text.substr(0, text.find('\n') + 1);
      text.erase(0, line.size());
      if (line[0] != '+') was += line.substr(1);
      if (line[0] != '-') is += line.substr(1);
    }
    ASSERT_EQ(was, before) << round;
    ASSERT_EQ(is, after) << round;
  }
}

}  // namespace
}  // namespace mesh::cli
