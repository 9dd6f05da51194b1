// SPDX-License-Identifier: Apache-2.0
// Goal: what must hold of plans between any two worlds. Method: random pairs and walks, by seed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "common/random.h"
#include "dataplane/plan/plan.h"
#include "fmt/format.h"
#include "tests/unit/dataplane/plan_world.h"

namespace mesh::dataplane {
namespace {

Service RandomService(const std::string& name, Random& random) {
  Service service{"ns", name, IpAddress(), static_cast<uint32_t>(256 + random.Below(2)), {}};
  // A few have the address of another, so that they clash and change places.
  service.cluster_ip = IpAddress::V4(0x0a600000 + static_cast<uint32_t>(name[1] / 2));
  if (random.Below(8) == 0) service.cluster_ip = IpAddress();
  const auto algorithm = [&] { return static_cast<Algorithm>(random.Below(3)); };
  service.internal_algorithm = algorithm();
  service.external_algorithm = algorithm();
  service.affinity_seconds = static_cast<uint32_t>(random.Below(2) * 60);
  service.direct_return = random.Below(2) == 0;
  service.announced = random.Below(2) == 0;
  if (random.Below(3) == 0) {
    service.load_balancer_ips = {
        IpAddress::V4(0xc0000200 + static_cast<uint32_t>(random.Below(3)))};
  }
  if (random.Below(3) == 0) {
    service.external_ips = {IpAddress::V4(0xc6336400 + static_cast<uint32_t>(random.Below(3)))};
  }
  for (uint64_t r = random.Below(3); r > 0; --r) {
    service.source_ranges.push_back(Range(fmt::format("203.0.{}.0/24", random.Below(3))));
  }
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    ServicePort port{"", protocol, static_cast<uint16_t>(80 + random.Below(2)), {}};
    if (random.Below(3) == 0) port.node_port = static_cast<uint16_t>(30000 + random.Below(3));
    for (uint64_t b = random.Below(5); b > 0; --b) {
      Backend backend = At(fmt::format("10.244.1.{}", 10 + random.Below(6)));
      if (random.Below(3) == 0) backend.state = BackendState::kDraining;
      backend.scopes = static_cast<uint8_t>(random.Below(4));
      backend.weight = static_cast<uint16_t>(1 + random.Below(3));
      const bool twice = std::any_of(port.backends.begin(), port.backends.end(),
                                     [&](const Backend& other) { return other.ip == backend.ip; });
      if (!twice) port.backends.push_back(backend);
    }
    service.ports.push_back(std::move(port));
  }
  return service;
}

DesiredState RandomState(Random& random) {
  DesiredState out;
  out.complete = true;
  for (uint64_t s = random.Below(6); s > 0; --s) {
    const std::string name = fmt::format("s{}", random.Below(6));
    out.services["ns/" + name] = RandomService(name, random);
    if (random.Below(2) == 0)
      out.services["ns/" + name + "#6"] = InIpv6(RandomService(name, random));
  }
  for (uint64_t p = random.Below(4); p > 0; --p) {
    const uint64_t n = 2 + random.Below(5);
    const std::string name = fmt::format("node{}", n);
    out.peers[name] = {name, Ip(fmt::format("192.0.2.{}", n + random.Below(2) * 100)),
                       Range(fmt::format("10.244.{}.0/24", n))};
    if (random.Below(3) == 0) continue;
    out.peers[name].pod_cidr6 = Range(fmt::format("fd00:10:244:{}::/64", n));
    out.peers[name].ip6 = Ip(fmt::format("2001:db8::{}", n + random.Below(2)));
  }
  for (uint64_t i = random.Below(4); i > 0; --i) {
    const auto identity = static_cast<uint32_t>(256 + random.Below(4));
    out.namespaces[identity] = {"ns", static_cast<Isolation>(random.Below(3))};
  }
  return out;
}

TEST(ComputePlan, IsDoneAfterOneRoundFromAnyStateToAnyOther) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    SCOPED_TRACE(fmt::format("seed={}", seed));
    Random random(seed);
    NextIds next;
    const DesiredState from = RandomState(random), to = RandomState(random);
    const Observed observed =
        Converge(to, Converge(from, Observed(), next, DualStackNode()), next, DualStackNode());

    const Plan again = ComputePlan(DualStackNode(), to, observed, next);

