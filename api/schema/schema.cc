// SPDX-License-Identifier: Apache-2.0
#include "api/schema/schema.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "api/schema/fields.h"
#include "common/check.h"
#include "fmt/format.h"

namespace mesh::schema {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// apiVersions that name the same thing, from before the kind was stable.
struct OldVersion {
  v1::Kind kind;
  std::string_view api_version;
};
constexpr OldVersion kOldVersions[] = {
    {v1::KIND_DEPLOYMENT, "extensions/v1beta1"},
    {v1::KIND_DEPLOYMENT, "apps/v1beta1"},
    {v1::KIND_DEPLOYMENT, "apps/v1beta2"},
    {v1::KIND_REPLICA_SET, "extensions/v1beta1"},
    {v1::KIND_REPLICA_SET, "apps/v1beta2"},
    {v1::KIND_ENDPOINT_SLICE, "discovery.k8s.io/v1beta1"},
    {v1::KIND_NETWORK_POLICY, "extensions/v1beta1"},
    {v1::KIND_DAEMON_SET, "extensions/v1beta1"},
    {v1::KIND_DAEMON_SET, "apps/v1beta2"},
    {v1::KIND_STATEFUL_SET, "apps/v1beta1"},
    {v1::KIND_STATEFUL_SET, "apps/v1beta2"},
    {v1::KIND_CRON_JOB, "batch/v1beta1"},
    {v1::KIND_CRON_JOB, "batch/v2alpha1"},
    {v1::KIND_POD_DISRUPTION_BUDGET, "policy/v1beta1"},
    {v1::KIND_STORAGE_CLASS, "storage.k8s.io/v1beta1"},
    {v1::KIND_PRIORITY_CLASS, "scheduling.k8s.io/v1beta1"},
    {v1::KIND_PRIORITY_CLASS, "scheduling.k8s.io/v1alpha1"},
    {v1::KIND_ROLE, "rbac.authorization.k8s.io/v1beta1"},
    {v1::KIND_ROLE_BINDING, "rbac.authorization.k8s.io/v1beta1"},
    {v1::KIND_CLUSTER_ROLE, "rbac.authorization.k8s.io/v1beta1"},
    {v1::KIND_CLUSTER_ROLE_BINDING, "rbac.authorization.k8s.io/v1beta1"},
    {v1::KIND_INGRESS, "extensions/v1beta1"},
    {v1::KIND_INGRESS, "networking.k8s.io/v1beta1"},
    {v1::KIND_INGRESS_CLASS, "networking.k8s.io/v1beta1"},
    {v1::KIND_HORIZONTAL_POD_AUTOSCALER, "autoscaling/v1"},
    {v1::KIND_HORIZONTAL_POD_AUTOSCALER, "autoscaling/v2beta1"},
    {v1::KIND_HORIZONTAL_POD_AUTOSCALER, "autoscaling/v2beta2"},
    {v1::KIND_GATEWAY, "gateway.networking.k8s.io/v1beta1"},
    {v1::KIND_GATEWAY, "gateway.networking.k8s.io/v1alpha2"},
    {v1::KIND_GATEWAY_CLASS, "gateway.networking.k8s.io/v1beta1"},
    {v1::KIND_GATEWAY_CLASS, "gateway.networking.k8s.io/v1alpha2"},
    {v1::KIND_HTTP_ROUTE, "gateway.networking.k8s.io/v1beta1"},
    {v1::KIND_HTTP_ROUTE, "gateway.networking.k8s.io/v1alpha2"},
    {v1::KIND_GRPC_ROUTE, "gateway.networking.k8s.io/v1alpha2"},
};

// kubectl's short names of what mesh does not have.
constexpr std::pair<std::string_view, std::string_view> kForeignShortNames[] = {
    {"crd", "CustomResourceDefinition"},
};

std::string Lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string PluralOf(std::string_view kind) {
  std::string word = Lower(kind);
  if (word == "endpoints") return word;
  if (word.ends_with("s") || word.ends_with("x")) return word + "es";
  if (word.ends_with("y") && word.size() > 1 &&
      std::string_view("aeiou").find(word[word.size() - 2]) == std::string_view::npos) {
    word.pop_back();
    return word + "ies";
  }
  return word + "s";
}

// A group that an extension brought, as against those of Kubernetes itself.
bool IsCustomGroup(std::string_view api_version) {
  const size_t slash = api_version.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view group = api_version.substr(0, slash);
  return group.find('.') != std::string_view::npos;
}

bool IsOurVersion(std::string_view api_version) {
  return std::any_of(AllKinds().begin(), AllKinds().end(),
                     [&](const KindInfo& info) { return info.api_version == api_version; });
}

// The kind that was meant: one of the apiVersion given where that is ours.
std::optional<std::string> NearestKind(std::string_view api_version, std::string_view kind) {
  std::vector<std::string> of_version, others;
  for (const KindInfo& info : AllKinds()) {
    (info.api_version == api_version ? of_version : others).emplace_back(info.name);
  }
  std::vector<std::string> words = of_version;
  words.insert(words.end(), others.begin(), others.end());
  words.insert(words.end(), ForeignKinds().begin(), ForeignKinds().end());
  return NearestWord(kind, words);
}

const FieldDescriptor* BodyField(v1::Kind kind) {
  const FieldDescriptor* field = v1::Resource::descriptor()->FindFieldByNumber(kind);
  MESH_CHECK(field != nullptr) << "no kind " << int{kind};
  return field;
}

}  // namespace

