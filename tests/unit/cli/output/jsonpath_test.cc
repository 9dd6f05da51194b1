// SPDX-License-Identifier: Apache-2.0
#include "cli/output/jsonpath.h"

#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

constexpr char kList[] = R"({"kind": "List", "items": [
  {"metadata": {"name": "a", "labels": {"app.io/name": "x"}}, "status": {"ready": true, "count": 3}},
  {"metadata": {"name": "b"}, "status": {"conditions": [
     {"type": "Ready", "status": "True"}, {"type": "Scheduled", "status": "False"}]}}]})";

std::string Get(const std::string& text) {
  auto result = EvaluateJsonPath(text, kList);
  return result.ok() ? *result : "error: " + std::string(result.status().message());
}

TEST(EvaluateJsonPath, FollowsKeysIndexesAndWildcards) {
  EXPECT_EQ(Get("{.kind}"), "List");
  EXPECT_EQ(Get("{$.items[0].metadata.name}"), "a");
  EXPECT_EQ(Get("{.items[-1].metadata.name}"), "b");
  EXPECT_EQ(Get("{.items[*].metadata.name}"), "a b");
  EXPECT_EQ(Get("{.items[0:1].metadata.name}"), "a");
  EXPECT_EQ(Get("{.items[0].metadata.labels['app.io/name']}"), "x");
  EXPECT_EQ(Get("{.items[0].metadata.labels.app\\.io/name}"), "x");
  EXPECT_EQ(Get("{..name}"), "a b");
}

TEST(EvaluateJsonPath, PrintsScalarsBareAndObjectsAsJson) {
  EXPECT_EQ(Get("{.items[0].status.ready} {.items[0].status.count}"), "true 3");
  EXPECT_EQ(Get("{.items[0].status}"), R"({"ready":true,"count":3})");
}

TEST(EvaluateJsonPath, FiltersByValueAndByExistence) {
  EXPECT_EQ(Get("{.items[1].status.conditions[?(@.type==\"Ready\")].status}"), "True");
  EXPECT_EQ(Get("{.items[1].status.conditions[?(@.type!='Ready')].status}"), "False");
  EXPECT_EQ(Get("{.items[?(@.status.count>2)].metadata.name}"), "a");
  EXPECT_EQ(Get("{.items[?(@.status.conditions)].metadata.name}"), "b");
}

TEST(EvaluateJsonPath, RepeatsTheBodyOfARange) {
  EXPECT_EQ(Get("{range .items[*]}{.metadata.name}{\"\\t\"}{.status.count}{\"\\n\"}{end}done"),
            "a\t3\nb\t\ndone");
}

TEST(EvaluateJsonPath, GivesNothingForAnAbsentKey) {
  EXPECT_EQ(Get("[{.metadata.nope.deeper}]"), "[]");
}

TEST(EvaluateJsonPath, RefusesAnIndexOutOfRange) {
  EXPECT_EQ(Get("{.items[7].metadata}"), "error: array index out of bounds: index 7, length 2");
}

TEST(CheckJsonPath, RefusesWhatIsNoTemplate) {
  EXPECT_FALSE(CheckJsonPath("{.items[}").ok());
  EXPECT_FALSE(CheckJsonPath("{.items").ok());
  EXPECT_FALSE(CheckJsonPath("{items}").ok());
  EXPECT_FALSE(CheckJsonPath("{range .items[*]}{.a}").ok());
  EXPECT_FALSE(CheckJsonPath("{.a}{end}").ok());
  EXPECT_FALSE(CheckJsonPath("{.a[x]}").ok());
  EXPECT_FALSE(CheckJsonPath("{.a[?(@.b==)]}").ok());
}

TEST(RelaxedJsonPath, AddsBracesAndTheFirstDot) {
  EXPECT_EQ(RelaxedJsonPath("{.status.phase}"), "{.status.phase}");
  EXPECT_EQ(RelaxedJsonPath(".status.phase"), "{.status.phase}");
  EXPECT_EQ(RelaxedJsonPath("status.phase"), "{.status.phase}");
}

}  // namespace
}  // namespace mesh::cli
