// SPDX-License-Identifier: Apache-2.0
// Rules of one kind each, on top of the field options; private to validate.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/schema/validate.h"
#include "common/ip_address.h"
#include "fmt/format.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::schema::internal {

using Problems = std::vector<Problem>;

template <typename... Args>
void Add(Problems* problems, std::string path, fmt::format_string<Args...> format, Args&&... args) {
  problems->push_back({std::move(path), fmt::format(format, std::forward<Args>(args)...)});
}

// Kubernetes' forms.
std::string InvalidText(std::string_view value, std::string_view why);
std::string DuplicateText(std::string_view value);

// `path` is that of the value: "spec" or "spec.template.spec".
void CheckNamespace(const v1::Namespace& object, Problems* problems);
void CheckNode(const v1::Node& object, Problems* problems);
void CheckPodSpec(const v1::PodSpec& spec, const std::string& path, Problems* problems);
// Of a pod's volumes, their mounts, and where its environment comes from.
void CheckPodSources(const v1::PodSpec& spec, const std::string& path, Problems* problems);
void CheckPodSecurity(const v1::PodSpec& spec, const std::string& path, Problems* problems);
void CheckPlacement(const v1::PodSpec& spec, const std::string& path, Problems* problems);
void CheckSelector(const v1::LabelSelector& selector, const std::string& path, Problems* problems);
void CheckReplicaSet(const v1::ReplicaSet& object, Problems* problems);
void CheckDeployment(const v1::Deployment& object, Problems* problems);
void CheckService(const v1::Service& object, Problems* problems);

void CheckEndpointSlice(const v1::EndpointSlice& object, Problems* problems);
void CheckNetworkPolicy(const v1::NetworkPolicy& object, Problems* problems);
void CheckServiceUpdate(const v1::ServiceSpec& live, const v1::ServiceSpec& next,
                        Problems* problems);
// Annotation mesh.io/weight: 1..1000. `path` is that of the metadata.
void CheckWeight(const google::protobuf::Map<std::string, std::string>& annotations,
                 const std::string& path, Problems* problems);
// Annotations kubernetes.io/ingress-bandwidth and egress-bandwidth: bits a second.
void CheckBandwidth(const google::protobuf::Map<std::string, std::string>& annotations,
                    const std::string& path, Problems* problems);
// Annotation mesh.io/probe-period-ms.
void CheckProbePeriod(const google::protobuf::Map<std::string, std::string>& annotations,
                      const std::string& path, Problems* problems);
// Startup, readiness and liveness probe. `path`: of the container.
void CheckProbes(const v1::Container& container, const std::string& path, Problems* problems);
// postStart and preStop. `grace_seconds`: of the pod. `path`: of the container.
void CheckLifecycle(const v1::Container& container, int64_t grace_seconds, const std::string& path,
                    Problems* problems);
// What init containers may not have, and names that two containers share. `path`: of the spec.
void CheckInitContainers(const v1::PodSpec& spec, const std::string& path, Problems* problems);
// Cluster IPs in the one way that they are stored: "fd00::7" for "fd00:0::7".
void CanonicalizeClusterIps(v1::ServiceSpec* spec);
// policyTypes where they are not given.
void FillNetworkPolicy(v1::NetworkPolicySpec* spec);
// `["a", "b"]`
std::string ListText(const google::protobuf::RepeatedPtrField<std::string>& items);
// What is wrong with a range of addresses; empty when nothing is.
std::string WhyNotRange(const std::string& text);
// Why traffic cannot be sent to the address; empty when it can.
std::string WhyNotUnicast(const IpAddress& address);

// Annotations mesh.io/... that an object of this kind is not asked for. `path`: of the metadata.
void WarnAnnotations(const google::protobuf::Map<std::string, std::string>& annotations,
                     v1::Kind kind, const std::string& path, Problems* problems);
void WarnPodSpec(const v1::PodSpec& spec, const std::string& path, Problems* problems);
void WarnPodSecurity(const v1::PodSpec& spec, const std::string& path, Problems* problems);
void WarnService(const v1::Service& object, Problems* problems);
void WarnNetworkPolicy(const v1::NetworkPolicy& object, Problems* problems);

}  // namespace mesh::schema::internal
