// SPDX-License-Identifier: Apache-2.0
// Quantities against the rules of Kubernetes' resource.Quantity.
#include "common/quantity.h"

#include <gtest/gtest.h>

namespace mesh {
namespace {

struct Case {
  const char* text;
  int64_t milli;
};

class QuantityText : public testing::TestWithParam<Case> {};

TEST_P(QuantityText, ParsesToThousandths) {
  auto milli = ParseQuantityMilli(GetParam().text);

  ASSERT_TRUE(milli.ok()) << milli.status();
  EXPECT_EQ(*milli, GetParam().milli);
}

INSTANTIATE_TEST_SUITE_P(Suffixes, QuantityText,
                         testing::Values(Case{"0", 0}, Case{"100m", 100}, Case{"1", 1000},
                                         Case{"0.5", 500}, Case{".5", 500}, Case{"1.5", 1500},
                                         Case{"2k", 2'000'000}, Case{"1Ki", 1'024'000},
                                         Case{"64Mi", 67'108'864'000}, Case{"1e3", 1'000'000},
                                         Case{"12E2", 1'200'000}, Case{"-1", -1000},
                                         Case{"+3", 3000}, Case{"0.5Mi", 524'288'000}));

TEST(Quantity, RoundsUpWhatIsSmallerThanAThousandth) {
  EXPECT_EQ(*ParseQuantityMilli("1u"), 1);
  EXPECT_EQ(*ParseQuantityMilli("1n"), 1);
  EXPECT_EQ(*ParseQuantity("1500m"), 2);
}

TEST(Quantity, SaturatesInsteadOfWrapping) {
  EXPECT_EQ(*ParseQuantityMilli("8Ei"), int64_t{1} << 62);
  EXPECT_EQ(*ParseQuantityMilli("999999999999999999E"), int64_t{1} << 62);
}

class BadQuantity : public testing::TestWithParam<const char*> {};

TEST_P(BadQuantity, IsAnInvalidArgument) {
  EXPECT_EQ(ParseQuantityMilli(GetParam()).status().code(), absl::StatusCode::kInvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Texts, BadQuantity,
                         testing::Values("", "m", "1 Gi", "1gi", "ten", "1.2.3", "--1", "0x10",
                                         "1e99", "1234567890123456789012", "1Mi "));

TEST(Quantity, FormatsAsKubectlDoes) {
  EXPECT_EQ(FormatCpuMilli(250), "250m");
  EXPECT_EQ(FormatCpuMilli(2000), "2");
  EXPECT_EQ(FormatBytes(64 << 20), "64Mi");
  EXPECT_EQ(FormatBytes(1000), "1000");
  EXPECT_EQ(FormatBytes(0), "0");
}

}  // namespace
}  // namespace mesh
