// SPDX-License-Identifier: Apache-2.0
// What a plan owes to nodes: namespaces, peers, identities and addresses outside.
#include <utility>

#include "dataplane/plan/planner_impl.h"
#include "fmt/format.h"

namespace mesh::dataplane {

void Planner::Impl::PlanNamespaces() {
  namespaces_ = desired_->namespaces;
  for (const auto& [identity, policy] : desired_->namespaces) {
    const auto it = observed_->namespaces.find(identity);
    const Isolation now = it == observed_->namespaces.end() ? Isolation::kDefault : it->second;
    if (policy.isolation == now) continue;
    if (policy.isolation == Isolation::kDefault) {
      // A known namespace that is default again: no row.
      plan_.actions.push_back(RemoveNamespace{identity});
    } else {
      plan_.actions.push_back(PutNamespace{identity, policy.isolation});
    }
    plan_.judge_flows_again = true;
  }
  for (const auto& [identity, isolation] : observed_->namespaces) {
    if (desired_->namespaces.contains(identity)) continue;
    phases_.remove_peers.push_back(RemoveNamespace{identity});
  }
}

std::set<std::string> UnwrittenNamespaces(const DesiredState& desired, const Observed& observed) {
  std::set<std::string> out;
  for (const auto& [identity, policy] : desired.namespaces) {
    const auto it = observed.namespaces.find(identity);
    const Isolation now = it == observed.namespaces.end() ? Isolation::kDefault : it->second;
    if (policy.isolation != now) out.insert(policy.name);
  }
  return out;
}

void Planner::Impl::PlanPeers() {
  peers_ = desired_->peers;
  peer_problems_.clear();
  gateways_.clear();
  std::set<IpPrefix> ranges, nodes;
  for (const auto& [name, peer] : desired_->peers) {
    if (!IsOf(Family::kV4, peer.ip) || FamilyOf(peer.pod_cidr) != Family::kV4) {
      peer_problems_.push_back(
          fmt::format("node {}: the tunnel needs its IPv4 address and pod range, got {} with {}",
                      name, peer.ip.ToString(), peer.pod_cidr.ToString()));
      continue;
    }
    if (!PlanPeer(name, peer.pod_cidr, {peer.ip, IpAddress()}, &ranges)) continue;
    nodes.insert(IpPrefix::Of(peer.ip));
    AddGateway(peer.pod_cidr);
    if (peer.pod_cidr6 == IpPrefix()) continue;
    if (!node_.has_ipv6() || FamilyOf(peer.pod_cidr6) != Family::kV6) {
      peer_problems_.push_back(fmt::format("node {}: its pod range {} is not reached: {}", name,
                                           peer.pod_cidr6.ToString(),
                                           node_.has_ipv6() ? "not of IPv6" : kNoIpv6));
      continue;
    }
    if (!PlanPeer(name, peer.pod_cidr6, {peer.ip, peer.ip6}, &ranges)) continue;
    AddGateway(peer.pod_cidr6);
    if (peer.ip6 != IpAddress()) nodes.insert(IpPrefix::Of(peer.ip6));
  }
  for (const auto& [pod_cidr, node] : observed_->peers) {
    if (!ranges.contains(pod_cidr)) phases_.remove_peers.push_back(RemovePeer{pod_cidr});
  }
  PlanOutside(Outside::kNode, nodes);
  nodes_ = std::move(nodes);
  nodes_.insert(IpPrefix::Of(node_.node_ip));
  if (node_.node_ip6 != IpAddress()) nodes_.insert(IpPrefix::Of(node_.node_ip6));
  for (const auto& [place, keys] : outside_) touched_outside_.insert(place);
  std::set<IpPrefix> no_masquerade;
  non_masquerade_ = desired_->non_masquerade;
  for (const IpPrefix& range : non_masquerade_.value_or(node_.non_masquerade)) {
    if (FamilyOf(range) == Family::kV4 || node_.has_ipv6()) {
      no_masquerade.insert(range);
    } else {
      peer_problems_.push_back(
          fmt::format("range {} without masquerade: {}", range.ToString(), kNoIpv6));
    }
  }
  PlanOutside(Outside::kNoMasquerade, no_masquerade);
}

// Without memory of its own: 150,000 rows are there twice as it is, wanted and written. Gateways
// are told apart from pods where packets do not tell (native routing).
void Planner::Impl::PlanIdentities() {
  const bool native = node_.routing == Routing::kNative;
  for (const auto& [ip, identity] : desired_->pod_identities) PlanIdentity(ip);
  if (native) {
    for (const IpAddress& ip : gateways_) PlanIdentity(ip);
  }
  for (const auto& [ip, entry] : observed_->identities) {
    if (native && gateways_.contains(ip)) continue;
    if (desired_->pod_identities.contains(ip)) continue;
    phases_.remove_identities.push_back(RemoveIdentity{ip});
  }
}

void Planner::Impl::PlanIdentity(const IpAddress& ip) {
  if (FamilyOf(ip) == Family::kV6 && !node_.has_ipv6()) return;
  const auto seen = observed_->identities.find(ip);
  const bool there = seen != observed_->identities.end();
  IdentityEntry entry;
  if (node_.routing == Routing::kNative && gateways_.contains(ip)) entry.identity = kIdentityHost;
  if (const auto it = desired_->pod_identities.find(ip);
      entry.identity == 0 && it != desired_->pod_identities.end()) {
    entry.identity = it->second;
    const auto known = desired_->identities.find(it->second);
    if (known != desired_->identities.end()) entry.ns = known->second.ns;
  }
  if (entry.identity == 0) {
    if (there) phases_.remove_identities.push_back(RemoveIdentity{ip});
    return;
  }
  if (there && seen->second == entry) return;
  // The address has another pod: what was judged of the one before is not said of it.
  if (there) plan_.judge_flows_again = true;
  plan_.actions.push_back(PutIdentity{ip, entry});
}

// False when the range is another's.
bool Planner::Impl::PlanPeer(const std::string& name, const IpPrefix& pod_cidr,
                             const PeerEntry& node, std::set<IpPrefix>* ranges) {
  if (pod_cidr == node_.pod_cidr || pod_cidr == node_.pod_cidr6) {
    peer_problems_.push_back(
        fmt::format("node {}: its pod range {} is this node's own", name, pod_cidr.ToString()));
    return false;
  }
  if (!ranges->insert(pod_cidr).second) {
    peer_problems_.push_back(
        fmt::format("node {}: another node has its pod range {}", name, pod_cidr.ToString()));
    return false;
  }
  const auto it = observed_->peers.find(pod_cidr);
  if (it != observed_->peers.end() && it->second == node) return true;
  if (it != observed_->peers.end()) plan_.judge_flows_again = true;
  plan_.actions.push_back(PutPeer{pod_cidr, node});
  return true;
}

void Planner::Impl::PlanOutside(Outside kind, const std::set<IpPrefix>& wanted) {
  for (const IpPrefix& range : wanted) {
    if (!observed_->outside.contains({kind, range})) {
      plan_.actions.push_back(PutOutside{{kind, range}});
    }
  }
  for (auto it = observed_->outside.lower_bound({kind, IpPrefix()});
       it != observed_->outside.end() && it->kind == kind; ++it) {
    if (!wanted.contains(it->range)) phases_.remove_outside.push_back(RemoveOutside{*it});
  }
}

}  // namespace mesh::dataplane