const std::vector<KindInfo>& AllKinds() {
  static const auto* kinds = new std::vector<KindInfo>{
      {v1::KIND_NAMESPACE, "v1", "", "Namespace", "namespaces", "namespace", "ns", false},
      {v1::KIND_NODE, "v1", "", "Node", "nodes", "node", "no", false},
      {v1::KIND_POD, "v1", "", "Pod", "pods", "pod", "po", true},
      {v1::KIND_REPLICA_SET, "apps/v1", "apps", "ReplicaSet", "replicasets", "replicaset", "rs",
       true},
      {v1::KIND_DEPLOYMENT, "apps/v1", "apps", "Deployment", "deployments", "deployment", "deploy",
       true},
      {v1::KIND_SERVICE, "v1", "", "Service", "services", "service", "svc", true},
      {v1::KIND_ENDPOINT_SLICE, "discovery.k8s.io/v1", "discovery.k8s.io", "EndpointSlice",
       "endpointslices", "endpointslice", "", true},
      {v1::KIND_EVENT, "v1", "", "Event", "events", "event", "ev", true},
      {v1::KIND_NETWORK_POLICY, "networking.k8s.io/v1", "networking.k8s.io", "NetworkPolicy",
       "networkpolicies", "networkpolicy", "netpol", true},
      {v1::KIND_STATEFUL_SET, "apps/v1", "apps", "StatefulSet", "statefulsets", "statefulset",
       "sts", true},
      {v1::KIND_DAEMON_SET, "apps/v1", "apps", "DaemonSet", "daemonsets", "daemonset", "ds", true},
      {v1::KIND_REPLICATION_CONTROLLER, "v1", "", "ReplicationController", "replicationcontrollers",
       "replicationcontroller", "rc", true},
      {v1::KIND_JOB, "batch/v1", "batch", "Job", "jobs", "job", "", true},
      {v1::KIND_CRON_JOB, "batch/v1", "batch", "CronJob", "cronjobs", "cronjob", "cj", true},
      {v1::KIND_ENDPOINTS, "v1", "", "Endpoints", "endpoints", "endpoints", "ep", true},
      {v1::KIND_CONFIG_MAP, "v1", "", "ConfigMap", "configmaps", "configmap", "cm", true},
      {v1::KIND_SECRET, "v1", "", "Secret", "secrets", "secret", "", true},
      {v1::KIND_SERVICE_ACCOUNT, "v1", "", "ServiceAccount", "serviceaccounts", "serviceaccount",
       "sa", true},
      {v1::KIND_PERSISTENT_VOLUME, "v1", "", "PersistentVolume", "persistentvolumes",
       "persistentvolume", "pv", false},
      {v1::KIND_PERSISTENT_VOLUME_CLAIM, "v1", "", "PersistentVolumeClaim",
       "persistentvolumeclaims", "persistentvolumeclaim", "pvc", true},
      {v1::KIND_STORAGE_CLASS, "storage.k8s.io/v1", "storage.k8s.io", "StorageClass",
       "storageclasses", "storageclass", "sc", false},
      {v1::KIND_HORIZONTAL_POD_AUTOSCALER, "autoscaling/v2", "autoscaling",
       "HorizontalPodAutoscaler", "horizontalpodautoscalers", "horizontalpodautoscaler", "hpa",
       true},
      {v1::KIND_POD_DISRUPTION_BUDGET, "policy/v1", "policy", "PodDisruptionBudget",
       "poddisruptionbudgets", "poddisruptionbudget", "pdb", true},
      {v1::KIND_PRIORITY_CLASS, "scheduling.k8s.io/v1", "scheduling.k8s.io", "PriorityClass",
       "priorityclasses", "priorityclass", "pc", false},
      {v1::KIND_RESOURCE_QUOTA, "v1", "", "ResourceQuota", "resourcequotas", "resourcequota",
       "quota", true},
      {v1::KIND_LIMIT_RANGE, "v1", "", "LimitRange", "limitranges", "limitrange", "limits", true},
      {v1::KIND_ROLE, "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io", "Role", "roles",
       "role", "", true},
      {v1::KIND_ROLE_BINDING, "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io",
       "RoleBinding", "rolebindings", "rolebinding", "", true},
      {v1::KIND_CLUSTER_ROLE, "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io",
       "ClusterRole", "clusterroles", "clusterrole", "", false},
      {v1::KIND_CLUSTER_ROLE_BINDING, "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io",
       "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", "", false},
      {v1::KIND_INGRESS, "networking.k8s.io/v1", "networking.k8s.io", "Ingress", "ingresses",
       "ingress", "ing", true},
      {v1::KIND_INGRESS_CLASS, "networking.k8s.io/v1", "networking.k8s.io", "IngressClass",
       "ingressclasses", "ingressclass", "", false},
      {v1::KIND_GATEWAY, "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io", "Gateway",
       "gateways", "gateway", "gtw", true},
      {v1::KIND_GATEWAY_CLASS, "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io",
       "GatewayClass", "gatewayclasses", "gatewayclass", "gc", false},
      {v1::KIND_HTTP_ROUTE, "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io",
       "HTTPRoute", "httproutes", "httproute", "", true},
      {v1::KIND_GRPC_ROUTE, "gateway.networking.k8s.io/v1", "gateway.networking.k8s.io",
       "GRPCRoute", "grpcroutes", "grpcroute", "", true},
  };
  return *kinds;
}

