// SPDX-License-Identifier: Apache-2.0
// Defaults and rules of NetworkPolicy.
#include <functional>

#include "api/schema/defaults.h"
#include "api/schema/merge.h"
#include "api/schema/validate.h"
#include "gtest/gtest.h"
#include "tests/unit/api/from_text.h"

namespace mesh::schema {
namespace {

v1::Resource Policy(const std::string& spec) {
  return FromText("network_policy { metadata { name: \"p\" } spec { " + spec + " } }");
}

std::string Check(const std::string& spec) {
  v1::Resource resource = Policy(spec);
  ApplyDefaults(&resource);
  return JoinProblems(Validate(resource), 100);
}

std::string Warned(const std::string& spec) {
  v1::Resource resource = Policy(spec);
  ApplyDefaults(&resource);
  return JoinProblems(Warnings(resource), 100);
}

std::string TypesOf(const std::string& spec) {
  v1::Resource resource = Policy(spec);
  ApplyDefaults(&resource);
  std::string out;
  for (const auto& type : resource.network_policy().spec().policy_types()) out += type + " ";
  return out;
}

TEST(NetworkPolicy, TypesFollowFromTheRules) {
  EXPECT_EQ(TypesOf(""), "Ingress ");
  EXPECT_EQ(TypesOf("ingress { }"), "Ingress ");
  EXPECT_EQ(TypesOf("egress { }"), "Ingress Egress ");
  EXPECT_EQ(TypesOf("policy_types: \"Egress\""), "Egress ");
}

TEST(NetworkPolicy, AbsentMetadataAloneIsEnough) {
  v1::Resource resource = FromText("network_policy { metadata { name: \"p\" } }");
  ApplyDefaults(&resource);
  EXPECT_EQ(JoinProblems(Validate(resource), 100), "");
  EXPECT_EQ(resource.network_policy().spec().policy_types(0), "Ingress");
}

TEST(NetworkPolicy, PortsAreTcpWhenNothingIsSaid) {
  v1::Resource resource = Policy("ingress { ports { port { int_value: 80 } } }");
  ApplyDefaults(&resource);
  EXPECT_EQ(resource.network_policy().spec().ingress(0).ports(0).protocol(), "TCP");
}

// Of a policy that was applied as `last`, and then as `file`.
std::string TypesAfter(const std::string& last, const std::string& file) {
  v1::Resource live = Policy(last);
  ApplyDefaults(&live);
  const v1::Resource before = Policy(last);
  v1::Resource merged = ThreeWayMerge(&before, Policy(file), live);
  ApplyDefaults(&merged);
  std::string out;
  for (const auto& type : merged.network_policy().spec().policy_types()) out += type + " ";
  return out;
}

TEST(NetworkPolicy, TypesAreWhatTheLastFileSays) {
  EXPECT_EQ(TypesAfter("", "policy_types: \"Egress\""), "Egress ");
  EXPECT_EQ(TypesAfter("policy_types: \"Egress\"", "policy_types: \"Ingress\""), "Ingress ");
  EXPECT_EQ(TypesAfter("policy_types: \"Egress\"", ""), "Ingress ");
}

TEST(NetworkPolicy, TypesThatNobodyGaveFollowTheRules) {
  EXPECT_EQ(TypesAfter("", "egress { }"), "Ingress Egress ");
  EXPECT_EQ(TypesAfter("egress { }", ""), "Ingress ");
}

TEST(NetworkPolicy, TypesThatSomebodyElseGaveStay) {
  v1::Resource live = Policy("policy_types: \"Egress\"");
  const v1::Resource file = Policy("");
  EXPECT_EQ(ThreeWayMerge(&file, file, live).network_policy().spec().policy_types(0), "Egress");
}

struct Case {
  const char* problem;
  const char* spec;
};

class NetworkPolicyRules : public ::testing::TestWithParam<Case> {};

TEST_P(NetworkPolicyRules, AreChecked) { EXPECT_EQ(Check(GetParam().spec), GetParam().problem); }

INSTANTIATE_TEST_SUITE_P(
    , NetworkPolicyRules,
    ::testing::Values(
        Case{"", "ingress { ports { protocol: \"UDP\" port { string_value: \"dns\" } } }"},
        Case{"", "ingress { ports { port { int_value: 8000 } end_port: 8000 } }"},
        Case{"", "ingress { from { pod_selector { } namespace_selector { } } }"},
        Case{"", "egress { to { ip_block { cidr: \"10.0.0.7/8\" except: \"10.1.2.3/16\" } } }"},
        Case{"", "egress { to { ip_block { cidr: \"::/0\" except: \"fd00::/8\" } } }"},
        Case{"spec.podSelector.matchExpressions[0].operator: Unsupported value: \"Is\": supported "
             "values: \"In\", \"NotIn\", \"Exists\", \"DoesNotExist\"; did you mean \"In\"?",
             "pod_selector { match_expressions { key: \"a\" operator: \"Is\" } }"},
        Case{
            "spec.ingress[0].from[0].namespaceSelector.matchExpressions[0].values: Required value: "
            "must be specified when `operator` is 'In' or 'NotIn'",
            "ingress { from { namespace_selector { match_expressions { key: \"a\" operator: \"In\" "
            "} } } }"},
        Case{"spec.ingress[0].ports[0].port: Invalid value: 65536: must be between 1 and 65535, "
             "inclusive",
             "ingress { ports { port { int_value: 65536 } } }"},
        Case{"spec.ingress[0].ports[0].port: Invalid value: \"9\": must contain at least one "
             "letter (a-z)",
             "ingress { ports { port { string_value: \"9\" } } }"},
        Case{
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to "
            "`port`",
            "ingress { ports { port { int_value: 80 } end_port: 79 } }"},
        Case{"spec.ingress[0].ports[0].endPort: Invalid value: 70000: must be between 1 and 65535, "
             "inclusive",
             "ingress { ports { port { int_value: 80 } end_port: 70000 } }"},
        Case{
            "spec.ingress[0].ports[0].endPort: Invalid value: 90: may not be specified when `port` "
            "is non-numeric",
            "ingress { ports { port { string_value: \"web\" } end_port: 90 } }"},
        Case{"spec.egress[0].ports[0].port: Required value: must be specified when `endPort` is "
             "specified",
             "egress { ports { end_port: 90 } }"},
        Case{"spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: "
             "\"TCP\", \"UDP\", \"SCTP\"",
             "ingress { ports { protocol: \"ICMP\" } }"},
        Case{"spec.ingress[0].from[0]: Required value: must specify a peer",
             "ingress { from { } }"},
        Case{"spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer",
             "egress { to { pod_selector { } ip_block { cidr: \"10.0.0.0/8\" } } }"},
        Case{"spec.egress[0].to[0].ipBlock.cidr: Required value", "egress { to { ip_block { } } }"},
        Case{"spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"10.0.0.1\": must be a valid "
             "address range, e.g. 10.9.8.0/24",
             "egress { to { ip_block { cidr: \"10.0.0.1\" } } }"},
        Case{"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"11.0.0.0/16\": must be a "
             "strict subset of `cidr` (10.0.0.0/8)",
             "egress { to { ip_block { cidr: \"10.0.0.0/8\" except: \"11.0.0.0/16\" } } }"},
        Case{"spec.egress[0].to[0].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a "
             "strict subset of `cidr` (10.0.0.0/8)",
             "egress { to { ip_block { cidr: \"10.0.0.0/8\" except: \"10.1.0.0/16\" except: "
             "\"10.0.0.0/8\" } } }"},
        Case{"spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"fd00::/16\": must be a "
             "strict subset of `cidr` (10.0.0.0/8)",
             "egress { to { ip_block { cidr: \"10.0.0.0/8\" except: \"fd00::/16\" } } }"},
        Case{
            "spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"x\": must be a valid address "
            "range, e.g. 10.9.8.0/24",
            "egress { to { ip_block { cidr: \"10.0.0.0/8\" except: \"x\" } } }"},
        Case{"spec.policyTypes[1]: Unsupported value: \"Both\": supported values: \"Egress\", "
             "\"Ingress\"",
             "policy_types: \"Ingress\" policy_types: \"Both\""},
        Case{"", "policy_types: \"Ingress\" policy_types: \"Ingress\""}));

TEST(NetworkPolicy, WarnsOfWhatDoesNothing) {
  EXPECT_EQ(Warned("ingress { }"), "");
  EXPECT_EQ(Warned("ingress { ports { protocol: \"SCTP\" } }"),
            "spec.ingress[0].ports: SCTP is not carried between pods: its ports allow nothing");
  EXPECT_EQ(Warned("policy_types: \"Egress\" ingress { }"),
            "spec.ingress: has no effect: policyTypes does not list Ingress");
  EXPECT_EQ(Warned("policy_types: \"Ingress\" egress { }"),
            "spec.egress: has no effect: policyTypes does not list Egress");
}

}  // namespace
}  // namespace mesh::schema
