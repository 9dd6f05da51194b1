// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/admission.h"

#include <algorithm>
#include <set>
#include <utility>

#include "common/check.h"
#include "common/status.h"
#include "controlplane/state/claims.h"
#include "controlplane/state/object_rules.h"
#include "controlplane/state/pod_admission.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// Of a node's range, from its first address: none, the node itself.
constexpr uint64_t kNodeAddresses = 2;

ClusterRanges ParsedRanges(const AdmissionOptions& options) {
  absl::StatusOr<ClusterRanges> ranges =
      ParseClusterRanges(options.cluster_cidr, options.service_cidr);
  MESH_CHECK(ranges.ok()) << ranges.status().ToString();
  return *ranges;
}

// The last 64 bits.
uint64_t Low(const IpAddress& address) {
  uint64_t out = 0;
  for (int i = 8; i < 16; ++i) out = out << 8 | address.bytes()[i];
  return out;
}

// The range of IPv6 has the number of the one of IPv4. One that the node has stays.
void AddNodeRange6(const DualRange& pods, v1::NodeSpec* spec) {
  const absl::StatusOr<IpPrefix> own = IpPrefix::Parse(spec->pod_cidr());
  if (!pods.v6 || !own.ok() || spec->pod_cidrs_size() > 1) return;
  const std::optional<uint64_t> index = pods.v4.IndexOf(own->base());
  if (!index) return;
  const std::optional<IpPrefix> range =
      pods.v6->Subrange(kNodePrefixLength6, *index >> (32 - kNodePrefixLength));
  if (range) spec->add_pod_cidrs(range->ToString());
}

}  // namespace

Admission::Admission(const AdmissionOptions& options)
    : ranges_(ParsedRanges(options)),
      services_({.services = ranges_.services,
                 .pods = ranges_.pods,
                 .node_port_first = options.node_port_first,
                 .node_port_last = options.node_port_last,
                 .load_balancer_pools = options.load_balancer_pools}) {}

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
  if (next->has_service()) {
    return services_.Admit(state, holder, before == nullptr ? nullptr : &before->service(),
                           next->mutable_service());
  }
  if (next->has_persistent_volume_claim() && before != nullptr) {
    return AdmitClaim(state, before->persistent_volume_claim(), next->persistent_volume_claim());
  }
  if (next->has_endpoint_slice()) return AdmitEndpointSlice(next->endpoint_slice());
  if (next->has_pod()) return AdmitPod(state, holder, before, next->mutable_pod());
  if (next->has_node()) return AdmitNode(state, holder, before == nullptr, next->mutable_node());
  if (next->has_namespace_() && before == nullptr) {
    return AdmitNamespace(state, holder, next->mutable_namespace_());
  }
  return absl::OkStatus();
}

void Admission::Release(uint64_t holder) {
  services_.Release(holder);
  held_identities_.erase(holder);
  held_cidrs_.erase(holder);
  const auto text = held_texts_.find(holder);
  if (text == held_texts_.end()) return;
  const auto held = held_pods_.find(text->second);
  held->second.holders.erase(holder);
  if (held->second.holders.empty()) held_pods_.erase(held);
  held_texts_.erase(text);
}

// A slice written by hand may name whatever can be reached: pods, nodes, a database elsewhere. What
// it may not name is what leads back into the datapath.
absl::Status Admission::AdmitEndpointSlice(const v1::EndpointSlice& slice) const {
  for (int i = 0; i < slice.endpoints_size(); ++i) {
    for (int j = 0; j < slice.endpoints(i).addresses_size(); ++j) {
      const std::string& text = slice.endpoints(i).addresses(j);
      const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
      if (!address.ok()) continue;  // validation has spoken
      const std::string why = WhyNotEndpoint(*address);
      if (why.empty()) continue;
      return InvalidField(fmt::format("EndpointSlice \"{}\" is invalid: ", slice.metadata().name()),
                          fmt::format("endpoints[{}].addresses[{}]", i, j),
                          fmt::format("Invalid value: \"{}\": {}", text, why));
    }
  }
  return absl::OkStatus();
}

std::string Admission::WhyNotEndpoint(const IpAddress& address) const {
  const IpPrefix* services = ranges_.services.Of(address.is_v4());
  if (services != nullptr && services->Contains(address)) {
    return fmt::format("is in the service range {}: an endpoint may not be a Service",
                       services->ToString());
  }
  const IpPrefix* pods = ranges_.pods.Of(address.is_v4());
  if (pods == nullptr || !pods->Contains(address)) return "";
  const uint64_t low = address.is_v4() ? address.v4() & 0xff : Low(address);
  if (low >= kNodeAddresses) return "";
  return fmt::format("is kept for a node of the pod range {}", pods->ToString());
}

uint32_t Admission::TakeIdentity(const ClusterState& state) {
  std::set<uint32_t> taken;
  for (const auto& [other, object] : state.namespaces) taken.insert(object->status().identity());
  for (const auto& [holder, identity] : held_identities_) taken.insert(identity);
  for (const auto& [text, held] : held_pods_) taken.insert(held.number);
  const std::map<uint32_t, int>& used = state.index().identity_numbers;
  // What is given back rests as long as there are others: nodes may still know it.
  if (!taken.empty()) next_identity_ = std::max(next_identity_, *taken.rbegin() + 1);
  if (!used.empty()) next_identity_ = std::max(next_identity_, used.rbegin()->first + 1);
  for (uint32_t tried = kIdentityMin; tried <= kIdentityMax; ++tried) {
    if (next_identity_ > kIdentityMax) next_identity_ = kIdentityMin;
    const uint32_t identity = next_identity_++;
    // A pod may outlive its namespace object for a moment; its traffic must not become another's.
    if (!taken.contains(identity) && !used.contains(identity)) return identity;
  }
  return 0;
}

