// SPDX-License-Identifier: Apache-2.0
// The rows that a table hands out, put into maps as the kernel would have them, against the rules
// read one by one.
#include "dataplane/policy/policy_table.h"

#include <algorithm>

#include "common/random.h"
#include "fmt/format.h"
#include "gtest/gtest.h"
#include "tests/support/policy/policy_maps.h"

namespace mesh::dataplane {
namespace {

using mesh::testing::PolicyMaps;

constexpr uint8_t kTcp = 6, kUdp = 17, kIcmp = 1;
constexpr PolicyLimits kRoomy = {100'000, 100'000, 100'000};

// Who is at the other end: a pod, or an address.
struct Peer {
  uint32_t identity = 0;
  IpAddress address;
};

std::optional<Decision> Decided(const PolicyMaps& maps, const PolicyTable& table, uint32_t set,
                                const Peer& peer, uint8_t protocol, uint16_t port) {
  return maps.Decide(set, table.ClassOfEverybody(set).value(), peer.identity, peer.address,
                     protocol, port);
}

// The rules one by one.
std::optional<Decision> Expected(const PolicySet& set, const SelectorMembers& members,
                                 const Peer& peer, uint8_t protocol, uint16_t port) {
  for (const PolicyRule& rule : set.rules) {
    bool about = rule.about_everybody;
    for (const uint32_t selector : rule.selectors) {
      const auto it = members.find(selector);
      about |= peer.identity != 0 && it != members.end() && it->second.contains(peer.identity);
    }
    for (const AddressBlock& block : rule.blocks) {
      about |= peer.identity == 0 && block.cidr.Contains(peer.address) &&
               std::none_of(block.except.begin(), block.except.end(),
                            [&](const IpPrefix& hole) { return hole.Contains(peer.address); });
    }
    const bool speaks =
        rule.ports.empty() ||
        std::any_of(rule.ports.begin(), rule.ports.end(), [&](const PortRange& range) {
          return range.protocol == protocol && range.first <= port && port <= range.last;
        });
    if (about && speaks) return Decision{rule.verdict, rule.id};
  }
  return std::nullopt;
}

class Rules {
 public:
  explicit Rules(uint32_t seed) : random_(seed) {}
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(random_.Below(n)); }
  bool Chance(uint32_t percent) { return Below(100) < percent; }

  IpPrefix Range() {
    static const char* const kRanges[] = {
        "10.0.0.0/8",   "10.1.0.0/16", "10.1.2.0/24", "10.1.2.8/29", "10.1.2.9/32",   "10.2.0.0/16",
        "192.0.2.0/24", "0.0.0.0/0",   "fd00::/8",    "fd00:1::/32", "fd00:1::7/128", "::/0"};
    return *IpPrefix::Parse(kRanges[Below(std::size(kRanges))]);
  }
  IpAddress Address() {
    static const char* const kAddresses[] = {"10.9.9.9",  "10.1.9.9",  "10.1.2.1",  "10.1.2.10",
                                             "10.1.2.9",  "10.2.0.1",  "192.0.2.1", "8.8.8.8",
                                             "fd00:9::1", "fd00:1::1", "fd00:1::7", "2001:db8::1"};
    return *IpAddress::Parse(kAddresses[Below(std::size(kAddresses))]);
  }
  uint16_t Port() {
    static const uint16_t kPorts[] = {0, 1, 79, 80, 81, 443, 8000, 8080, 8999, 9000, 65535};
    return kPorts[Below(std::size(kPorts))];
  }
  uint8_t Protocol() { return Chance(50) ? kTcp : Chance(60) ? kUdp : kIcmp; }

  PolicyRule Rule(uint32_t id) {
    PolicyRule rule{.id = id};
    if (Chance(20)) rule.verdict = Chance(50) ? PolicyVerdict::kDeny : PolicyVerdict::kPass;
    rule.about_everybody = Chance(15);
    for (uint32_t i = Below(3); i > 0; --i) rule.selectors.push_back(Below(8));
    for (uint32_t i = Below(3); i > 0; --i) {
      AddressBlock block{.cidr = Range()};
      for (uint32_t j = Below(3); j > 0; --j) {
        const IpPrefix hole = Range();
        if (block.cidr.Contains(hole.base()) && hole.length() > block.cidr.length()) {
          block.except.push_back(hole);
        }
      }
      rule.blocks.push_back(block);
    }
    for (uint32_t i = Below(4); i > 0; --i) {
      const uint16_t a = Port(), b = Port();
      rule.ports.push_back({Chance(50) ? kTcp : kUdp, std::min(a, b), std::max(a, b)});
    }
    return rule;
  }
  PolicySet Set(uint32_t number) {
    PolicySet set;
    for (uint32_t i = Below(6); i > 0; --i) set.rules.push_back(Rule(number * 100 + i));
    return set;
  }

 private:
  Random random_;
};

// The state that a change leads to.
struct World {
  std::map<uint32_t, PolicySet> sets;
  SelectorMembers members;
  uint32_t next_set = 1;

