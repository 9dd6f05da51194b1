// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/service_account_controller.h"

#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {
namespace {

constexpr char kAccount[] = "default";

}  // namespace

std::vector<ObjectKey> ServiceAccountController::Affected(const ClusterState&,
                                                          const Change& change) const {
  // One that somebody deletes comes back.
  if (change.after == nullptr) {
    if (!change.before->has_service_account()) return {};
    const v1::ObjectMeta& meta = change.before->service_account().metadata();
    if (meta.name() != kAccount) return {};
    return {{"", meta.namespace_()}};
  }
  if (change.after->has_namespace_() && change.before == nullptr) return {KeyOf(*change.after)};
  return {};
}

ReconcileResult ServiceAccountController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                                    absl::Time) const {
  const v1::Namespace* ns = FindObject(state.namespaces, key);
  if (ns == nullptr || IsTerminating(ns->metadata())) return {};
  if (state.Find(v1::KIND_SERVICE_ACCOUNT, {key.name, kAccount}) != nullptr) return {};
  v1::Resource account;
  v1::ObjectMeta* meta = account.mutable_service_account()->mutable_metadata();
  meta->set_namespace_(key.name);
  meta->set_name(kAccount);
  ReconcileResult result;
  result.writes.push_back({Write::Type::kCreate, std::move(account), {}});
  return result;
}

}  // namespace mesh::controlplane