const KindInfo& Info(v1::Kind kind) {
  MESH_CHECK(kind > v1::KIND_UNSPECIFIED && static_cast<size_t>(kind) <= AllKinds().size())
      << "no kind " << int{kind};
  return AllKinds()[static_cast<size_t>(kind) - 1];
}

std::string PluralWithGroup(v1::Kind kind) {
  const KindInfo& info = Info(kind);
  return info.group.empty() ? std::string(info.plural)
                            : fmt::format("{}.{}", info.plural, info.group);
}

std::string SingularWithGroup(v1::Kind kind) {
  const KindInfo& info = Info(kind);
  return info.group.empty() ? std::string(info.singular)
                            : fmt::format("{}.{}", info.singular, info.group);
}

std::string ObjectText(const v1::Resource& resource) {
  return fmt::format("{}/{}", SingularWithGroup(KindOf(resource)), MetaOf(resource).name());
}

absl::StatusOr<const KindInfo*> FindResourceType(std::string_view name) {
  const std::string word = Lower(name);
  const size_t dot = word.find('.');
  const std::string resource = word.substr(0, dot);
  // "deployments.apps" or "deployments.v1.apps".
  const std::string suffix = dot == std::string::npos ? "" : word.substr(dot + 1);

  std::vector<std::string> words;
  for (const KindInfo& info : AllKinds()) {
    const std::string version(info.api_version.substr(info.api_version.rfind('/') + 1));
    const bool group_fits = suffix.empty() || suffix == info.group || suffix == version + "." ||
                            suffix == fmt::format("{}.{}", version, info.group);
    if (group_fits && (resource == info.plural || resource == info.singular ||
                       (!info.short_name.empty() && resource == info.short_name))) {
      return &info;
    }
    words.emplace_back(info.plural);
    words.emplace_back(info.singular);
  }
  for (const auto& [short_name, kind] : kForeignShortNames) {
    if (resource == short_name) {
      return absl::InvalidArgumentError(fmt::format(
          "the server doesn't have a resource type \"{}\": {} is not supported yet", name, kind));
    }
  }
  for (const std::string& kind : ForeignKinds()) {
    if (resource == Lower(kind) || resource == PluralOf(kind)) {
      return absl::InvalidArgumentError(fmt::format(
          "the server doesn't have a resource type \"{}\": {} is not supported yet", name, kind));
    }
  }
  std::string message = fmt::format("the server doesn't have a resource type \"{}\"", name);
  if (const auto near = NearestWord(resource, words)) {
    message += fmt::format("; did you mean \"{}\"?", *near);
  }
  return absl::InvalidArgumentError(message);
}

