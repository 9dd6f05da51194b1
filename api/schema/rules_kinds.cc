// SPDX-License-Identifier: Apache-2.0
#include "api/schema/rules_kinds.h"

#include <limits>

#include "api/schema/schema.h"

namespace mesh::schema::internal {
namespace {

using R = v1::Resource;

void FillStatefulSet(v1::StatefulSetSpec* spec) {
  v1::StatefulSetUpdateStrategy* strategy = spec->mutable_update_strategy();
  if (strategy->type().empty()) strategy->set_type("RollingUpdate");
  if (strategy->type() == "RollingUpdate") {
    v1::RollingUpdateStatefulSetStrategy* rolling = strategy->mutable_rolling_update();
    if (!rolling->has_partition()) rolling->set_partition(0);
  }
  auto* retention = spec->mutable_persistent_volume_claim_retention_policy();
  if (retention->when_deleted().empty()) retention->set_when_deleted("Retain");
  if (retention->when_scaled().empty()) retention->set_when_scaled("Retain");
}

void FillDaemonSet(v1::DaemonSetSpec* spec) {
  v1::DaemonSetUpdateStrategy* strategy = spec->mutable_update_strategy();
  if (strategy->type().empty()) strategy->set_type("RollingUpdate");
  if (strategy->type() != "RollingUpdate") return;
  v1::RollingUpdateDaemonSet* rolling = strategy->mutable_rolling_update();
  if (!rolling->has_max_unavailable()) rolling->mutable_max_unavailable()->set_int_value(1);
  if (!rolling->has_max_surge()) rolling->mutable_max_surge()->set_int_value(0);
}

void FillReplicationController(v1::ReplicationController* object) {
  const auto& labels = object->spec().template_().metadata().labels();
  if (labels.empty()) return;
  if (object->spec().selector().empty()) *object->mutable_spec()->mutable_selector() = labels;
  if (object->metadata().labels().empty()) *object->mutable_metadata()->mutable_labels() = labels;
}

void FillJob(v1::JobSpec* spec) {
  constexpr int32_t kBackoffLimit = 6;
  // Without a number of completions a Job ends with the first of its pods that succeeds.
  if (!spec->has_completions() && !spec->has_parallelism()) spec->set_completions(1);
  if (!spec->has_parallelism()) spec->set_parallelism(1);
  if (!spec->has_backoff_limit()) {
    spec->set_backoff_limit(
        spec->has_backoff_limit_per_index() ? std::numeric_limits<int32_t>::max() : kBackoffLimit);
  }
  if (spec->pod_replacement_policy().empty()) {
    spec->set_pod_replacement_policy(spec->has_pod_failure_policy() ? "Failed"
                                                                    : "TerminatingOrFailed");
  }
}

template <typename Refs>
void FillGroups(Refs* refs) {
  // The core group, said.
  for (auto& ref : *refs) {
    if (!ref.has_group()) ref.set_group("");
  }
}

void FillGateway(v1::GatewaySpec* spec) {
  for (v1::GatewayListener& listener : *spec->mutable_listeners()) {
    v1::RouteNamespaces* namespaces = listener.mutable_allowed_routes()->mutable_namespaces();
    if (namespaces->from().empty()) namespaces->set_from("Same");
    if (!listener.has_tls()) continue;
    FillGroups(listener.mutable_tls()->mutable_certificate_refs());
  }
}

void FillHttpRoute(v1::HTTPRouteSpec* spec) {
  if (spec->rules().empty()) spec->add_rules();
  for (v1::HTTPRouteRule& rule : *spec->mutable_rules()) {
    FillGroups(rule.mutable_backend_refs());
    if (rule.matches().empty()) rule.add_matches();
    for (v1::HTTPRouteMatch& match : *rule.mutable_matches()) {
      v1::HTTPPathMatch* path = match.mutable_path();
      if (path->type().empty()) path->set_type("PathPrefix");
      if (path->value().empty()) path->set_value("/");
    }
  }
}

void FillGrpcRoute(v1::GRPCRouteSpec* spec) {
  for (v1::GRPCRouteRule& rule : *spec->mutable_rules()) FillGroups(rule.mutable_backend_refs());
}

// Of the parts of a path in a URL, which names of RBAC's objects become.
std::string CheckPathSegment(std::string_view name) {
  if (name == "." || name == "..") return fmt::format("may not be '{}'", name);
  for (const char c : {'/', '%'}) {
    if (name.find(c) != std::string_view::npos) return fmt::format("may not contain '{}'", c);
  }
  return "";
}

}  // namespace

std::optional<std::string> CheckNameOfKind(v1::Kind kind, std::string_view name) {
  switch (kind) {
    case v1::KIND_ROLE:
    case v1::KIND_ROLE_BINDING:
    case v1::KIND_CLUSTER_ROLE:
    case v1::KIND_CLUSTER_ROLE_BINDING:
      return CheckPathSegment(name);
    default:
      return std::nullopt;
  }
}

void FillStoredKind(v1::Resource* resource) {
  switch (resource->kind_case()) {
    case R::kStatefulSet:
      if (!resource->stateful_set().has_spec()) return;
      return FillStatefulSet(resource->mutable_stateful_set()->mutable_spec());
    case R::kDaemonSet:
      if (!resource->daemon_set().has_spec()) return;
      return FillDaemonSet(resource->mutable_daemon_set()->mutable_spec());
    case R::kReplicationController:
      if (!resource->replication_controller().has_spec()) return;
      return FillReplicationController(resource->mutable_replication_controller());
    case R::kJob:
      if (resource->job().has_spec()) FillJob(resource->mutable_job()->mutable_spec());
      return;
    case R::kCronJob:
      if (!resource->cron_job().spec().job_template().has_spec()) return;
      return FillJob(
          resource->mutable_cron_job()->mutable_spec()->mutable_job_template()->mutable_spec());
    case R::kSecret:
      return FillSecret(resource->mutable_secret());
    case R::kHorizontalPodAutoscaler:
      if (!resource->horizontal_pod_autoscaler().has_spec()) return;
      return FillAutoscaler(resource->mutable_horizontal_pod_autoscaler()->mutable_spec());
    case R::kLimitRange:
      if (!resource->limit_range().has_spec()) return;
      return FillLimitRange(resource->mutable_limit_range()->mutable_spec());
    case R::kRoleBinding: {
      v1::RoleBinding* binding = resource->mutable_role_binding();
      return FillBinding(binding->has_role_ref() ? binding->mutable_role_ref() : nullptr,
                         binding->mutable_subjects());
    }
    case R::kClusterRoleBinding: {
      v1::ClusterRoleBinding* binding = resource->mutable_cluster_role_binding();
      return FillBinding(binding->has_role_ref() ? binding->mutable_role_ref() : nullptr,
                         binding->mutable_subjects());
    }
    case R::kGateway:
      if (resource->gateway().has_spec()) FillGateway(resource->mutable_gateway()->mutable_spec());
      return;
    case R::kHttpRoute:
      if (!resource->http_route().has_spec()) return;
      return FillHttpRoute(resource->mutable_http_route()->mutable_spec());
    case R::kGrpcRoute:
      if (!resource->grpc_route().has_spec()) return;
      return FillGrpcRoute(resource->mutable_grpc_route()->mutable_spec());
    default:
      return;
  }
}

void CheckStoredKind(const v1::Resource& resource, Problems* problems) {
  switch (resource.kind_case()) {
    case R::kStatefulSet:
      return CheckStatefulSet(resource.stateful_set(), problems);
    case R::kDaemonSet:
      return CheckDaemonSet(resource.daemon_set(), problems);
    case R::kReplicationController:
      return CheckReplicationController(resource.replication_controller(), problems);
    case R::kJob:
      return CheckJob(resource.job(), problems);
    case R::kCronJob:
      return CheckCronJob(resource.cron_job(), problems);
    case R::kEndpoints:
      return CheckEndpoints(resource.endpoints(), problems);
    case R::kConfigMap:
      return CheckConfigMap(resource.config_map(), problems);
    case R::kSecret:
      return CheckSecret(resource.secret(), problems);
    case R::kPersistentVolume:
      return CheckPersistentVolume(resource.persistent_volume(), problems);
    case R::kPersistentVolumeClaim:
      return CheckPersistentVolumeClaim(resource.persistent_volume_claim(), problems);
    case R::kStorageClass:
      return CheckStorageClass(resource.storage_class(), problems);
    case R::kHorizontalPodAutoscaler:
      return CheckAutoscaler(resource.horizontal_pod_autoscaler(), problems);
    case R::kPodDisruptionBudget:
      return CheckDisruptionBudget(resource.pod_disruption_budget(), problems);
    case R::kPriorityClass:
      return CheckPriorityClass(resource.priority_class(), problems);
    case R::kResourceQuota:
      return CheckResourceQuota(resource.resource_quota(), problems);
    case R::kLimitRange:
      return CheckLimitRange(resource.limit_range(), problems);
    case R::kRole:
      return CheckRole(resource.role(), problems);
    case R::kClusterRole:
      return CheckClusterRole(resource.cluster_role(), problems);
    case R::kRoleBinding:
      return CheckRoleBinding(resource.role_binding(), problems);
    case R::kClusterRoleBinding:
      return CheckClusterRoleBinding(resource.cluster_role_binding(), problems);
    case R::kIngress:
      return CheckIngress(resource.ingress(), problems);
    case R::kIngressClass:
      return CheckIngressClass(resource.ingress_class(), problems);
    case R::kGateway:
      return CheckGateway(resource.gateway(), problems);
    case R::kGatewayClass:
      return CheckGatewayClass(resource.gateway_class(), problems);
    case R::kHttpRoute:
      return CheckHttpRoute(resource.http_route(), problems);
    case R::kGrpcRoute:
      return CheckGrpcRoute(resource.grpc_route(), problems);
    default:
      return;
  }
}

void CheckStoredKindUpdate(const v1::Resource& live, const v1::Resource& next, Problems* problems) {
  switch (live.kind_case()) {
    case R::kStatefulSet:
      return CheckStatefulSetUpdate(live.stateful_set().spec(), next.stateful_set().spec(),
                                    problems);
    case R::kJob:
      return CheckJobUpdate(live.job().spec(), next.job().spec(), problems);
    case R::kConfigMap:
      return CheckConfigMapUpdate(live.config_map(), next.config_map(), problems);
    case R::kSecret:
      return CheckSecretUpdate(live.secret(), next.secret(), problems);
    case R::kPersistentVolume:
      return CheckPersistentVolumeUpdate(live.persistent_volume().spec(),
                                         next.persistent_volume().spec(), problems);
    case R::kPersistentVolumeClaim:
      return CheckClaimUpdate(live.persistent_volume_claim().spec(),
                              next.persistent_volume_claim().spec(), problems);
    case R::kStorageClass:
      return CheckStorageClassUpdate(live.storage_class(), next.storage_class(), problems);
    case R::kPriorityClass:
      return CheckPriorityClassUpdate(live.priority_class(), next.priority_class(), problems);
    case R::kResourceQuota:
      return CheckResourceQuotaUpdate(live.resource_quota().spec(), next.resource_quota().spec(),
                                      problems);
    case R::kRoleBinding:
      return CheckRoleRefUpdate(live.role_binding().role_ref(), next.role_binding().role_ref(),
                                problems);
    case R::kClusterRoleBinding:
      return CheckRoleRefUpdate(live.cluster_role_binding().role_ref(),
                                next.cluster_role_binding().role_ref(), problems);
    default:
      return;
  }
}

void WarnStoredKind(const v1::Resource& resource, Problems* problems) {
  if (resource.has_pod_disruption_budget()) {
    WarnDisruptionBudget(resource.pod_disruption_budget(), problems);
  }
}

}  // namespace mesh::schema::internal
