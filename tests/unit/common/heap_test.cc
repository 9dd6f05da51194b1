// SPDX-License-Identifier: Apache-2.0
#include "common/heap.h"

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace mesh {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kOwnMalloc = true;
#else
constexpr bool kOwnMalloc = false;
#endif

TEST(TrimHeap, GivesBackWhatABurstHasLeftAndRestsThen) {
  if (kOwnMalloc) GTEST_SKIP() << "a sanitizer's malloc keeps no such lists";
  constexpr size_t kBlock = 2000, kBlocks = 32'000, kSlack = 24 << 20;
  EXPECT_FALSE(TrimHeap(kSlack)) << "nothing has happened yet";
  {
    std::vector<std::unique_ptr<char[]>> stay;
    {
      std::vector<std::unique_ptr<char[]>> burst;
      for (size_t i = 0; i < kBlocks; ++i) {
        auto block = std::make_unique<char[]>(kBlock);
        block[0] = block[kBlock - 1] = 'x';
        (i % 100 == 0 ? stay : burst).push_back(std::move(block));
      }
      EXPECT_FALSE(TrimHeap(kSlack)) << "all of it is in use";
    }

    EXPECT_TRUE(TrimHeap(kSlack));

    EXPECT_FALSE(TrimHeap(kSlack)) << "there is no more to give";
    EXPECT_EQ(stay.back()[0], 'x');
  }
}

size_t ResidentFileKilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return std::stoul(line.substr(8));
  }
  return 0;
}

TEST(ReleaseProgramPages, LeavesWhatIsUsed) {
  const size_t before = ResidentFileKilobytes();

  ReleaseProgramPages();

  const size_t after = ResidentFileKilobytes();
  ASSERT_GT(before, 0U);
  EXPECT_LT(after, before * 3 / 4);
  EXPECT_GT(after, 0U) << "this here still runs";
}
}  // namespace
}  // namespace mesh
