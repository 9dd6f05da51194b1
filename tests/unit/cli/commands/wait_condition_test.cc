// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/wait_condition.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

using Kind = WaitCondition::Kind;

bool Met(const std::string& condition, const std::string& object) {
  auto parsed = ParseWaitCondition(condition);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  auto met = IsMet(*parsed, Parse<v1::Resource>(object));
  EXPECT_TRUE(met.ok()) << met.status();
  return met.value_or(false);
}

TEST(ParseWaitCondition, ReadsEveryForm) {
  EXPECT_EQ(ParseWaitCondition("condition=Ready").value(),
            (WaitCondition{Kind::kCondition, "Ready", "true", false}));
  EXPECT_EQ(ParseWaitCondition("condition=Ready=False").value(),
            (WaitCondition{Kind::kCondition, "Ready", "False", false}));
  EXPECT_EQ(ParseWaitCondition("delete").value(), (WaitCondition{Kind::kDelete, "", "", false}));
  EXPECT_EQ(ParseWaitCondition("create").value(), (WaitCondition{Kind::kCreate, "", "", false}));
  EXPECT_EQ(ParseWaitCondition("jsonpath={.status.phase}=Running").value(),
            (WaitCondition{Kind::kJsonPath, "{.status.phase}", "Running", false}));
  EXPECT_EQ(ParseWaitCondition("jsonpath=.status.podIP").value(),
            (WaitCondition{Kind::kJsonPath, "{.status.podIP}", "", true}));
  EXPECT_EQ(
      ParseWaitCondition("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True").value(),
      (WaitCondition{Kind::kJsonPath, "{.status.conditions[?(@.type==\"Ready\")].status}", "True",
                     false}));
}

TEST(ParseWaitCondition, RefusesTheRest) {
  EXPECT_EQ(ParseWaitCondition("ready").status().message(), "unrecognized condition: \"ready\"");
  EXPECT_FALSE(ParseWaitCondition("jsonpath={.a}=").ok());
  EXPECT_FALSE(ParseWaitCondition("jsonpath={.a[}=1").ok());
}

TEST(IsMet, ComparesConditionsWithoutCase) {
  const std::string pod = "pod { status { conditions { type: 'Ready' status: 'False' } } }";

  EXPECT_FALSE(Met("condition=ready", pod));
  EXPECT_TRUE(Met("condition=ready=false", pod));
  EXPECT_FALSE(Met("condition=Initialized", pod));
}

TEST(IsMet, IgnoresAStatusOfAnOlderGeneration) {
  const std::string available = "conditions { type: 'Available' status: 'True' } } }";

  EXPECT_FALSE(
      Met("condition=Available",
          "deployment { metadata { generation: 2 } status { observed_generation: 1 " + available));
  EXPECT_TRUE(
      Met("condition=Available",
          "deployment { metadata { generation: 2 } status { observed_generation: 2 " + available));
}

TEST(IsMet, EvaluatesATemplate) {
  const std::string pod = "pod { metadata { name: 'a' } status { phase: 'Running' } }";

  EXPECT_TRUE(Met("jsonpath={.status.phase}=Running", pod));
  EXPECT_FALSE(Met("jsonpath={.status.phase}=Pending", pod));
  EXPECT_FALSE(Met("jsonpath={.status.podIP}", pod));
  EXPECT_FALSE(Met("jsonpath={.status.podIPs[0].ip}", pod));
}

}  // namespace
}  // namespace mesh::cli
