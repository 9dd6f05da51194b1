// SPDX-License-Identifier: Apache-2.0
// Everything that a policy may ask about a pod. Pods of equal traits have one identity: the number
// that the datapath knows them by.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/ip_address.h"
#include "mesh/v1/networking.pb.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::controlplane {

// A range of addresses without some ranges inside of it.
struct Block {
  IpPrefix cidr;
  std::vector<IpPrefix> except;  // sorted
  bool Contains(const IpAddress& address) const;
  // "10.0.0.0/8 except 10.1.0.0/16 10.2.0.0/16"
  std::string ToString() const;
  friend auto operator<=>(const Block&, const Block&) = default;
};

// Bits beyond the prefix length are cleared; what does not parse (it was refused when the policy
// was applied) contains nothing.
Block BlockOf(const v1::IPBlock& block);

// Of Block::ToString(); what does not parse contains nothing.
Block ParseBlock(const std::string& text);

using PortName = std::pair<std::string, uint8_t>;  // and protocol, IPPROTO_*

struct PodTraits {
  std::string ns;
  std::map<std::string, std::string> labels;
  std::map<PortName, uint16_t> named_ports;
  // Of the blocks that policies cut out of the pods' own range: those with an address of the pod.
  std::set<Block> blocks;
  friend auto operator<=>(const PodTraits&, const PodTraits&) = default;
};

// With the blocks that are written down in its status.
PodTraits TraitsOf(const v1::Pod& pod);
PodTraits TraitsOf(const v1::Pod& pod, const std::set<Block>& blocks);
// Of the resolver of each node, which policies know as the cluster's.
PodTraits ResolverTraits();
// The blocks with an address of the pod, as they are written down in its status.
std::vector<std::string> BlocksAround(const v1::Pod& pod, const std::set<Block>& blocks);
// The same for pods of equal traits, and for no others.
std::string IdentityText(const v1::Pod& pod);

// Those of its rules.
std::set<Block> BlocksOf(const v1::NetworkPolicy& policy);

// IPPROTO_* of "TCP" (also of ""), "UDP"; 0: of none that is carried.
uint8_t ProtocolNumber(const std::string& name);

}  // namespace mesh::controlplane
