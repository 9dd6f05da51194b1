// SPDX-License-Identifier: Apache-2.0
// Goal: what apply writes down about a policy's file leads back to the line of each rule.
#include "api/schema/source_annotation.h"

#include "gtest/gtest.h"

namespace mesh::schema {
namespace {

v1::ObjectMeta With(const std::string& value) {
  v1::ObjectMeta meta;
  (*meta.mutable_annotations())[kSourceAnnotation] = value;
  return meta;
}

TEST(SourceAnnotation, LeadsBackToTheLineOfARule) {
  const std::string text =
      SourceText({.file = "my egress=1 b.yaml", .line = 3, .ingress = {9, 14}, .egress = {20}});
  EXPECT_EQ(text, "my egress=1 b.yaml:3 ingress=9,14 egress=20");
  EXPECT_EQ(RulePlace(With(text), false, 1), "my egress=1 b.yaml:14");
  EXPECT_EQ(RulePlace(With(text), true, 0), "my egress=1 b.yaml:20");
  EXPECT_EQ(RulePlace(With("web.yaml:3 egress=20"), false, 0), "web.yaml:3");
  EXPECT_EQ(RulePlace(With("my egress=1 b.yaml:3 ingress=9"), false, 0), "my egress=1 b.yaml:9");
}

TEST(SourceAnnotation, WhatPeopleWroteThemselvesIsNoPlace) {
  EXPECT_EQ(RulePlace({}, false, 0), "");
  EXPECT_EQ(RulePlace(With("web.yaml"), false, 0), "");
  EXPECT_EQ(RulePlace(With("web.yaml:x ingress=7"), false, 0), "");
  EXPECT_EQ(RulePlace(With("web.yaml:2 ingress=x"), false, 0), "");
}

TEST(SourceAnnotation, StaysSmall) {
  Source source{.file = "big.yaml", .line = 1, .ingress = {}, .egress = {}};
  for (int i = 0; i < 10'000; ++i) source.ingress.push_back(100 + i);
  const std::string text = SourceText(source);
  EXPECT_LT(text.size(), 4096u);
  EXPECT_EQ(RulePlace(With(text), false, 499), "big.yaml:599");
  EXPECT_EQ(RulePlace(With(text), false, 500), "big.yaml:1");
}

}  // namespace
}  // namespace mesh::schema
