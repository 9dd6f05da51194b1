// SPDX-License-Identifier: Apache-2.0
// What can be said of a Service's families without knowing the cluster, and how they change.
#include "api/schema/defaults.h"
#include "api/schema/validate.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

using ::testing::ElementsAre;

struct Given {
  std::vector<std::string> ips;
  std::vector<std::string> families;
  std::string policy;
};

v1::Resource With(const Given& given) {
  v1::Resource out = ValidService();
  v1::ServiceSpec* spec = out.mutable_service()->mutable_spec();
  (*spec->mutable_selector())["app"] = "web";
  if (!given.ips.empty()) spec->set_cluster_ip(given.ips[0]);
  spec->mutable_cluster_ips()->Assign(given.ips.begin(), given.ips.end());
  spec->mutable_ip_families()->Assign(given.families.begin(), given.families.end());
  spec->set_ip_family_policy(given.policy);
  ApplyDefaults(&out);
  return out;
}

std::string Check(const Given& given) { return JoinProblems(Validate(With(given)), 100); }

TEST(ServiceFamilies, AreOneOfEachAtMost) {
  const std::string multiple =
      "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or "
      "PreferDualStack when multiple '";
  const std::pair<Given, std::string> cases[] = {
      {{{}, {}, ""}, ""},
      {{{}, {"IPv6"}, ""}, ""},
      {{{}, {"IPv6", "IPv4"}, "PreferDualStack"}, ""},
      {{{"10.96.0.7", "fd00::7"}, {}, "RequireDualStack"}, ""},
      {{{"fd00::7"}, {"IPv6"}, ""}, ""},
      {{{"None"}, {"IPv4", "IPv6"}, "PreferDualStack"}, ""},
      {{{}, {"IPv5"}, ""},
       "spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\""},
      {{{}, {"IPv4", "IPv4"}, "PreferDualStack"}, "spec.ipFamilies[1]: Duplicate value: \"IPv4\""},
      {{{}, {}, "Both"},
       "spec.ipFamilyPolicy: Unsupported value: \"Both\": supported values: \"SingleStack\", "
       "\"PreferDualStack\", \"RequireDualStack\""},
      {{{}, {"IPv4", "IPv6"}, ""}, multiple + "ipFamilies' are specified"},
      {{{"10.96.0.7", "fd00::7"}, {}, "SingleStack"}, multiple + "clusterIPs' are specified"},
      {{{"10.96.0.7", "10.96.0.8"}, {}, "PreferDualStack"},
       "spec.clusterIPs: Invalid value: [\"10.96.0.7\", \"10.96.0.8\"]: may specify no more than "
       "one IP for each IP family"},
      {{{"10.96.0.7", "fd00::7", "fd00::8"}, {}, "PreferDualStack"},
       "spec.clusterIPs: Invalid value: [\"10.96.0.7\", \"fd00::7\", \"fd00::8\"]: may only hold "
       "up "
       "to 2 values"},
      {{{"10.96.0.7", "None"}, {}, "PreferDualStack"},
       "spec.clusterIPs[1]: Invalid value: \"None\": 'None' must be the first and only value"},
      {{{"None", "fd00::7"}, {}, "PreferDualStack"},
       "spec.clusterIPs: Invalid value: [\"None\", \"fd00::7\"]: 'None' must be the first and only "
       "value"},
      {{{"10.96.0.7", "fd00::g"}, {}, "PreferDualStack"},
       "spec.clusterIPs[1]: Invalid value: \"fd00::g\": must be a valid IP address"},
      {{{"10.96.0.7"}, {"IPv6"}, ""},
       "spec.clusterIP: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by "
       "`ipFamilies[0]`; to change the first family of a Service delete it and apply it again"},
      {{{"10.96.0.7", "fd00::7"}, {"IPv6", "IPv4"}, "PreferDualStack"},
       "spec.clusterIP: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by "
       "`ipFamilies[0]`; to change the first family of a Service delete it and apply it again; "
       "spec.clusterIPs[1]: Invalid value: \"fd00::7\": expected an IPv4 value as "
       "indicated by `ipFamilies[1]`"},
  };
  for (const auto& [given, problem] : cases) {
    EXPECT_EQ(Check(given), problem);
  }
}

TEST(ServiceFamilies, AreNothingForAName) {
  v1::Resource name = With({{}, {"IPv4"}, "SingleStack"});
  name.mutable_service()->mutable_spec()->set_type("ExternalName");
  name.mutable_service()->mutable_spec()->set_external_name("db.example.com");
  name.mutable_service()->mutable_spec()->clear_internal_traffic_policy();

  EXPECT_EQ(JoinProblems(Validate(name), 100),
            "spec.ipFamilies: Forbidden: may not be set for ExternalName services; "
            "spec.ipFamilyPolicy: Forbidden: may not be set for ExternalName services");
}

