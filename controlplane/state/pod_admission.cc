// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/pod_admission.h"

#include <cstdint>
#include <optional>
#include <string>

#include "api/schema/qos.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr char kDefaultAccount[] = "default";

// Kubernetes' own classes, which need no object.
std::optional<int32_t> SystemPriority(const std::string& name) {
  if (name == "system-cluster-critical") return 2'000'000'000;
  if (name == "system-node-critical") return 2'000'001'000;
  return std::nullopt;
}

template <typename... Args>
absl::Status Forbidden(const v1::Pod& pod, fmt::format_string<Args...> format, Args&&... args) {
  return absl::PermissionDeniedError(fmt::format("pods \"{}\" is forbidden: {}",
                                                 pod.metadata().name(),
                                                 fmt::format(format, std::forward<Args>(args)...)));
}

const ObjectMap<v1::Resource>* AllOf(const ClusterState& state, v1::Kind kind) {
  const auto found = state.others.find(kind);
  return found == state.others.end() ? nullptr : &found->second;
}

// What a pod gets that names no class; null: nothing.
const v1::PriorityClass* DefaultClass(const ClusterState& state) {
  const auto* classes = AllOf(state, v1::KIND_PRIORITY_CLASS);
  if (classes == nullptr) return nullptr;
  const v1::PriorityClass* lowest = nullptr;
  for (const auto& [key, object] : *classes) {
    const v1::PriorityClass& one = object->priority_class();
    if (!one.global_default()) continue;
    if (lowest == nullptr || one.value() < lowest->value()) lowest = &one;
  }
  return lowest;
}

absl::Status SetAccount(const ClusterState& state, v1::Pod* pod) {
  v1::PodSpec* spec = pod->mutable_spec();
  if (spec->service_account_name().empty()) {
    spec->set_service_account_name(spec->service_account().empty() ? kDefaultAccount
                                                                   : spec->service_account());
  }
  const std::string& name = spec->service_account_name();
  const std::string& ns = pod->metadata().namespace_();
  if (const auto account = state.Find(v1::KIND_SERVICE_ACCOUNT, {.ns = ns, .name = name})) {
    if (spec->image_pull_secrets().empty()) {
      *spec->mutable_image_pull_secrets() = account->service_account().image_pull_secrets();
    }
    return absl::OkStatus();
  }
  if (name == kDefaultAccount) return absl::OkStatus();
  return Forbidden(*pod, "error looking up service account {}/{}: serviceaccount \"{}\" not found",
                   ns, name, name);
}

absl::Status SetPriority(const ClusterState& state, v1::Pod* pod) {
  v1::PodSpec* spec = pod->mutable_spec();
  const std::string& name = spec->priority_class_name();
  std::optional<int32_t> computed;
  if (name.empty()) {
    const v1::PriorityClass* all = DefaultClass(state);
    if (all != nullptr) {
      computed = all->value();
      spec->set_priority_class_name(all->metadata().name());
    }
  } else if (computed = SystemPriority(name); !computed) {
    const auto* classes = AllOf(state, v1::KIND_PRIORITY_CLASS);
    const auto found =
        classes == nullptr ? ObjectMap<v1::Resource>::const_iterator() : classes->find({"", name});
    if (classes == nullptr || found == classes->end())
      return Forbidden(*pod, "no PriorityClass with name {} was found", name);
    computed = found->second->priority_class().value();
  }
  if (spec->has_priority() && spec->priority() != computed.value_or(0)) {
    return Forbidden(
        *pod,
        "the integer value of priority ({}) must not be provided in pod spec; priority "
        "admission controller computed {} from the given PriorityClass name",
        spec->priority(), computed.value_or(0));
  }
  if (computed) spec->set_priority(*computed);
  return absl::OkStatus();
}

}  // namespace

absl::Status AdmitNewPod(const ClusterState& state, v1::Pod* pod) {
  pod->mutable_status()->set_qos_class(std::string(schema::QosClass(pod->spec())));
  if (absl::Status status = SetAccount(state, pod); !status.ok()) return status;
  return SetPriority(state, pod);
}

}  // namespace mesh::controlplane
