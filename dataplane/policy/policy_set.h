// SPDX-License-Identifier: Apache-2.0
// What the control plane says about whom a pod talks to, in host terms. A value.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/ip_address.h"

namespace mesh::dataplane {

enum class PolicyVerdict : uint8_t { kAllow = 1, kDeny = 2, kPass = 3 };

// Both ends inclusive.
struct PortRange {
  uint8_t protocol = 0;  // IPPROTO_*
  uint16_t first = 0, last = 65535;
  friend auto operator<=>(const PortRange&, const PortRange&) = default;
};

// A range of addresses without some ranges inside of it.
struct AddressBlock {
  IpPrefix cidr;
  std::vector<IpPrefix> except;
  friend auto operator<=>(const AddressBlock&, const AddressBlock&) = default;
};

// One rule, about everybody, or about those that one of its selectors or blocks contains. Selectors
// speak of pods and nothing else, blocks of everything else.
struct PolicyRule {
  // What is told when it decides; unique among the rules of a node.
  uint32_t id = 0;
  PolicyVerdict verdict = PolicyVerdict::kAllow;
  bool about_everybody = false;
  std::vector<uint32_t> selectors;
  std::vector<AddressBlock> blocks;
  // Of either end; empty: everything, other protocols too.
  std::vector<PortRange> ports;
  friend auto operator<=>(const PolicyRule&, const PolicyRule&) = default;
};

// All rules for one direction of the pods that the same policies select. Of those that are about a
// packet the first one decides; when none is, the packet is dropped. A set does not change: another
// one takes its place, under another number, so that no packet meets half a change.
struct PolicySet {
  std::vector<PolicyRule> rules;
  friend auto operator<=>(const PolicySet&, const PolicySet&) = default;
};

// What of the policies that are asked for is not in force, and why; nothing when `text` is empty.
// Pods keep the sets they have.
struct RefusedPolicies {
  std::string text;
  std::vector<uint32_t> sets;  // numbers in DesiredState::policy_sets
  // Pods that have no set yet and need one, by their IPv4 address: what takes nothing, or sends
  // nothing, of one family at least.
  struct Shut {
    bool ingress = false, egress = false;
    friend bool operator==(const Shut&, const Shut&) = default;
  };
  std::map<IpAddress, Shut> shut;
};

// Identities by the number of the selector that selects them.
using SelectorMembers = std::map<uint32_t, std::set<uint32_t>>;

}  // namespace mesh::dataplane
