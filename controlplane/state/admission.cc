// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/admission.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/check.h"
#include "common/status.h"
#include "controlplane/state/object_rules.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr uint64_t kReservedApiServer = 1;
constexpr uint64_t kReservedDns = 10;
constexpr int kNodePrefixLength = 24;

IpPrefix ParsedRange(const std::string& text) {
  absl::StatusOr<IpPrefix> range = IpPrefix::Parse(text);
  MESH_CHECK(range.ok()) << range.status().ToString();
  return *range;
}

}  // namespace

Admission::Admission(const AdmissionOptions& options)
    : service_range_(ParsedRange(options.service_cidr)),
      cluster_range_(ParsedRange(options.cluster_cidr)) {}

absl::Status Admission::Admit(const ClusterState& state, uint64_t holder,
                              const v1::Resource* before, v1::Resource* next) {
  const std::string& ns = MetaOf(*next).namespace_();
  if (before == nullptr && !ns.empty() && !next->has_event()) {
    auto it = state.namespaces.find({"", ns});
    if (it == state.namespaces.end()) return NotFoundFor(v1::KIND_NAMESPACE, ns);
    if (it->second->metadata().has_deletion_timestamp()) {
      return absl::FailedPreconditionError(fmt::format(
          "unable to create new content in namespace {} because it is being terminated", ns));
    }
  }
  if (next->has_service()) return AdmitService(state, holder, before, next->mutable_service());
  if (next->has_node()) return AdmitNode(state, holder, next->mutable_node());
  if (next->has_namespace_() && before == nullptr) {
    return AdmitNamespace(state, holder, next->mutable_namespace_());
  }
  return absl::OkStatus();
}

void Admission::Release(uint64_t holder) {
  held_ips_.erase(holder);
  held_identities_.erase(holder);
  held_cidrs_.erase(holder);
}

absl::Status Admission::AdmitService(const ClusterState& state, uint64_t holder,
                                     const v1::Resource* before, v1::Service* service) {
  const ObjectKey key{service->metadata().namespace_(), service->metadata().name()};
  if (before != nullptr) {
    const v1::ServiceSpec& was = before->service().spec();
    if (service->spec().cluster_ip().empty()) {
      service->mutable_spec()->set_cluster_ip(was.cluster_ip());
    }
    if (service->spec().cluster_ip() != was.cluster_ip()) {
      return absl::InvalidArgumentError(fmt::format(
          "Service \"{}\" is invalid: spec.clusterIP: Invalid value: \"{}\": field is immutable",
          key.name, service->spec().cluster_ip()));
    }
    *service->mutable_spec()->mutable_cluster_ips() = was.cluster_ips();
    return absl::OkStatus();
  }

  std::set<std::string> taken;
  for (const auto& [other, object] : state.services) {
    if (other != key) taken.insert(object->spec().cluster_ip());
  }
  for (const auto& [other, ip] : held_ips_) {
    if (other != holder) taken.insert(ip);
  }

  const std::string& wanted = service->spec().cluster_ip();
  std::string ip = wanted;
  if (!wanted.empty()) {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(wanted);
    std::string why;
    if (!address.ok() || !service_range_.Contains(*address)) {
      why = fmt::format("the provided IP is not in the valid range. The range of valid IPs is {}",
                        service_range_.ToString());
    } else if (taken.contains(address->ToString())) {
      why = "provided IP is already allocated";
    } else if (*address == service_range_.At(kReservedApiServer) ||
               *address == service_range_.At(kReservedDns) || *address == service_range_.At(0)) {
      why = "the IP is reserved by the cluster";
    }
    if (!why.empty()) {
      return absl::InvalidArgumentError(fmt::format(
          "Service \"{}\" is invalid: spec.clusterIPs: Invalid value: [\"{}\"]: failed to allocate "
          "IP {}: {}",
          key.name, wanted, wanted, why));
    }
    ip = address->ToString();
  } else {
    // The last address of an IPv4 range is its broadcast address. The search goes on where the last
    // one ended, so that an address rests for long before it comes back.
    const uint64_t end = service_range_.size() - 1;
    for (uint64_t tried = 0; tried < end && ip.empty(); ++tried) {
      const uint64_t index = next_ip_index_;
      next_ip_index_ = index + 1 >= end ? 1 : index + 1;
      if (index == 0 || index >= end || index == kReservedApiServer || index == kReservedDns) {
        continue;
      }
      std::string candidate = service_range_.At(index)->ToString();
      if (!taken.contains(candidate)) ip = std::move(candidate);
    }
    if (ip.empty()) {
      return absl::ResourceExhaustedError(
          fmt::format("service \"{}\": no free cluster IP in {} ({} in use); delete services or "
                      "start meshd with a larger --service-cidr",
                      key.ToString(), service_range_.ToString(), taken.size()));
    }
  }
  service->mutable_spec()->set_cluster_ip(ip);
  service->mutable_spec()->clear_cluster_ips();
  service->mutable_spec()->add_cluster_ips(ip);
  held_ips_[holder] = ip;
  return absl::OkStatus();
}

