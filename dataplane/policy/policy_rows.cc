// SPDX-License-Identifier: Apache-2.0
#include "dataplane/policy/policy_rows.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

namespace mesh::dataplane {
namespace {

constexpr uint32_t kPorts = 65536;
constexpr uint8_t kProtocolBits = 8, kAllBits = 24;

// The prefixes that [first, last] consists of.
void AddRange(uint8_t protocol, uint32_t first, uint32_t last, const Decision& decision,
              PortRows* rows) {
  while (first <= last) {
    uint32_t size = 1;
    uint8_t length = kAllBits;
    while (size < kPorts && first % (size * 2) == 0 && first + size * 2 - 1 <= last) {
      size *= 2;
      --length;
    }
    rows->insert({{protocol, static_cast<uint16_t>(first), length}, decision});
    first += size;
  }
}

// What the rules say about one protocol: at each port that begins something new, who decides from
// there on.
std::map<uint32_t, std::optional<uint32_t>> DecidersOf(const PolicySet& set, const RuleList& rules,
                                                       uint8_t protocol) {
  std::map<uint32_t, std::vector<uint32_t>> begins, ends;
  for (const uint32_t place : rules) {
    const PolicyRule& rule = set.rules[place];
    if (rule.ports.empty()) {
      begins[0].push_back(place);
      ends[kPorts].push_back(place);
    }
    for (const PortRange& range : rule.ports) {
      if (range.protocol != protocol) continue;
      begins[range.first].push_back(place);
      ends[range.last + 1U].push_back(place);
    }
  }
  std::set<uint32_t> edges = {0};
  for (const auto& [port, places] : begins) edges.insert(port);
  for (const auto& [port, places] : ends) edges.insert(port);
  std::multiset<uint32_t> open;
  std::map<uint32_t, std::optional<uint32_t>> out;
  for (const uint32_t edge : edges) {
    for (const uint32_t place : begins[edge]) open.insert(place);
    for (const uint32_t place : ends[edge]) open.erase(open.find(place));
    out[edge] = open.empty() ? std::nullopt : std::optional(*open.begin());
  }
  return out;
}

}  // namespace

PortRows PortRowsOf(const PolicySet& set, const RuleList& rules) {
  PortRows rows;
  std::optional<Decision> rest;  // of protocols that no rule names
  std::set<uint8_t> protocols;
  for (const uint32_t place : rules) {
    const PolicyRule& rule = set.rules[place];
    if (rule.ports.empty() && !rest) rest = Decision{rule.verdict, rule.id};
    for (const PortRange& range : rule.ports) protocols.insert(range.protocol);
  }
  if (rest) rows[{}] = *rest;
  for (const uint8_t protocol : protocols) {
    std::optional<Decision> open;  // of the ports from `begin` on
    uint32_t begin = 0;
    const auto close = [&](uint32_t end) {
      // What the rest says anyway needs no row.
      if (open && open != rest && begin < end) AddRange(protocol, begin, end - 1, *open, &rows);
    };
    for (const auto& [edge, place] : DecidersOf(set, rules, protocol)) {
      std::optional<Decision> next;
      if (place) next = Decision{set.rules[*place].verdict, set.rules[*place].id};
      if (next == open) continue;
      close(edge);
      open = next;
      begin = edge;
    }
    close(kPorts);
  }
  return rows;
}

std::optional<Decision> Decide(const PortRows& rows, uint8_t protocol, uint16_t port) {
  for (int length = kAllBits; length >= kProtocolBits; --length) {
    const uint16_t mask = static_cast<uint16_t>(0xffff << (kAllBits - length));
    const auto row =
        rows.find({protocol, static_cast<uint16_t>(port & mask), static_cast<uint8_t>(length)});
    if (row != rows.end()) return row->second;
  }
  const auto rest = rows.find({});
  return rest == rows.end() ? std::nullopt : std::optional(rest->second);
}

RuleList RulesAboutEverybody(const PolicySet& set) { return RulesAbout(set, {}); }

RuleList RulesAbout(const PolicySet& set, std::span<const uint32_t> selectors) {
  RuleList out;
  for (uint32_t place = 0; place < set.rules.size(); ++place) {
    const PolicyRule& rule = set.rules[place];
    if (rule.about_everybody ||
        std::any_of(rule.selectors.begin(), rule.selectors.end(), [&](uint32_t selector) {
          return std::find(selectors.begin(), selectors.end(), selector) != selectors.end();
        })) {
      out.push_back(place);
    }
  }
  return out;
}

std::map<IpPrefix, RuleList> BlockRowsOf(const PolicySet& set) {
  struct Edge {
    std::vector<uint32_t> begins, ends;  // blocks, by number
  };
  // By family; what contains another one comes before it.
  std::array<std::map<IpPrefix, Edge>, 2> edges;
  std::vector<uint32_t> place_of;  // of a block's rule
  for (uint32_t place = 0; place < set.rules.size(); ++place) {
    for (const AddressBlock& block : set.rules[place].blocks) {
      const uint32_t number = static_cast<uint32_t>(place_of.size());
      place_of.push_back(place);
      std::map<IpPrefix, Edge>& family = edges[block.cidr.base().is_v4() ? 0 : 1];
      family[block.cidr].begins.push_back(number);
      for (const IpPrefix& hole : block.except) family[hole].ends.push_back(number);
    }
  }
  const RuleList everybody = RulesAboutEverybody(set);
  // Ranges are nested or apart: between an address and the longest range around it there is no
  // other, so that all addresses with the same longest range meet the same rules.
  std::map<IpPrefix, RuleList> rows;
  struct Around {
    IpPrefix range;
    std::set<uint32_t> blocks;
  };
  for (const auto& family : edges) {
    std::vector<Around> around;
    for (const auto& [range, edge] : family) {
      while (!around.empty() && !around.back().range.Contains(range.base())) around.pop_back();
      Around here{.range = range, .blocks = {}};
      if (!around.empty()) here.blocks = around.back().blocks;
      here.blocks.insert(edge.begins.begin(), edge.begins.end());
      for (const uint32_t block : edge.ends) here.blocks.erase(block);
      std::set<uint32_t> places(everybody.begin(), everybody.end());
      for (const uint32_t block : here.blocks) places.insert(place_of[block]);
      rows[range] = RuleList(places.begin(), places.end());
      around.push_back(std::move(here));
    }
  }
  return rows;
}

}  // namespace mesh::dataplane