  PolicyChange Change(Rules& random) {
    PolicyChange change;
    for (auto it = sets.begin(); it != sets.end();) {
      if (random.Chance(20)) {
        change.removed_sets.push_back(it->first);
        it = sets.erase(it);
      } else {
        ++it;
      }
    }
    for (uint32_t i = random.Below(3); i > 0; --i) {
      change.sets[next_set] = sets[next_set] = random.Set(next_set);
      ++next_set;
    }
    for (uint32_t i = random.Below(6); i > 0; --i) {
      const uint32_t selector = random.Below(8), identity = 300 + random.Below(5);
      if (members[selector].contains(identity)) {
        members[selector].erase(identity);
        change.removed_members.emplace_back(selector, identity);
      } else if (std::find(change.removed_members.begin(), change.removed_members.end(),
                           std::pair(selector, identity)) == change.removed_members.end()) {
        members[selector].insert(identity);
        change.members.emplace_back(selector, identity);
      }
    }
    // A pair that was added and removed again is in both; removals are applied first.
    std::erase_if(change.members,
                  [&](const auto& pair) { return !members[pair.first].contains(pair.second); });
    return change;
  }
};

class PolicyTableTest : public ::testing::TestWithParam<uint32_t> {};

TEST_P(PolicyTableTest, RowsDecideAsTheRulesDo) {
  Rules random(GetParam());
  PolicyTable table(kRoomy);
  PolicyMaps maps;
  World world;
  for (int step = 0; step < 40; ++step) {
    const auto changes = table.Apply(world.Change(random));
    ASSERT_TRUE(changes.ok()) << changes.status();
    maps.Write(*changes);
    ASSERT_EQ(maps.peer_rows(), table.peer_rows());
    ASSERT_EQ(maps.block_rows(), table.block_rows());
    ASSERT_EQ(maps.port_rows(), table.port_rows());
    for (int i = 0; i < 200 && !world.sets.empty(); ++i) {
      auto set = world.sets.begin();
      std::advance(set, random.Below(static_cast<uint32_t>(world.sets.size())));
      Peer peer{.identity = random.Chance(50) ? 300 + random.Below(5) : 0,
                .address = random.Address()};
      const uint8_t protocol = random.Protocol();
      const uint16_t port = random.Port();
      ASSERT_EQ(Decided(maps, table, set->first, peer, protocol, port),
                Expected(set->second, world.members, peer, protocol, port))
          << fmt::format("step {}: set {}, peer {} {}, {}/{}", step, set->first, peer.identity,
                         peer.address.ToString(), port, protocol);
    }
  }
  // Nothing stays.
  PolicyChange last;
  for (const auto& [number, set] : world.sets) last.removed_sets.push_back(number);
  const auto changes = table.Apply(last);
  ASSERT_TRUE(changes.ok());
  maps.Write(*changes);
  EXPECT_TRUE(maps.empty());
}

INSTANTIATE_TEST_SUITE_P(, PolicyTableTest, ::testing::Range(1u, 16u));

TEST(PolicyTableLimits, WhatDoesNotFitChangesNothing) {
  for (uint32_t seed = 1; seed <= 15; ++seed) {
    Rules random(seed);
    PolicyTable table({30, 20, 120});
    PolicyTable twin(kRoomy);  // gets only what the other one took
    World world;
    int refused = 0;
    for (int step = 0; step < 60; ++step) {
      World next = world;
      const PolicyChange change = next.Change(random);
      auto changes = table.Apply(change);
      if (!changes.ok()) {
        EXPECT_EQ(changes.status().code(), absl::StatusCode::kResourceExhausted);
        ++refused;
        world.next_set = next.next_set;
        continue;
      }
      const auto twins = twin.Apply(change);
      ASSERT_TRUE(twins.ok());
      ASSERT_EQ(changes->peers.size(), twins->peers.size());
      ASSERT_EQ(changes->blocks.size(), twins->blocks.size());
      ASSERT_EQ(changes->ports.size(), twins->ports.size());
      ASSERT_EQ(table.peer_rows(), twin.peer_rows());
      ASSERT_EQ(table.block_rows(), twin.block_rows());
      ASSERT_EQ(table.port_rows(), twin.port_rows());
      world = next;
    }
    EXPECT_GT(refused, 0) << seed;
  }
}

// One pod more that a selector selects is one row, whatever the number of rules and pods.
TEST(PolicyTableCost, AMemberIsOneRow) {
  PolicyTable table({1'000'000, 10, 1'000'000});
  PolicyChange change;
  PolicySet& set = change.sets[1];
  for (uint32_t i = 0; i < 1000; ++i) {
    set.rules.push_back({.id = i, .selectors = {i % 10}, .ports = {{kTcp, 80, 443}}});
  }
  for (uint32_t i = 0; i < 10'000; ++i) change.members.emplace_back(i % 10, 300 + i);
  ASSERT_TRUE(table.Apply(change).ok());
  const auto more = table.Apply({.members = {{3, 99'999}}});
  ASSERT_TRUE(more.ok());
  EXPECT_EQ(more->peers.size(), 1u);
  EXPECT_TRUE(more->ports.empty() && more->blocks.empty());
}

}  // namespace
}  // namespace mesh::dataplane
