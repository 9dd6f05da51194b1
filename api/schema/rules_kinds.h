// SPDX-License-Identifier: Apache-2.0
// Rules and defaults of the kinds that are stored for others to act on; private to api/schema. In
// Kubernetes' words. Field options have been checked before; a value that they refuse is not named
// a second time.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "api/schema/rules.h"

namespace mesh::schema::internal {

// One call for all of them; nothing for any other kind.
void CheckStoredKind(const v1::Resource& resource, Problems* problems);
// Where a kind's names are neither subdomains nor labels: what is wrong with the name, or "".
// nullopt: the usual rule holds.
std::optional<std::string> CheckNameOfKind(v1::Kind kind, std::string_view name);
// What may not change, beyond the (immutable) options.
void CheckStoredKindUpdate(const v1::Resource& live, const v1::Resource& next, Problems* problems);
void WarnStoredKind(const v1::Resource& resource, Problems* problems);
// Defaults that no option can state.
void FillStoredKind(v1::Resource* resource);

// rules_apps.cc: the selector against the labels of a template, its restartPolicy (Always), its
// pod.
void CheckTemplate(const v1::LabelSelector& selector, const v1::PodTemplateSpec& pod,
                   std::string_view kind, Problems* problems);
// What every template is asked. `path`: of the template.
void CheckPodTemplate(const v1::PodTemplateSpec& pod, const std::string& path, Problems* problems);
// Number or percentage; true when it is certainly zero. `capped`: 100% at most.
bool CheckIntOrPercent(const v1::IntOrString& value, const std::string& path, bool capped,
                       Problems* problems);
// `3` or `"25%"`.
std::string ValueText(const v1::IntOrString& value);
// {"app":"web"}
std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels);

// rules_sets.cc
void CheckStatefulSet(const v1::StatefulSet& object, Problems* problems);
void CheckDaemonSet(const v1::DaemonSet& object, Problems* problems);
void CheckReplicationController(const v1::ReplicationController& object, Problems* problems);
void CheckStatefulSetUpdate(const v1::StatefulSetSpec& live, const v1::StatefulSetSpec& next,
                            Problems* problems);
// rules_batch.cc
void CheckJob(const v1::Job& object, Problems* problems);
void CheckCronJob(const v1::CronJob& object, Problems* problems);
void CheckJobUpdate(const v1::JobSpec& live, const v1::JobSpec& next, Problems* problems);
// rules_config.cc
void CheckConfigMap(const v1::ConfigMap& object, Problems* problems);
void CheckSecret(const v1::Secret& object, Problems* problems);
void CheckEndpoints(const v1::Endpoints& object, Problems* problems);
void CheckConfigMapUpdate(const v1::ConfigMap& live, const v1::ConfigMap& next, Problems* problems);
void CheckSecretUpdate(const v1::Secret& live, const v1::Secret& next, Problems* problems);
// stringData into data, as base64.
void FillSecret(v1::Secret* secret);
// rules_storage.cc
void CheckPersistentVolume(const v1::PersistentVolume& object, Problems* problems);
void CheckPersistentVolumeClaim(const v1::PersistentVolumeClaim& object, Problems* problems);
void CheckClaimSpec(const v1::PersistentVolumeClaimSpec& spec, const std::string& path,
                    Problems* problems);
void CheckStorageClass(const v1::StorageClass& object, Problems* problems);
void CheckPersistentVolumeUpdate(const v1::PersistentVolumeSpec& live,
                                 const v1::PersistentVolumeSpec& next, Problems* problems);
void CheckClaimUpdate(const v1::PersistentVolumeClaimSpec& live,
                      const v1::PersistentVolumeClaimSpec& next, Problems* problems);
void CheckStorageClassUpdate(const v1::StorageClass& live, const v1::StorageClass& next,
                             Problems* problems);
// rules_limits.cc
void CheckAutoscaler(const v1::HorizontalPodAutoscaler& object, Problems* problems);
void CheckDisruptionBudget(const v1::PodDisruptionBudget& object, Problems* problems);
void WarnDisruptionBudget(const v1::PodDisruptionBudget& object, Problems* problems);
void CheckPriorityClass(const v1::PriorityClass& object, Problems* problems);
void CheckResourceQuota(const v1::ResourceQuota& object, Problems* problems);
void CheckLimitRange(const v1::LimitRange& object, Problems* problems);
void CheckPriorityClassUpdate(const v1::PriorityClass& live, const v1::PriorityClass& next,
                              Problems* problems);
void CheckResourceQuotaUpdate(const v1::ResourceQuotaSpec& live, const v1::ResourceQuotaSpec& next,
                              Problems* problems);
void FillAutoscaler(v1::HorizontalPodAutoscalerSpec* spec);
void FillLimitRange(v1::LimitRangeSpec* spec);
// rules_rbac.cc
void CheckRole(const v1::Role& object, Problems* problems);
void CheckClusterRole(const v1::ClusterRole& object, Problems* problems);
void CheckRoleBinding(const v1::RoleBinding& object, Problems* problems);
void CheckClusterRoleBinding(const v1::ClusterRoleBinding& object, Problems* problems);
void CheckRoleRefUpdate(const v1::RoleRef& live, const v1::RoleRef& next, Problems* problems);
void FillBinding(v1::RoleRef* role, google::protobuf::RepeatedPtrField<v1::Subject>* subjects);
// rules_ingress.cc
void CheckIngress(const v1::Ingress& object, Problems* problems);
void CheckIngressClass(const v1::IngressClass& object, Problems* problems);
// rules_gateway.cc
void CheckGateway(const v1::Gateway& object, Problems* problems);
void CheckGatewayClass(const v1::GatewayClass& object, Problems* problems);
void CheckHttpRoute(const v1::HTTPRoute& object, Problems* problems);
void CheckGrpcRoute(const v1::GRPCRoute& object, Problems* problems);
// "example.com/controller"; what is wrong, or "".
std::string CheckControllerName(std::string_view text);
// "*.example.com" or "example.com"; what is wrong, or "".
std::string CheckHostname(std::string_view text);

}  // namespace mesh::schema::internal
