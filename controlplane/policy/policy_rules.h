// SPDX-License-Identifier: Apache-2.0
// A NetworkPolicy in a form that can be evaluated: selectors are parsed, ranges and ports are
// numbers, what is missing has its meaning. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/schema/selector.h"
#include "controlplane/policy/pod_traits.h"
#include "mesh/v1/core.pb.h"
#include "mesh/v1/networking.pb.h"

namespace mesh::controlplane {

enum class Direction : uint8_t { kIngress = 0, kEgress = 1 };

// Which pods of the cluster a peer means. Its text (Selector::ToString) tells two of them apart.
struct PodSelector {
  std::string ns;  // of this namespace; empty: of those that `namespaces` selects
  schema::Selector namespaces;
  schema::Selector pods;
  // Only those with a port of this name and number, when a rule speaks of the name.
  std::optional<PortName> port_name;
  uint16_t port = 0;
  std::optional<Block> block;  // only those with an address in it

  std::string Key() const;
};

// One entry of a rule's `ports`.
struct RulePort {
  uint8_t protocol = 0;
  uint16_t first = 0, last = 65535;
  std::string name;  // instead of the numbers
};

struct ParsedRule {
  // No entry in `from` or `to`.
  bool about_everybody = false;
  std::vector<PodSelector> peers;
  std::vector<Block> blocks;
  // Missing: everything. What is there may still be nothing that is carried.
  std::optional<std::vector<RulePort>> ports;
};

struct ParsedPolicy {
  std::string ns, name;
  schema::Selector pods;
  bool is_ingress = false, is_egress = false;
  std::vector<ParsedRule> ingress, egress;

  const std::vector<ParsedRule>& Rules(Direction direction) const {
    return direction == Direction::kIngress ? ingress : egress;
  }
  bool Judges(Direction direction) const {
    return direction == Direction::kIngress ? is_ingress : is_egress;
  }
};

// With the one that every namespace has, as in Kubernetes, whether it is written down or not.
schema::LabelMap NamespaceLabels(const v1::Namespace& ns);

// REQUIRES: the policy is valid and has its defaults. What is not valid after all selects nobody as
// a peer: fail closed.
ParsedPolicy Parse(const v1::NetworkPolicy& policy);

}  // namespace mesh::controlplane
