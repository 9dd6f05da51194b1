// SPDX-License-Identifier: Apache-2.0
// Goal: every promise is asked between every pair of nodes, and what breaks one is told.
#include "cli/commands/connectivity_plan.h"

#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::cli {
namespace {

using ::testing::HasSubstr;

ProbePlan TwoNodes() {
  return {.ns_a = "t-a",
          .ns_b = "t-b",
          .nodes = {{.name = "n1", .image = "i", .addresses = {"192.0.2.1", "2001:db8::1"}},
                    {.name = "n2", .image = "i", .addresses = {"192.0.2.2"}}},
          .cluster_domain = "cluster.local"};
}

// The objects as a dual-stack cluster would have them.
ProbeFound Found(const ProbePlan& plan) {
  ProbeFound out;
  int number = 1;
  for (v1::Resource& resource : ProbeObjects(plan)) {
    ++number;
    if (resource.has_pod()) {
      v1::Pod pod = resource.pod();
      pod.mutable_status()->add_pod_ips()->set_ip("10.244.0." + std::to_string(number));
      pod.mutable_status()->add_pod_ips()->set_ip("fd00::" + std::to_string(number));
      out.pods.push_back(pod);
      continue;
    }
    v1::Service service = resource.service();
    v1::ServiceSpec& spec = *service.mutable_spec();
    spec.add_ip_families("IPv4");
    spec.add_ip_families("IPv6");
    if (spec.cluster_ip() != "None") {
      spec.add_cluster_ips("10.96.0." + std::to_string(number));
      spec.add_cluster_ips("fd96::" + std::to_string(number));
    }
    if (spec.type() == "NodePort")
      for (v1::ServicePort& port : *spec.mutable_ports()) port.set_node_port(30000 + number);
    if (spec.type() == "LoadBalancer")
      service.mutable_status()->mutable_load_balancer()->add_ingress()->set_ip("192.0.2.200");
    out.services.push_back(service);
  }
  return out;
}

TEST(PlanChecks, AsksEachPromiseBetweenEachPair) {
  const ProbePlan plan = TwoNodes();
  std::map<std::string, int> count;
  for (const Check& check : PlanChecks(plan, Found(plan))) ++count[check.promise];

  const std::map<std::string, int> expected = {
      {"pod to pod, TCP, IPv4", 2},
      {"pod to pod, TCP, IPv6", 2},
      {"pod to pod, UDP, IPv4", 2},
      {"pod to pod, UDP, IPv6", 2},
      {"full-sized packets, UDP, IPv4", 2},
      {"full-sized packets, UDP, IPv6", 2},
      {"ClusterIP, TCP, IPv4", 4},
      {"ClusterIP, TCP, IPv6", 4},
      {"ClusterIP, UDP, IPv4", 4},
      {"ClusterIP, UDP, IPv6", 4},
      {"node port, TCP, IPv4", 4},
      {"node port, TCP, IPv6", 2},
      {"node port, UDP, IPv4", 4},
      {"node port, UDP, IPv6", 2},
      {"load balancer address, TCP, IPv4", 2},
      {"load balancer address, UDP, IPv4", 2},
      {"external address, TCP, IPv4", 2},
      {"external address, UDP, IPv4", 2},
      {"refusal without backends, TCP, IPv4", 2},
      {"refusal without backends, TCP, IPv6", 2},
      {"refusal without backends, UDP, IPv4", 2},
      {"refusal without backends, UDP, IPv6", 2},
      {"names of Services", 2},
      {"names of headless Services", 2},
      {"names that do not exist", 2},
      {"another namespace's Service, TCP, IPv4", 4},
      {"another namespace's Service, TCP, IPv6", 4},
      {"another namespace's Service, UDP, IPv4", 4},
      {"another namespace's Service, UDP, IPv6", 4},
      {"isolation between namespaces, TCP, IPv4", 4},
      {"isolation between namespaces, TCP, IPv6", 4},
      {"isolation between namespaces, UDP, IPv4", 4},
      {"isolation between namespaces, UDP, IPv6", 4},
  };
  EXPECT_EQ(count, expected);
}

TEST(PlanChecks, IsolationWantsSilenceUntilTheNamespaceIsOpen) {
  const ProbePlan plan = TwoNodes();
  int closed = 0;
  for (const Check& check : PlanChecks(plan, Found(plan)))
    closed += check.expected == v1::ProbeResponse::TIMED_OUT;
  EXPECT_EQ(closed, 16);

  const auto open = PlanOpenChecks(plan, Found(plan));
  EXPECT_EQ(open.size(), 16u);
  for (const Check& check : open) {
    EXPECT_EQ(check.expected, v1::ProbeResponse::ANSWERED);
    EXPECT_EQ(check.from_ns, "t-b");
    EXPECT_EQ(check.answerers.size(), 1u);
  }
}

TEST(PlanChecks, PoliciesAdmitTcpOfTheOtherNamespaceOnly) {
  const ProbePlan plan = TwoNodes();
  std::map<std::string, int> count;
  for (const Check& check : PlanPolicyChecks(plan, Found(plan))) {
    ++count[check.promise];
    const bool admitted = check.promise.starts_with("what policies admit");
    EXPECT_EQ(check.expected,
              admitted ? v1::ProbeResponse::ANSWERED : v1::ProbeResponse::TIMED_OUT);
  }
  const std::map<std::string, int> expected = {
      {"what policies admit, TCP, IPv4", 4},   {"what policies admit, TCP, IPv6", 4},
      {"what no policy admits, UDP, IPv4", 4}, {"what no policy admits, UDP, IPv6", 4},
      {"what no policy admits, TCP, IPv4", 2}, {"what no policy admits, TCP, IPv6", 2},
      {"names that a policy keeps away", 2},
  };
  EXPECT_EQ(count, expected);
}

TEST(PlanChecks, ProbesStandOnTheirNodes) {
  const ProbePlan plan = TwoNodes();
  std::map<std::string, int> pods;
  for (const v1::Resource& resource : ProbeObjects(plan))
    if (resource.has_pod()) ++pods[resource.pod().spec().node_name()];
  EXPECT_EQ(pods, (std::map<std::string, int>{{"n1", 2}, {"n2", 2}}));
}

TEST(Broken, TellsWhatCameInstead) {
  Check check;
  check.request.mutable_dial();
  check.answerers = {"probe-1"};
  v1::ProbeResponse response;
  response.set_outcome(v1::ProbeResponse::ANSWERED);
  response.set_answered_by("probe-1");
  EXPECT_EQ(Broken(check, response), "");
  response.set_answered_by("probe-2");
  EXPECT_EQ(Broken(check, response), "an answer by \"probe-2\" instead of probe-1");
  response.set_outcome(v1::ProbeResponse::TIMED_OUT);
  EXPECT_THAT(Broken(check, response), HasSubstr("instead of an answer"));
  response.set_packet_bytes(1450);
  EXPECT_THAT(Broken(check, response), HasSubstr("no answer to packets of 1450 bytes, the MTU"));
  response.set_outcome(v1::ProbeResponse::ANSWERED);
  check.expected = v1::ProbeResponse::TIMED_OUT;
  EXPECT_EQ(Broken(check, response), "an answer by probe-2 instead of no answer");

  Check name;
  name.request.mutable_resolve();
  name.addresses = {"10.96.0.1", "10.96.0.2"};
  v1::ProbeResponse addresses;
  addresses.set_outcome(v1::ProbeResponse::ANSWERED);
  EXPECT_THAT(Broken(name, addresses), HasSubstr("(none) instead of 10.96.0.1, 10.96.0.2"));
  addresses.add_addresses("10.96.0.1");
  EXPECT_THAT(Broken(name, addresses), HasSubstr("10.96.0.1 instead of"));
  addresses.set_truncated(true);
  EXPECT_EQ(Broken(name, addresses), "");
  addresses.add_addresses("10.96.0.9");
  EXPECT_THAT(Broken(name, addresses), HasSubstr("10.96.0.9"));
}

}  // namespace
}  // namespace mesh::cli
