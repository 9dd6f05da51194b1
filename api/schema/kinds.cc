// SPDX-License-Identifier: Apache-2.0
#include "api/schema/kinds.h"

#include <algorithm>

#include "api/schema/schema.h"
#include "fmt/format.h"

namespace mesh::schema {
namespace {

// The one list of what has a controller, a node or the dataplane behind it.
constexpr v1::Kind kActedUpon[] = {
    v1::KIND_NAMESPACE,
    v1::KIND_NODE,
    v1::KIND_POD,
    v1::KIND_DEPLOYMENT,
    v1::KIND_REPLICA_SET,
    v1::KIND_SERVICE,
    v1::KIND_EVENT,
    v1::KIND_ENDPOINT_SLICE,
    v1::KIND_NETWORK_POLICY,
    v1::KIND_SERVICE_ACCOUNT,
    v1::KIND_PRIORITY_CLASS,
    v1::KIND_CONFIG_MAP,
    v1::KIND_SECRET,
    v1::KIND_PERSISTENT_VOLUME,
    v1::KIND_PERSISTENT_VOLUME_CLAIM,
    v1::KIND_STORAGE_CLASS,
};

// "StatefulSets", "NetworkPolicies", "Ingresses", "Endpoints".
std::string PluralName(const KindInfo& info) {
  std::string name(info.name);
  if (info.plural == info.singular) return name;
  if (name.ends_with("y")) return name.substr(0, name.size() - 1) + "ies";
  return name + (name.ends_with("s") ? "es" : "s");
}

}  // namespace

bool IsActedUpon(v1::Kind kind) {
  return std::find(std::begin(kActedUpon), std::end(kActedUpon), kind) != std::end(kActedUpon);
}

std::string StoredNote(const v1::Resource& resource) {
  const v1::Kind kind = KindOf(resource);
  if (kind == v1::KIND_UNSPECIFIED || IsActedUpon(kind)) return "";
  return fmt::format("{}{}: stored; nothing acts on {} yet", kNotePrefix, ObjectText(resource),
                     PluralName(Info(kind)));
}

TemplateRef PodTemplateOf(const v1::Resource& resource) {
  const auto of = [](const auto& spec) -> TemplateRef {
    if (!spec.has_template_()) return {};
    return {&spec.template_(), "spec.template"};
  };
  switch (resource.kind_case()) {
    case v1::Resource::kReplicaSet:
      return of(resource.replica_set().spec());
    case v1::Resource::kDeployment:
      return of(resource.deployment().spec());
    case v1::Resource::kStatefulSet:
      return of(resource.stateful_set().spec());
    case v1::Resource::kDaemonSet:
      return of(resource.daemon_set().spec());
    case v1::Resource::kReplicationController:
      return of(resource.replication_controller().spec());
    case v1::Resource::kJob:
      return of(resource.job().spec());
    case v1::Resource::kCronJob: {
      TemplateRef ref = of(resource.cron_job().spec().job_template().spec());
      if (ref.pod != nullptr) ref.path = "spec.jobTemplate.spec.template";
      return ref;
    }
    default:
      return {};
  }
}

v1::PodTemplateSpec* MutablePodTemplateOf(v1::Resource* resource) {
  const auto of = [](auto* spec) -> v1::PodTemplateSpec* {
    return spec->has_template_() ? spec->mutable_template_() : nullptr;
  };
  // Asked first: what is not given must not come to be.
  if (PodTemplateOf(*resource).pod == nullptr) return nullptr;
  switch (resource->kind_case()) {
    case v1::Resource::kReplicaSet:
      return of(resource->mutable_replica_set()->mutable_spec());
    case v1::Resource::kDeployment:
      return of(resource->mutable_deployment()->mutable_spec());
    case v1::Resource::kStatefulSet:
      return of(resource->mutable_stateful_set()->mutable_spec());
    case v1::Resource::kDaemonSet:
      return of(resource->mutable_daemon_set()->mutable_spec());
    case v1::Resource::kReplicationController:
      return of(resource->mutable_replication_controller()->mutable_spec());
    case v1::Resource::kJob:
      return of(resource->mutable_job()->mutable_spec());
    case v1::Resource::kCronJob:
      return of(
          resource->mutable_cron_job()->mutable_spec()->mutable_job_template()->mutable_spec());
    default:
      return nullptr;
  }
}

}  // namespace mesh::schema
