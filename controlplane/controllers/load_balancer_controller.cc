// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/load_balancer_controller.h"

#include <set>

#include "common/ip_address.h"
#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// What another Service may wait for: its addresses, and the ports of its externalIPs.
std::set<std::string> AddressesOf(const v1::Resource* side) {
  std::set<std::string> out;
  if (side == nullptr || !side->has_service()) return out;
  for (const auto& entry : side->service().status().load_balancer().ingress()) {
    out.insert(entry.ip());
  }
  for (const ExternalPort& port : ExternalPortsOf(side->service().spec())) {
    out.insert(fmt::format("{} {} {}", port.ip, port.port, port.protocol));
  }
  return out;
}

// Source ranges that say nothing, or more than they seem to: empty when all is well.
std::string WhatRangesLeaveOut(const v1::ServiceSpec& spec) {
  if (spec.load_balancer_source_ranges().empty()) return "";
  std::set<std::string> families(spec.ip_families().begin(), spec.ip_families().end());
  if (families.empty()) families.insert("IPv4");
  std::set<std::string> named;
  std::string out;
  for (const std::string& text : spec.load_balancer_source_ranges()) {
    const auto range = IpPrefix::Parse(text);
    if (!range.ok()) continue;  // admission refuses it
    const std::string family = range->base().is_v4() ? "IPv4" : "IPv6";
    named.insert(family);
    if (families.contains(family)) continue;
    out += fmt::format("{}{} admits nobody: the Service has no {}", out.empty() ? "" : "; ", text,
                       family);
  }
  for (const std::string& family : families) {
    if (named.contains(family)) continue;
    out += fmt::format("{}no client of {} is admitted: no range is of it", out.empty() ? "" : "; ",
                       family);
  }
  return out;
}

}  // namespace

std::vector<ObjectKey> LoadBalancerController::Affected(const ClusterState& state,
                                                        const Change& change) const {
  std::set<ObjectKey> keys;
  if (change.after != nullptr && change.after->has_service() &&
      change.after->service().spec().type() == "LoadBalancer") {
    keys.insert(KeyOf(*change.after));
  }
  const std::set<std::string> now = AddressesOf(change.after.get());
  for (const std::string& ip : AddressesOf(change.before.get())) {
    if (now.contains(ip)) continue;
    const auto& waiting = state.index().waiting_balancers;
    keys.insert(waiting.begin(), waiting.end());
    break;
  }
  return {keys.begin(), keys.end()};
}

ReconcileResult LoadBalancerController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                                  absl::Time) const {
  ReconcileResult result;
  const v1::Service* service = FindObject(state.services, key);
  if (service == nullptr || service->spec().type() != "LoadBalancer") return result;
  if (IsForeignBalancer(*service)) {
    if (!service->status().load_balancer().ingress().empty()) return result;
    result.events.push_back(
        {ReferenceTo("v1", "Service", service->metadata()), "Normal", "ForeignLoadBalancerClass",
         fmt::format(
             "spec.loadBalancerClass {}: its address is another controller's to give; meshd "
             "gives one to Services without a class, and to {}",
             service->spec().load_balancer_class(), kLoadBalancerClass)});
    return result;
  }
  const auto other_than_this = [&](const auto& owners, const auto& what) {
    auto it = owners.find(what);
    return it == owners.end() || it->second == key ? std::nullopt : std::optional(it->second);
  };
  const BalancerChoice choice = ChooseBalancerAddresses(
      pools_, *service, {0, 0},
      {.pool =
           [&](const std::string& ip) { return other_than_this(state.index().balancer_ips, ip); },
       .external =
           [&](const ExternalPort& port) {
             return other_than_this(state.index().external_ports, port);
           }});
  if (choice.ips != BalancerAddressesOf(*service)) {
    // Admission chooses; what is written here says only that it shall.
    result.writes.push_back({Write::Type::kUpdateStatus, Wrap(*service), {}});
  }
  if (!choice.reason.empty()) {
    result.events.push_back({ReferenceTo("v1", "Service", service->metadata()), "Warning",
                             choice.reason, choice.message});
  }
  if (const std::string why = WhatRangesLeaveOut(service->spec()); !why.empty()) {
    result.events.push_back({ReferenceTo("v1", "Service", service->metadata()), "Warning",
                             "SourceRangeFamily",
                             fmt::format("spec.loadBalancerSourceRanges: {}", why)});
  }
  return result;
}

}  // namespace mesh::controlplane
