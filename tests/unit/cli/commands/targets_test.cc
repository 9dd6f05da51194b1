// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/targets.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/output/objects.h"

namespace mesh::cli {
namespace {

constexpr TypeRef kPod{v1::KIND_POD}, kService{v1::KIND_SERVICE}, kNode{v1::KIND_NODE};

std::vector<Target> Of(const std::vector<std::string>& args, bool all_namespaces = false) {
  auto targets = ParseTargets(args, "shop", all_namespaces);
  EXPECT_TRUE(targets.ok()) << targets.status();
  return targets.value_or(std::vector<Target>());
}

std::string ErrorOf(const std::vector<std::string>& args, bool all_namespaces = false) {
  return std::string(ParseTargets(args, "shop", all_namespaces).status().message());
}

TEST(ParseTargets, ReadsATypeWithAndWithoutNames) {
  EXPECT_EQ(Of({"pods"}), (std::vector<Target>{{kPod, "shop", ""}}));
  EXPECT_EQ(Of({"po", "a", "b"}), (std::vector<Target>{{kPod, "shop", "a"}, {kPod, "shop", "b"}}));
  EXPECT_EQ(Of({"pods"}, true), (std::vector<Target>{{kPod, "", ""}}));
}

TEST(ParseTargets, ReadsSeveralTypes) {
  EXPECT_EQ(Of({"pods,svc"}), (std::vector<Target>{{kPod, "shop", ""}, {kService, "shop", ""}}));
  EXPECT_EQ(Of({"pod,svc", "web"}),
            (std::vector<Target>{{kPod, "shop", "web"}, {kService, "shop", "web"}}));
  EXPECT_EQ(Of({"all"}).size(), 4U);
}

TEST(ParseTargets, ReadsSlashedNames) {
  EXPECT_EQ(Of({"pod/a", "svc/b"}),
            (std::vector<Target>{{kPod, "shop", "a"}, {kService, "shop", "b"}}));
}

TEST(ParseTargets, GivesClusterWideKindsNoNamespace) {
  EXPECT_EQ(Of({"node", "n1"}), (std::vector<Target>{{kNode, "", "n1"}}));
}

TEST(ParseTargets, KnowsEndpoints) {
  EXPECT_EQ(Of({"ep"}), (std::vector<Target>{{{v1::KIND_ENDPOINT_SLICE, true}, "shop", ""}}));
}

TEST(ParseTargets, RefusesWhatNamesNothingOrMixesForms) {
  EXPECT_EQ(ErrorOf({"foo"}), "the server doesn't have a resource type \"foo\"");
  EXPECT_EQ(ErrorOf({"pod/"}),
            "arguments in resource/name form must have a single resource and name");
  EXPECT_EQ(ErrorOf({"pod/a/b"}),
            "arguments in resource/name form must have a single resource and name");
  EXPECT_EQ(ErrorOf({"pod/a", "b"}).rfind("there is no need to specify a resource type", 0), 0U);
  EXPECT_EQ(ErrorOf({"pod", "pod/a"}).rfind("there is no need to specify a resource type", 0), 0U);
  EXPECT_EQ(ErrorOf({"pod", "a"}, true),
            "a resource cannot be retrieved by name across all namespaces");
}

TEST(ChooseContainer, TakesTheFirstAndSaysSoWhenThereAreMore) {
  v1::Pod pod = Parse<v1::Pod>(
      "metadata { name: 'p' } spec { containers { name: 'a' } containers { name: "
      "'b' } }");
  std::string note;

  EXPECT_EQ(ChooseContainer(pod, "", &note).value(), "a");
  EXPECT_EQ(note, "Defaulted container \"a\" out of: a, b");
  EXPECT_EQ(ChooseContainer(pod, "b", &note).value(), "b");
  EXPECT_EQ(ChooseContainer(pod, "c", &note).status().message(),
            "container c is not valid for pod p");
}

}  // namespace
}  // namespace mesh::cli
