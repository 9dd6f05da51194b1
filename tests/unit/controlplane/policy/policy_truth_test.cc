// SPDX-License-Identifier: Apache-2.0
// The truth table of NetworkPolicies (tests/support/policy/policy_table.h) against the compiler
// alone, and against the model that judges the random tests.
#include "api/schema/defaults.h"
#include "cli/manifest/manifest.h"
#include "fmt/format.h"
#include "tests/support/policy/policy_table.h"
#include "tests/unit/controlplane/policy/policy_node.h"

namespace mesh::controlplane {
namespace {

using mesh::testing::PolicyModel;
using mesh::testing::TableCase;

std::vector<Pod> Pods() {
  std::vector<Pod> out;
  for (const char ns : mesh::testing::kTableNamespaces) {
    for (const char which : mesh::testing::kTablePods) {
      const std::string name = fmt::format("{}/{}", ns, which);
      const int node = static_cast<int>(out.size() % 3), number = static_cast<int>(out.size());
      out.push_back({name, mesh::testing::TablePod(name),
                     *IpAddress::Parse(fmt::format("10.244.{}.{}", node, 10 + number)),
                     *IpAddress::Parse(fmt::format("fd00:0:0:{}::{}", node, 10 + number))});
    }
  }
  return out;
}

class PolicyTruth : public ::testing::TestWithParam<TableCase> {};

TEST_P(PolicyTruth, CompilesToWhatIsWritten) {
  const TableCase& one = GetParam();
  std::vector<Pod> pods = Pods();
  std::map<std::string, std::string> addresses;
  for (const Pod& pod : pods) {
    addresses[pod.name] = pod.ip.ToString();
    addresses["6" + pod.name] = pod.ip6.ToString();
  }
  PolicyModel model;
  PolicyIndex index{{*IpPrefix::Parse("10.244.0.0/16"), *IpPrefix::Parse("fd00::/16")}};
  for (const char ns : mesh::testing::kTableNamespaces) {
    const std::string name(1, ns);
    model.namespaces[name] = {{"ns", name}, {"kubernetes.io/metadata.name", name}};
    schema::LabelMap labels;
    for (const auto& [key, value] : model.namespaces[name]) labels[key] = value;
    index.PutNamespace(name, labels);
  }
  manifest::Manifest manifest =
      manifest::Decode({{one.name, mesh::testing::TableManifest(one, addresses)}});
  for (const auto& problem : manifest.diagnostics) {
    ASSERT_EQ(problem.severity, manifest::Diagnostic::Severity::kWarning) << problem.ToString();
  }
  ASSERT_EQ(manifest.objects.size(), one.policies.size());
  for (manifest::Object& object : manifest.objects) {
    schema::ApplyDefaults(&object.resource);
    model.policies.push_back(object.resource.network_policy());
    index.PutPolicy(object.resource.network_policy());
  }
  uint32_t next_identity = 300;
  std::map<PodTraits, uint32_t> identities;
  for (Pod& pod : pods) {
    const PodTraits traits = TraitsOf(PodObject(pod), index.PodBlocks());
    const auto [it, is_new] = identities.try_emplace(traits, next_identity);
    if (is_new) index.AddIdentity(next_identity++, traits);
    pod.identity = it->second;
  }
  PolicyNode node;
  ASSERT_NO_FATAL_FAILURE(node.Take(index.Take()));

  for (const Pod& from : pods) {
    for (const Pod& to : pods) {
      if (from.name == to.name) continue;  // never forbidden, and not asked
      for (const bool v6 : {false, true}) {
        const PolicyModel::End client{&from.model, v6 ? from.ip6 : from.ip};
        const PolicyModel::End server{&to.model, v6 ? to.ip6 : to.ip};
        for (const uint8_t protocol : mesh::testing::kTableProtocols) {
          for (const uint16_t port : mesh::testing::kTablePorts) {
            const bool expected =
                mesh::testing::TableAllows(one, from.name, to.name, v6, protocol, port);
            const std::string what = fmt::format("{} -> {} {} {}/{}", from.name, to.name,
                                                 v6 ? "v6" : "v4", port, protocol);
            EXPECT_EQ(model.AllowsEgress(client, server, protocol, port).value_or(true) &&
                          model.AllowsIngress(client, server, protocol, port).value_or(true),
                      expected)
                << "model: " << what;
            EXPECT_EQ(node.Allows(Direction::kEgress, from.identity, to.identity, server.address,
                                  protocol, port)
                              .value_or(true) &&
                          node.Allows(Direction::kIngress, to.identity, from.identity,
                                      client.address, protocol, port)
                              .value_or(true),
                      expected)
                << "compiler: " << what;
          }
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, PolicyTruth, ::testing::ValuesIn(mesh::testing::PolicyTable()),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace mesh::controlplane
