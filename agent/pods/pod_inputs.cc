// SPDX-License-Identifier: Apache-2.0
// What PodReconciler gives a container of other objects, and what it does when they change. Files
// are small (1 MiB an object), so that they are written on the loop.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/pods/environment.h"
#include "agent/pods/pod_tracked.h"
#include "api/schema/references.h"
#include "common/status.h"

namespace mesh::agent {
namespace {

constexpr char kConfigError[] = "CreateContainerConfigError";
constexpr char kPullError[] = "ErrImagePull";

// The keys under which two maps may differ.
template <typename Map>
std::set<std::string> Changed(const Map& was, const Map& is) {
  std::set<std::string> out;
  was.ForEachChangeTo(is,
                      [&](const std::string& key, const auto*, const auto*) { out.insert(key); });
  return out;
}

bool Concerns(const std::set<std::string>& changed, const std::string& ns,
              const std::set<std::string>& names) {
  for (const std::string& name : names) {
    if (changed.contains(ns + "/" + name)) return true;
  }
  return false;
}

std::set<std::string> PullSecrets(const v1::PodSpec& spec) {
  std::set<std::string> out;
  for (const v1::LocalObjectReference& secret : spec.image_pull_secrets())
    out.insert(secret.name());
  return out;
}

std::set<std::string> ClaimsOf(const v1::Pod& pod) {
  std::set<std::string> out;
  for (const v1::Volume& volume : pod.spec().volumes())
    out.insert(schema::ClaimNameOf(pod, volume));
  return out;
}

}  // namespace

absl::StatusOr<PodInputs> PodReconciler::InputsOf(const Tracked& t, const v1::Container& spec) {
  RETURN_IF_ERROR(volumes_->SetUp(*t.pod, *state_, options_.node));
  PodInputs out;
  const v1::PodSpec& pod = t.pod->spec();
  Variables services;
  if (!pod.has_enable_service_links() || pod.enable_service_links())
    services = ServiceEnvironment(state_->services, t.ns);
  ASSIGN_OR_RETURN(Environment environment,
                   ResolveEnvironment(*t.pod, spec, services, *state_, options_.node));
  for (std::string& skipped : environment.skipped) {
    Emit(t, "Warning", "InvalidEnvironmentVariableNames", std::move(skipped));
  }
  out.environment = std::move(environment.variables);
  ASSIGN_OR_RETURN(out.mounts, volumes_->MountsOf(*t.pod, spec, out.environment));
  return out;
}

void PodReconciler::NoteObjects(const NodeState& before) {
  const std::set<std::string> maps = Changed(before.config_maps, state_->config_maps);
  const std::set<std::string> secrets = Changed(before.secrets, state_->secrets);
  std::set<std::string> claims;
  before.volumes.ForEachChangeTo(state_->volumes,
                                 [&](const std::string&, const auto*, const auto* now) {
                                   if (now != nullptr) claims.insert((*now)->claim());
                                 });
  for (const auto& [uid, t] : pods_) {
    if (!t->desired || t->ending()) continue;
    // Its labels and annotations may be in files.
    const auto known = before.pods.find(uid);
    const bool is_other = known == before.pods.end() || !known->second.SameAs(t->pod);
    if (!is_other && maps.empty() && secrets.empty() && claims.empty()) continue;
    const schema::PodReferences references = schema::ReferencesOf(t->pod->spec());
    if (!is_other && !Concerns(maps, t->ns, references.config_maps) &&
        !Concerns(secrets, t->ns, references.secrets) &&
        !Concerns(claims, t->ns, ClaimsOf(*t->pod))) {
      continue;
    }
    if (absl::Status written = volumes_->Refresh(*t->pod, *state_, options_.node); !written.ok()) {
      Emit(*t, "Warning", "FailedMount", Text(written));
    }
    // What it waits for may be here: no back-off stands between.
    const bool other_keys = Concerns(secrets, t->ns, PullSecrets(t->pod->spec()));
    bool waited = false;
    for (auto& [name, memory] : t->memory.containers) {
      const std::string& reason = memory.start.reason;
      if (reason != kConfigError && !(other_keys && reason == kPullError)) continue;
      memory.start.next_at = absl::InfinitePast();
      memory.start.delay = absl::ZeroDuration();
      waited = true;
    }
    if (waited) Step(*t);
  }
}

}  // namespace mesh::agent
