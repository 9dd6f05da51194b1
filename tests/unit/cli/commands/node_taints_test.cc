// SPDX-License-Identifier: Apache-2.0
// Goal: what people write of taints is what their nodes get.
#include "cli/commands/node_taints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mesh::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> TextsOf(const v1::Node& node) {
  std::vector<std::string> out;
  for (const v1::Taint& taint : node.spec().taints())
    out.push_back(taint.key() + "=" + taint.value() + ":" + taint.effect());
  return out;
}

absl::Status Change(std::vector<std::string> args, v1::Node* node, bool overwrite = false) {
  const auto changes = TakeTaintChanges(&args);
  if (!changes.ok()) return changes.status();
  return ApplyTaintChanges(*changes, overwrite, node);
}

TEST(TakeTaintChanges, LeavesWhatNamesNodes) {
  std::vector<std::string> args = {"node", "n1", "n2", "a=b:NoSchedule", "c:NoExecute", "d-"};
  const auto changes = TakeTaintChanges(&args);
  ASSERT_TRUE(changes.ok()) << changes.status();
  EXPECT_THAT(args, ElementsAre("node", "n1", "n2"));
  EXPECT_EQ(changes->added.size(), 2u);
  EXPECT_EQ(changes->removed.size(), 1u);
  EXPECT_EQ(changes->Done(), "modified");
}

TEST(TakeTaintChanges, SaysWhatIsWrong) {
  struct {
    const char *arg, *error;
  } const cases[] = {
      {"a=b:Never", "invalid taint effect: Never, unsupported taint effect"},
      {"a=b c:NoSchedule", "invalid taint spec: a=b c:NoSchedule, "},
      {"-a:NoSchedule", "invalid taint spec: -a:NoSchedule, "},
  };
  for (const auto& c : cases) {
    std::vector<std::string> args = {"node", "n1", c.arg};
    EXPECT_THAT(std::string(TakeTaintChanges(&args).status().message()), HasSubstr(c.error));
  }
  std::vector<std::string> twice = {"n1", "a:NoSchedule", "a=b:NoSchedule"};
  EXPECT_THAT(std::string(TakeTaintChanges(&twice).status().message()),
              HasSubstr("duplicated taints with the same key and effect: a:NoSchedule"));
  std::vector<std::string> late = {"node", "a:NoSchedule", "n1"};
  EXPECT_THAT(std::string(TakeTaintChanges(&late).status().message()),
              HasSubstr("all resources must be specified before taint changes: n1"));
}

TEST(ApplyTaintChanges, AddsChangesAndRemoves) {
  v1::Node node;
  node.mutable_metadata()->set_name("n1");
  ASSERT_TRUE(Change({"a=1:NoSchedule", "a=1:NoExecute", "b:NoSchedule"}, &node).ok());
  EXPECT_THAT(TextsOf(node), ElementsAre("a=1:NoSchedule", "a=1:NoExecute", "b=:NoSchedule"));

  EXPECT_EQ(Change({"a=2:NoSchedule"}, &node).message(),
            "node n1 already has a taint(s) with same effect(s) and --overwrite is false");
  ASSERT_TRUE(Change({"a=2:NoSchedule"}, &node, true).ok());
  EXPECT_THAT(TextsOf(node), ElementsAre("a=2:NoSchedule", "a=1:NoExecute", "b=:NoSchedule"));

  ASSERT_TRUE(Change({"a:NoExecute-"}, &node).ok());
  ASSERT_TRUE(Change({"b-"}, &node).ok());
  EXPECT_THAT(TextsOf(node), ElementsAre("a=2:NoSchedule"));
  EXPECT_EQ(Change({"b-"}, &node).message(), "taint \"b\" not found");
}

TEST(ApplyTaintChanges, KeepsTheTimeOfATaintThatStays) {
  v1::Node node;
  ASSERT_TRUE(Change({"a=1:NoExecute"}, &node).ok());
  node.mutable_spec()->mutable_taints(0)->mutable_time_added()->set_seconds(7);
  ASSERT_TRUE(Change({"a=1:NoExecute"}, &node, true).ok());
  EXPECT_EQ(node.spec().taints(0).time_added().seconds(), 7);
  ASSERT_TRUE(Change({"a=2:NoExecute"}, &node, true).ok());
  EXPECT_FALSE(node.spec().taints(0).has_time_added());
}

}  // namespace
}  // namespace mesh::cli
