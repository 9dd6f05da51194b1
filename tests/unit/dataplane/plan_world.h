// SPDX-License-Identifier: Apache-2.0
// Small worlds for tests of the planner, and the way from one to the next.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/plan/plan.h"
#include "fmt/format.h"

namespace mesh::dataplane {

inline IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }
inline IpPrefix Range(const std::string& text) { return *IpPrefix::Parse(text); }

inline NodeConfig ThisNode() {
  return {"node1",
          Ip("192.0.2.1"),
          Range("10.244.1.0/24"),
          Range("10.244.0.0/16"),
          Range("10.96.0.0/16"),
          Ip("10.244.1.1"),
          1500};
}

inline NodeConfig DualStackNode() {
  NodeConfig out = ThisNode();
  out.node_ip6 = Ip("2001:db8::1");
  out.pod_cidr6 = Range("fd00:10:244:1::/64");
  out.cluster_cidr6 = Range("fd00:10:244::/48");
  out.service_cidr6 = Range("fd00:10:96::/112");
  out.gateway6 = Ip("fd00:10:244:1::1");
  return out;
}

inline Backend At(const std::string& ip, BackendState state = BackendState::kActive) {
  return {Ip(ip), 8080, state, "node1", "pod"};
}

inline Service Web(std::vector<Backend> backends) {
  return {
      "shop", "web", Ip("10.96.0.10"), 256, {{"http", Protocol::kTcp, 80, std::move(backends)}}};
}

inline DesiredState With(Service service) {
  DesiredState desired;
  desired.complete = true;
  desired.services[service.ns + "/" + service.name] = std::move(service);
  return desired;
}

// What a packet may rely on at any moment: a frontend's set is there, and a set's backends are.
inline void ExpectSound(const Observed& observed) {
  for (const auto& [frontend, entry] : observed.frontends) {
    ASSERT_NE(observed.FindSet(entry.service_id, entry.scope), nullptr)
        << "a frontend names a set that is not there";
  }
  for (const auto& [id, service] : observed.services) {
    for (const auto& set : service.sets) {
      if (!set.has_value()) continue;
      for (const uint32_t backend : set->slots) {
        ASSERT_TRUE(observed.backends.contains(backend)) << "a set holds backend " << backend;
      }
    }
  }
}

// As when the flows of all backends that have left are over.
inline Observed AfterTheirFlows(Observed observed) {
  std::set<uint32_t> unused = observed.Left(Family::kV4);
  unused.insert(observed.Left(Family::kV6).begin(), observed.Left(Family::kV6).end());
  for (const Action& action : GiveBack(unused, observed)) Perform(action, observed);
  return observed;
}

inline const Frontend kWeb = {IpAddress::V4(0x0a60000a), 80, Protocol::kTcp};

// Plans and carries out; checks after each action that no reference dangles.
inline Observed Converge(const DesiredState& desired, Observed observed, NextIds& next,
                         const NodeConfig& node = ThisNode()) {
  const Plan plan = ComputePlan(node, desired, observed, next);
  for (const Action& action : plan.actions) {
    Perform(action, observed);
    ExpectSound(observed);
  }
  return observed;
}

inline std::vector<uint32_t> Slots(const Observed& observed, const Frontend& frontend) {
  const FrontendEntry& entry = observed.frontends.at(frontend);
  return observed.FindSet(entry.service_id, entry.scope)->slots;
}

// A Service with every kind of frontend.
inline Service Everywhere(std::vector<Backend> backends) {
  Service service = Web(std::move(backends));
  service.ports[0].node_port = 30080;
  service.load_balancer_ips = {Ip("192.0.2.200")};
  service.external_ips = {Ip("198.51.100.7")};
  service.source_ranges = {Range("203.0.113.0/24")};
  service.announced = true;
  service.direct_return = true;
  service.affinity_seconds = 60;
  return service;
}

inline const Frontend kNodePort = {IpAddress::V4(0), 30080, Protocol::kTcp};
inline const Frontend kBalanced = {IpAddress::V4(0xc00002c8), 80, Protocol::kTcp};
inline const Frontend kExternal = {IpAddress::V4(0xc6336407), 80, Protocol::kTcp};

// The same in IPv6: 10.244.1.10 becomes fd00::10.244.1.10.
inline IpAddress InIpv6(const IpAddress& ip) { return Ip("fd00::" + ip.ToString()); }
inline Service InIpv6(Service service) {
  service.family = Family::kV6;
  if (service.cluster_ip != IpAddress()) service.cluster_ip = InIpv6(service.cluster_ip);
  for (IpAddress& ip : service.load_balancer_ips) ip = InIpv6(ip);
  for (IpAddress& ip : service.external_ips) ip = InIpv6(ip);
  for (IpPrefix& range : service.source_ranges) {
    range = Range(fmt::format("fd00::{}/{}", range.base().ToString(), 96 + range.length()));
  }
  for (ServicePort& port : service.ports) {
    for (Backend& backend : port.backends) backend.ip = InIpv6(backend.ip);
  }
  return service;
}

}  // namespace mesh::dataplane