absl::Status Admission::AdmitNamespace(const ClusterState& state, uint64_t holder,
                                       v1::Namespace* ns) {
  held_identities_.erase(holder);
  const uint32_t identity = TakeIdentity(state);
  if (identity == 0) {
    return absl::ResourceExhaustedError(
        fmt::format("namespace \"{}\": all {} identities are in use", ns->metadata().name(),
                    kIdentityMax - kIdentityMin + 1));
  }
  ns->mutable_status()->set_identity(identity);
  ns->mutable_status()->set_phase("Active");
  held_identities_[holder] = identity;
  return absl::OkStatus();
}

absl::Status Admission::AdmitPod(const ClusterState& state, uint64_t holder,
                                 const v1::Resource* before, v1::Pod* pod) {
  if (before == nullptr) RETURN_IF_ERROR(AdmitNewPod(state, pod));
  if (pod->spec().node_name().empty() || pod->status().pod_ip().empty()) return absl::OkStatus();
  const std::vector<std::string> blocks = BlocksAround(*pod, state.index().blocks);
  pod->mutable_status()->mutable_identity_blocks()->Assign(blocks.begin(), blocks.end());
  const std::string text = IdentityText(*pod);
  // Before there were policies a pod had the number of its namespace.
  const auto ns = state.namespaces.find({"", pod->metadata().namespace_()});
  const uint32_t of_namespace = ns == state.namespaces.end() ? 0 : ns->second->status().identity();
  const auto may_be = [&](uint32_t identity) { return identity != 0 && identity != of_namespace; };
  v1::PodStatus* status = pod->mutable_status();
  if (before != nullptr && may_be(before->pod().status().identity()) &&
      IdentityText(before->pod()) == text) {
    status->set_identity(before->pod().status().identity());
    return absl::OkStatus();
  }
  if (const auto known = state.index().identities.find(text);
      known != state.index().identities.end()) {
    for (const auto& [identity, pods] : known->second) {
      if (!may_be(identity)) continue;
      status->set_identity(identity);
      return absl::OkStatus();
    }
  }
  Release(holder);  // of a try before this one
  const auto held = held_pods_.find(text);
  const uint32_t identity = held == held_pods_.end() ? TakeIdentity(state) : held->second.number;
  if (identity == 0) {
    return absl::ResourceExhaustedError(fmt::format("pod \"{}\": all {} identities are in use",
                                                    pod->metadata().name(),
                                                    kIdentityMax - kIdentityMin + 1));
  }
  held_pods_[text].number = identity;
  held_pods_[text].holders.insert(holder);
  held_texts_[holder] = text;
  status->set_identity(identity);
  return absl::OkStatus();
}

std::set<std::string> NodeRangesTaken(const ClusterState& state, const std::string& node) {
  std::set<std::string> taken;
  for (const auto& [other, object] : state.nodes) {
    if (other.name != node) taken.insert(object->spec().pod_cidr());
  }
  // A node that was removed may still run pods until it hears of it: its range stays theirs.
  for (const auto& [other, pod] : state.pods) {
    if (pod->spec().node_name() == node) continue;
    const absl::StatusOr<IpAddress> ip = IpAddress::Parse(pod->status().pod_ip());
    if (!ip.ok() || !ip->is_v4()) continue;
    taken.insert(
        fmt::format("{}/{}", IpAddress::V4(ip->v4() & ~0xffu).ToString(), kNodePrefixLength));
  }
  return taken;
}

absl::Status Admission::AdmitNode(const ClusterState& state, uint64_t holder, bool is_new,
                                  v1::Node* node) {
  const std::string& asked = node->spec().pod_cidr();
  if (asked.empty()) {
    RETURN_IF_ERROR(TakeNodeRange(state, holder, node));
  } else if (is_new) {
    if (RangesTaken(state, holder, node->metadata().name()).contains(asked)) {
      return InvalidField(fmt::format("Node \"{}\" is invalid: ", node->metadata().name()),
                          "spec.podCIDR",
                          fmt::format("Invalid value: \"{}\": another node, or a pod of one, has "
                                      "addresses of it; leave it empty to get a free one",
                                      asked));
    }
    held_cidrs_[holder] = asked;
  }
  AddNodeRange6(ranges_.pods, node->mutable_spec());
  return absl::OkStatus();
}

std::set<std::string> Admission::RangesTaken(const ClusterState& state, uint64_t holder,
                                             const std::string& node) const {
  std::set<std::string> taken = NodeRangesTaken(state, node);
  for (const auto& [other, cidr] : held_cidrs_) {
    if (other != holder) taken.insert(cidr);
  }
  return taken;
}

absl::Status Admission::TakeNodeRange(const ClusterState& state, uint64_t holder, v1::Node* node) {
  const std::set<std::string> taken = RangesTaken(state, holder, node->metadata().name());
  const uint64_t count = ranges_.pods.v4.SubrangeCount(kNodePrefixLength);
  for (uint64_t index = 0; index < count; ++index) {
    std::string cidr = ranges_.pods.v4.Subrange(kNodePrefixLength, index)->ToString();
    if (taken.contains(cidr)) continue;
    held_cidrs_[holder] = cidr;
    node->mutable_spec()->set_pod_cidr(cidr);
    node->mutable_spec()->clear_pod_cidrs();
    node->mutable_spec()->add_pod_cidrs(cidr);
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(fmt::format(
      "node \"{}\": no free /{} in {} ({} in use); start meshd with a larger "
      "--cluster-cidr",
      node->metadata().name(), kNodePrefixLength, ranges_.pods.v4.ToString(), taken.size()));
}

}  // namespace mesh::controlplane
