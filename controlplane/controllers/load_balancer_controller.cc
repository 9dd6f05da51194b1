// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/load_balancer_controller.h"

#include <set>

#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

std::set<std::string> AddressesOf(const v1::Resource* side) {
  std::set<std::string> out;
  if (side == nullptr || !side->has_service()) return out;
  for (const auto& entry : side->service().status().load_balancer().ingress()) {
    out.insert(entry.ip());
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
  const BalancerChoice choice = ChooseBalancerAddresses(
      pools_, *service, {0, 0}, [&](const std::string& ip) -> std::optional<ObjectKey> {
        auto it = state.index().balancer_ips.find(ip);
        if (it == state.index().balancer_ips.end() || it->second == key) return std::nullopt;
        return it->second;
      });
  if (choice.ips.empty() && choice.reason.empty()) return result;  // another's
  if (choice.ips != BalancerAddressesOf(*service)) {
    // Admission chooses; what is written here says only that it shall.
    result.writes.push_back({Write::Type::kUpdateStatus, Wrap(*service), {}});
  }
  if (!choice.reason.empty()) {
    result.events.push_back({ReferenceTo("v1", "Service", service->metadata()), "Warning",
                             choice.reason, choice.message});
  }
  return result;
}

}  // namespace mesh::controlplane