    ASSERT_TRUE(again.actions.empty());
    ASSERT_FALSE(again.judge_flows_again);
  }
}

// What differs between two equal worlds of different histories: numbers, how often a set changed,
// and who has left. Everything else, by what packets see.
std::string Seen(const Observed& now) {
  const Observed observed = AfterTheirFlows(now);
  std::string out;
  for (const auto& [frontend, entry] : observed.frontends) {
    out += fmt::format("{}:{}/{} scope {} identity {} affinity {} ranges {} direct {}",
                       frontend.vip.ToString(), frontend.port, static_cast<int>(frontend.protocol),
                       static_cast<int>(entry.scope), entry.identity, entry.affinity_seconds,
                       entry.source_ranges, entry.direct_return);
    const SetEntry& set = *observed.FindSet(entry.service_id, entry.scope);
    out += fmt::format(" algorithm {} table {}:", static_cast<int>(set.algorithm), set.table_size);
    for (const uint32_t id : set.slots) out += " " + observed.backends.at(id).ip.ToString();
    for (const IpPrefix& range : observed.services.at(entry.service_id).source_ranges) {
      out += " from " + range.ToString();
    }
    for (const auto& [address, id] : observed.services.at(entry.service_id).backend_ids) {
      const BackendEntry& backend = observed.backends.at(id);
      out += fmt::format(" {}/{}/{}/{}/{}", backend.ip.ToString(), static_cast<int>(backend.state),
                         backend.weight, backend.scopes, backend.counted);
    }
    out += "\n";
  }
  for (const OutsidePlace& place : observed.outside) {
    out += fmt::format("outside {} {} {} {}\n", static_cast<int>(place.kind),
                       place.range.ToString(), place.port, static_cast<int>(place.protocol));
  }
  return out +
         fmt::format("{} backends, {} numbers", observed.backends.size(), observed.services.size());
}

// An endless life of one planner, told only what changes, against a new one at every step.
TEST(Planner, ToldOnlyWhatChangesReachesTheSameAsOneThatLooksAtEverything) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    Random random(seed);
    Planner planner(DualStackNode());
    DesiredState desired = RandomState(random);
    Observed observed;
    for (int step = 0; step < 12; ++step) {
      SCOPED_TRACE(fmt::format("seed={} step={}", seed, step));
      const Plan plan = planner.Compute(desired, observed);
      for (const Action& action : plan.actions) {
        Perform(action, observed);
        ExpectSound(observed);
      }
      NextIds other;
      const Observed fresh = Converge(desired, Observed(), other, DualStackNode());
      ASSERT_EQ(Seen(observed), Seen(fresh));
      ASSERT_EQ(plan.problem, ComputePlan(DualStackNode(), desired, Observed(), other).problem);
      Observed copy = observed;
      desired.changed_services.emplace();
      ASSERT_TRUE(planner.Compute(desired, copy).actions.empty());

      for (uint64_t n = random.Below(3); n > 0; --n) {
        const std::string name = fmt::format("s{}", random.Below(6));
        const bool is_ipv6 = random.Below(2) == 0;
        const std::string key = "ns/" + name + (is_ipv6 ? "#6" : "");
        desired.changed_services->push_back(key);
        if (random.Below(3) == 0) {
          desired.services.erase(key);
        } else {
          desired.services[key] = RandomService(name, random);
          if (is_ipv6) desired.services[key] = InIpv6(desired.services[key]);
        }
      }
      if (random.Below(4) == 0) {
        desired.peers = RandomState(random).peers;
        desired.namespaces = RandomState(random).namespaces;
      }
      if (random.Below(6) == 0) planner.Forget();
    }
  }
}

TEST(ComputePlan, NeverGivesOneBackendNumberToTwoPlaces) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(fmt::format("seed={}", seed));
    Random random(seed);
    NextIds next;
    Observed observed;
    std::map<uint32_t, std::pair<uint32_t, IpAddress>> given;
    for (int round = 0; round < 6; ++round) {
      observed = Converge(RandomState(random), observed, next);
      for (const auto& [id, entry] : observed.backends) {
        const auto [it, is_new] = given.try_emplace(id, entry.service_id, entry.ip);
        ASSERT_EQ(it->second, std::pair(entry.service_id, entry.ip)) << "backend " << id;
      }
    }
  }
}

}  // namespace
}  // namespace mesh::dataplane