// What a manifest asks of `live`, and what is wrong with that.
v1::ServiceSpec Changed(const Given& live, const Given& file, std::string* problem) {
  const v1::Resource before = With(live);
  v1::Resource next = With(file);
  PrepareUpdate(before, &next);
  ApplyDefaults(&next);
  *problem = JoinProblems(Validate(next), 100);
  if (problem->empty()) *problem = JoinProblems(ValidateUpdate(before, next), 100);
  return next.service().spec();
}

const Given kDual = {{"10.96.0.7", "fd00::7"}, {"IPv4", "IPv6"}, "PreferDualStack"};
const Given kSingle = {{"10.96.0.7"}, {"IPv4"}, "SingleStack"};

TEST(ServiceFamilies, StayAsTheyAreWhenAManifestSaysNothing) {
  std::string problem;
  const v1::ServiceSpec next = Changed(kDual, {}, &problem);

  EXPECT_EQ(problem, "");
  EXPECT_EQ(next.ip_family_policy(), "PreferDualStack");
  EXPECT_THAT(next.ip_families(), ElementsAre("IPv4", "IPv6"));
  EXPECT_THAT(next.cluster_ips(), ElementsAre("10.96.0.7", "fd00::7"));
}

TEST(ServiceFamilies, KeepTheSecondOneThatAPolicyBrought) {
  std::string problem;
  const v1::ServiceSpec next =
      Changed(kDual, {{"10.96.0.7"}, {"IPv4"}, "PreferDualStack"}, &problem);

  EXPECT_EQ(problem, "");
  EXPECT_THAT(next.ip_families(), ElementsAre("IPv4", "IPv6"));
  EXPECT_THAT(next.cluster_ips(), ElementsAre("10.96.0.7", "fd00::7"));
}

TEST(ServiceFamilies, LoseTheSecondOneWithSingleStack) {
  for (const Given& file :
       {Given{{}, {}, "SingleStack"}, Given{kDual.ips, kDual.families, "SingleStack"}}) {
    std::string problem;
    const v1::ServiceSpec next = Changed(kDual, file, &problem);

    EXPECT_EQ(problem, "");
    EXPECT_THAT(next.ip_families(), ElementsAre("IPv4"));
    EXPECT_THAT(next.cluster_ips(), ElementsAre("10.96.0.7"));
  }
}

TEST(ServiceFamilies, AreTheSameHoweverAnAddressIsWritten) {
  std::string problem;
  const v1::ServiceSpec next =
      Changed({{"fd00::7"}, {"IPv6"}, "SingleStack"}, {{"FD00:0:0::7"}, {}, ""}, &problem);

  EXPECT_EQ(problem, "");
  EXPECT_THAT(next.cluster_ips(), ElementsAre("fd00::7"));
  EXPECT_EQ(next.cluster_ip(), "fd00::7");
}

TEST(ServiceFamilies, GetASecondOne) {
  std::string problem;
  const v1::ServiceSpec next = Changed(kSingle, {{}, {}, "RequireDualStack"}, &problem);

  EXPECT_EQ(problem, "");
  EXPECT_THAT(next.ip_families(), ElementsAre("IPv4"));  // admission adds the other
  EXPECT_THAT(next.cluster_ips(), ElementsAre("10.96.0.7"));

  Changed(kSingle, {{"10.96.0.7", "fd00::9"}, {}, "PreferDualStack"}, &problem);
  EXPECT_EQ(problem, "");
}

TEST(ServiceFamilies, KeepTheFirstOne) {
  std::string problem;
  Changed(kSingle, {{}, {"IPv6"}, "SingleStack"}, &problem);
  EXPECT_EQ(
      problem,
      "spec.clusterIP: Invalid value: \"10.96.0.7\": expected an IPv6 value as indicated by "
      "`ipFamilies[0]`; to change the first family of a Service delete it and apply it again");

  Changed(kDual, {kDual.ips, {"IPv6", "IPv4"}, "PreferDualStack"}, &problem);
  EXPECT_NE(problem, "");

  Changed({{"None"}, {"IPv4"}, "SingleStack"}, {{"None"}, {"IPv6"}, "SingleStack"}, &problem);
  EXPECT_EQ(problem,
            "spec.ipFamilies[0]: Invalid value: [\"IPv6\"]: may not change once set; "
            "to change it delete the Service and apply it again");

  Changed(kDual, {{"10.96.0.7", "fd00::9"}, {}, "PreferDualStack"}, &problem);
  EXPECT_EQ(problem,
            "spec.clusterIPs[1]: Invalid value: [\"10.96.0.7\", \"fd00::9\"]: may not change once "
            "set");
}

}  // namespace
}  // namespace mesh::schema