absl::Status Admission::AdmitNamespace(const ClusterState& state, uint64_t holder,
                                       v1::Namespace* ns) {
  std::set<uint32_t> taken;
  for (const auto& [other, object] : state.namespaces) taken.insert(object->status().identity());
  for (const auto& [other, identity] : held_identities_) {
    if (other != holder) taken.insert(identity);
  }
  // A pod may outlive its namespace object for a moment; its traffic must not become another's.
  for (const auto& [other, pod] : state.pods) taken.insert(pod->status().identity());
  if (!taken.empty()) next_identity_ = std::max(next_identity_, *taken.rbegin() + 1);
  for (uint32_t tried = kIdentityMin; tried <= kIdentityMax; ++tried) {
    if (next_identity_ > kIdentityMax) next_identity_ = kIdentityMin;
    const uint32_t identity = next_identity_++;
    if (taken.contains(identity)) continue;
    ns->mutable_status()->set_identity(identity);
    ns->mutable_status()->set_phase("Active");
    held_identities_[holder] = identity;
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(fmt::format("namespace \"{}\": all {} identities are in use",
                                                  ns->metadata().name(),
                                                  kIdentityMax - kIdentityMin + 1));
}

absl::Status Admission::AdmitNode(const ClusterState& state, uint64_t holder, v1::Node* node) {
  if (!node->spec().pod_cidr().empty()) return absl::OkStatus();
  const ObjectKey key{"", node->metadata().name()};
  std::set<std::string> taken;
  for (const auto& [other, object] : state.nodes) taken.insert(object->spec().pod_cidr());
  for (const auto& [other, cidr] : held_cidrs_) {
    if (other != holder) taken.insert(cidr);
  }
  // A node that was removed may still run pods until it hears of it: its range stays theirs.
  for (const auto& [other, pod] : state.pods) {
    const absl::StatusOr<IpAddress> ip = IpAddress::Parse(pod->status().pod_ip());
    if (!ip.ok() || !ip->is_v4()) continue;
    taken.insert(
        fmt::format("{}/{}", IpAddress::V4(ip->v4() & ~0xffu).ToString(), kNodePrefixLength));
  }
  const uint64_t count = cluster_range_.size() >> (32 - kNodePrefixLength);
  for (uint64_t index = 0; index < count; ++index) {
    const std::optional<IpAddress> base = cluster_range_.At(index << (32 - kNodePrefixLength));
    if (!base) break;
    std::string cidr = fmt::format("{}/{}", base->ToString(), kNodePrefixLength);
    if (taken.contains(cidr)) continue;
    held_cidrs_[holder] = cidr;
    node->mutable_spec()->set_pod_cidr(cidr);
    node->mutable_spec()->clear_pod_cidrs();
    node->mutable_spec()->add_pod_cidrs(cidr);
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      fmt::format("node \"{}\": no free /{} in {} ({} in use); start meshd with a larger "
                  "--cluster-cidr",
                  key.name, kNodePrefixLength, cluster_range_.ToString(), taken.size()));
}

}  // namespace mesh::controlplane
