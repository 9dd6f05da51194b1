// SPDX-License-Identifier: Apache-2.0
// Rows of the policy maps (mesh/shared/policy_map.h) before they become bytes, and the pure
// functions that make them of rules.
//
// A packet costs two lookups, whatever the number of rules: who the peer is for this set (its
// class: peers about whom the same rules speak are one), and what the rules say about its protocol
// and port.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "common/ip_address.h"
#include "dataplane/policy/policy_set.h"

namespace mesh::dataplane {

// Places of rules in their set, ascending.
using RuleList = std::vector<uint32_t>;

// What is said about packets whose protocol and port begin with these bits: of the protocol the
// first 8, of the port the others. The longest one counts.
struct PortPrefix {
  uint8_t protocol = 0;
  uint16_t port = 0;
  uint8_t length = 0;  // 0 (everything), 8 (all ports) .. 24
  friend auto operator<=>(const PortPrefix&, const PortPrefix&) = default;
};

struct Decision {
  PolicyVerdict verdict = PolicyVerdict::kAllow;
  uint32_t rule = 0;  // PolicyRule::id
  friend auto operator<=>(const Decision&, const Decision&) = default;
};

using PortRows = std::map<PortPrefix, Decision>;

// The rows of a class: which of the rules decides, for every protocol and port.
PortRows PortRowsOf(const PolicySet& set, const RuleList& rules);

// The decision for one packet; nullopt: no rule is about it.
std::optional<Decision> Decide(const PortRows& rows, uint8_t protocol, uint16_t port);

// Of peers that are no pods: which rules speak about an address, by the longest range that
// contains it. Addresses in none of the ranges are of RulesAboutEverybody().
std::map<IpPrefix, RuleList> BlockRowsOf(const PolicySet& set);

RuleList RulesAboutEverybody(const PolicySet& set);

// Those about everybody and those with one of the selectors.
RuleList RulesAbout(const PolicySet& set, std::span<const uint32_t> selectors);

// What the pods that one set judges may do with one class of peers, as the kernel has it.
struct PolicyClassRow {
  uint32_t set = 0, number = 0;  // the kernel's own
  bool egress = false;
  bool ipv6 = false;            // of IPv6 traffic alone
  std::vector<IpAddress> pods;  // by their IPv4 address
  bool everybody = false;       // all peers that have no row
  std::vector<uint32_t> identities;
  std::vector<IpPrefix> blocks;
  PortRows ports;  // none: everything is dropped
};

}  // namespace mesh::dataplane
