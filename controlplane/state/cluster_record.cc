// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/cluster_record.h"

#include <memory>
#include <vector>

#include "common/log.h"
#include "common/status.h"
#include "controlplane/store/keys.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// Beside the objects; no kind has this segment.
std::string RoutingKey() { return std::string(kRootPrefix) + "cluster/routing"; }

absl::Status CheckNode(const std::string& name, const v1::NodeSpec& spec,
                       const ClusterRanges& ranges) {
  const auto refused = [&](const std::string& range, const std::string& why) {
    return absl::FailedPreconditionError(fmt::format(
        "node \"{}\" has pods in {}, {}: start with the --cluster-cidr that it is from, or delete "
        "the node first",
        name, range, why));
  };
  std::vector<std::string> texts(spec.pod_cidrs().begin(), spec.pod_cidrs().end());
  if (texts.empty() && !spec.pod_cidr().empty()) texts = {spec.pod_cidr()};
  std::optional<uint64_t> number;
  for (const std::string& text : texts) {
    const absl::StatusOr<IpPrefix> range = IpPrefix::Parse(text);
    if (!range.ok()) continue;  // nothing that admission gave
    const bool is_v4 = range->base().is_v4();
    const IpPrefix* pods = ranges.pods.Of(is_v4);
    if (pods == nullptr || !pods->Contains(range->base())) {
      return refused(text, fmt::format("outside of --cluster-cidr {}", ranges.pods.ToString()));
    }
    if (is_v4) {
      number = *pods->IndexOf(range->base()) >> (32 - kNodePrefixLength);
    } else if (number && pods->Subrange(kNodePrefixLength6, *number) != *range) {
      return refused(
          text, fmt::format("which is not number {} of {}, as its range of IPv4 is of {}", *number,
                            pods->ToString(), ranges.pods.v4.ToString()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> RecordRouting(Store& store, const ClusterState& state,
                                          const std::string& wanted) {
  const std::string key = RoutingKey();
  ASSIGN_OR_RETURN(const RangeResult found, store.Range(key));
  // A store from before this was recorded knew tunnels only.
  const std::string recorded = found.items.empty() ? kRoutingVxlan : found.items[0].value;
  const std::string routing = wanted.empty() ? recorded : wanted;
  if (routing != recorded && !state.nodes.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("--routing {}: the cluster has {} nodes with routing {}; start with --routing "
                    "{}, or delete all nodes while their agents are stopped, and start again",
                    routing, state.nodes.size(), recorded, recorded));
  }
  if (!found.items.empty() && found.items[0].value == routing) return routing;
  Transaction transaction;
  transaction.operations.push_back({.key = key, .value = routing});
  ASSIGN_OR_RETURN(const CommitResult result, store.Commit(transaction));
  (void)result;  // nothing was compared
  return routing;
}

absl::Status CheckRangesHold(const ClusterState& state, const ClusterRanges& ranges) {
  for (const auto& [key, node] : state.nodes) {
    RETURN_IF_ERROR(CheckNode(key.name, node->spec(), ranges));
  }
  for (const auto& [text, key] : state.index().cluster_ips) {
    const absl::StatusOr<IpAddress> address = IpAddress::Parse(text);
    if (!address.ok() || ranges.services.Contains(*address)) continue;
    return absl::FailedPreconditionError(fmt::format(
        "service \"{}\" has the cluster IP {}, outside of --service-cidr {}: start with the "
        "--service-cidr that it is from, or delete the Service first",
        key.ToString(), text, ranges.services.ToString()));
  }
  return absl::OkStatus();
}

void CompleteFamilies(Writer& writer, const ClusterState& state, const ClusterRanges& ranges,
                      Task done) {
  std::vector<std::pair<v1::Kind, ObjectKey>> lacking;
  if (ranges.dual_stack()) {
    for (const auto& [key, node] : state.nodes) {
      if (!node->spec().pod_cidr().empty() && node->spec().pod_cidrs_size() < 2) {
        lacking.emplace_back(v1::KIND_NODE, key);
      }
    }
    for (const auto& [key, service] : state.services) {
      const v1::ServiceSpec& spec = service->spec();
      if (spec.ip_family_policy() == "PreferDualStack" && spec.ip_families_size() < 2) {
        lacking.emplace_back(v1::KIND_SERVICE, key);
      }
    }
  }
  if (lacking.empty()) return done();
  auto left = std::make_shared<size_t>(lacking.size());
  for (const auto& [kind, key] : lacking) {
    writer.Change(
        kind, key,
        [](const ClusterState&,
           const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
          // As it is; admission adds what it lacks.
          if (current == nullptr) return Intent{};
          return Intent{.type = Intent::Type::kPut, .resource = *current, .others = {}};
        },
        [left, done, name = key.ToString()](const absl::StatusOr<Written>& written) {
          if (written.ok()) {
            spdlog::info("{}: has what the IPv6 ranges bring", name);
          } else {
            spdlog::warn("{}: stays without IPv6: {}", name,
                         std::string(written.status().message()));
          }
          if (--*left == 0) done();
        });
  }
}

}  // namespace mesh::controlplane