absl::StatusOr<ManifestType> FindManifestType(std::string_view api_version, std::string_view kind) {
  std::vector<std::string> words;
  for (const KindInfo& info : AllKinds()) {
    words.emplace_back(info.name);
    if (info.name != kind) continue;
    if (info.api_version == api_version) return ManifestType{&info, ""};
    for (const OldVersion& old : kOldVersions) {
      if (old.kind != info.kind || old.api_version != api_version) continue;
      return ManifestType{&info, fmt::format("{} {} is deprecated; it is read as {} {}",
                                             api_version, kind, info.api_version, kind)};
    }
    // A Service of another world, or a slip of the pen.
    const bool slip = NearestWord(api_version, {std::string(info.api_version)}).has_value();
    if (IsCustomGroup(api_version) && !slip) break;
    return absl::InvalidArgumentError(fmt::format("kind {} has apiVersion \"{}\", not \"{}\"", kind,
                                                  info.api_version, api_version));
  }
  for (const std::string& word : words) {
    if (word != kind && Lower(word) == Lower(kind)) {
      return absl::InvalidArgumentError(
          fmt::format("unknown kind \"{}\"; did you mean \"{}\"?", kind, word));
    }
  }
  if (IsKnownForeignKind(kind)) {
    return absl::InvalidArgumentError(fmt::format("kind {} is not supported yet", kind));
  }
  if (IsCustomGroup(api_version) && !IsOurVersion(api_version)) {
    return absl::InvalidArgumentError(
        fmt::format("kind {} of apiVersion \"{}\" is not supported yet", kind, api_version));
  }
  std::string message = fmt::format("unknown kind \"{}\"", kind);
  if (const auto near = NearestKind(api_version, kind)) {
    message += fmt::format("; did you mean \"{}\"?", *near);
  }
  return absl::InvalidArgumentError(message);
}

v1::Kind KindOf(const v1::Resource& resource) {
  return static_cast<v1::Kind>(resource.kind_case());
}

const Message& BodyOf(const v1::Resource& resource) {
  return resource.GetReflection()->GetMessage(resource, BodyField(KindOf(resource)));
}

Message* MutableBodyOf(v1::Resource* resource) {
  return resource->GetReflection()->MutableMessage(resource, BodyField(KindOf(*resource)));
}

const v1::ObjectMeta& MetaOf(const v1::Resource& resource) {
  const Message& body = BodyOf(resource);
  const FieldDescriptor* field = body.GetDescriptor()->FindFieldByName("metadata");
  return static_cast<const v1::ObjectMeta&>(body.GetReflection()->GetMessage(body, field));
}

v1::ObjectMeta* MutableMetaOf(v1::Resource* resource) {
  Message* body = MutableBodyOf(resource);
  const FieldDescriptor* field = body->GetDescriptor()->FindFieldByName("metadata");
  return static_cast<v1::ObjectMeta*>(body->GetReflection()->MutableMessage(body, field));
}

v1::Resource NewResource(v1::Kind kind) {
  v1::Resource resource;
  resource.GetReflection()->MutableMessage(&resource, BodyField(kind));
  return resource;
}

}  // namespace mesh::schema
