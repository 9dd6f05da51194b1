// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/node_life_controller.h"

#include <algorithm>

#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/tolerations.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr char kSilentReason[] = "NodeStatusUnknown";
constexpr char kSilentMessage[] = "Agent stopped posting node status.";

// The stored heartbeat is older than the last one: few are written.
absl::Time LastHeard(const ClusterState& state, const v1::Node& node) {
  const absl::Time stored =
      ToTime(node.status().has_last_heartbeat() ? node.status().last_heartbeat()
                                                : node.metadata().creation_timestamp());
  auto heard = state.heard.find(node.metadata().name());
  return heard == state.heard.end() ? stored : std::max(stored, heard->second);
}

bool AnyNodeReady(const ClusterState& state) {
  return std::any_of(state.nodes.begin(), state.nodes.end(),
                     [](const auto& entry) { return IsNodeReady(*entry.second); });
}

}  // namespace

absl::StatusOr<absl::Duration> ParseEvictAfter(const std::string& text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(
        fmt::format("--evict-after \"{}\": must be a duration such as 5s or 1m30s", text));
  }
  const absl::Duration min = NodeLifeOptions().grace;
  if (duration < min || duration > kEvictAfterMax) {
    return absl::InvalidArgumentError(fmt::format(
        "--evict-after {}: must be from {}, when a silent node stops being ready, to {}", text,
        absl::FormatDuration(min), absl::FormatDuration(kEvictAfterMax)));
  }
  return duration;
}

std::vector<ObjectKey> NodeLifeController::Affected(const ClusterState& state,
                                                    const Change& change) const {
  std::vector<ObjectKey> keys;
  ForEachSide(change, [&](const v1::Resource& side) {
    if (side.has_node()) keys.push_back(KeyOf(side));
    // A pod that was bound while its node fell silent.
    if (side.has_pod() && !side.pod().spec().node_name().empty() &&
        !IsNodeHeard(state, side.pod().spec().node_name()))
      keys.push_back({"", side.pod().spec().node_name()});
  });
  // With the first node that answers the others' silence begins to count.
  const NodeFlip flip = NodeFlipOf(change.before.get(), change.after.get());
  if (flip.flipped) {
    for (const auto& [key, node] : state.nodes) keys.push_back(key);
  }
  return keys;
}

ReconcileResult NodeLifeController::Reconcile(const ClusterState& state, const ObjectKey& key,
                                              absl::Time now) const {
  ReconcileResult result;
  const v1::Node* node = FindObject(state.nodes, key);
  if (node == nullptr) return result;
  const absl::Time last = LastHeard(state, *node);
  const absl::Time silent_at = std::max(last + options_.grace, options_.not_before);
  v1::Node updated = *node;
  auto* conditions = updated.mutable_status()->mutable_conditions();
  bool changed = false;
  if (now < silent_at) {
    result.requeue_at = silent_at;
    // Types that we set Unknown; what the agent says of itself is left alone.
    for (v1::Condition& condition : *conditions)
      if (condition.status() == "Unknown" && condition.reason() == kSilentReason)
        changed |= SetCondition(conditions, condition.type(), "True", "AgentReady",
                                "Agent is posting node status.", now);
    if (changed) {
      result.writes.push_back({Write::Type::kUpdateStatus, Wrap(updated), {}});
      result.events.push_back({ReferenceTo("v1", "Node", node->metadata()), "Normal", "NodeReady",
                               fmt::format("Node {} status is now: NodeReady", key.name)});
    }
    return result;
  }
  for (const char* type : {"Ready", "NetworkReady"}) {
    const bool present = FindCondition(*conditions, type) != nullptr;
    if (present || std::string_view(type) == "Ready")
      changed |= SetCondition(conditions, type, "Unknown", kSilentReason, kSilentMessage, now);
  }
  if (changed) {
    result.writes.push_back({Write::Type::kUpdateStatus, Wrap(updated), {}});
    result.events.push_back({ReferenceTo("v1", "Node", node->metadata()), "Normal", "NodeNotReady",
                             fmt::format("Node {} status is now: NodeNotReady", key.name)});
  }
  const absl::Time evict_at = std::max(last + options_.evict_after, silent_at);
  if (now < evict_at) {
    result.requeue_at = evict_at;
    return result;
  }
  const absl::Time since = SomeNodeHeardSince(state, now);
  if (since == absl::InfiniteFuture()) {
    // The first node to be called ready again brings us back; one that still is may be heard.
    if (AnyNodeReady(state)) result.requeue_at = now + options_.grace;
  } else if (now < since + options_.evict_after) {
    result.requeue_at = since + options_.evict_after;
  } else {
    Evict(state, *node, now, &result);
  }
  return result;
}

// Since when some node has been heard without a break; InfiniteFuture() when none is. The store
// learns late that a node is silent: when all fall silent together, each would call the others
// ready.
absl::Time NodeLifeController::SomeNodeHeardSince(const ClusterState& state, absl::Time now) const {
  absl::Time since = absl::InfiniteFuture();
  for (const auto& [key, node] : state.nodes) {
    if (!IsNodeReady(*node) || now >= LastHeard(state, *node) + options_.grace) continue;
    const v1::Condition* ready = FindCondition(node->status().conditions(), "Ready");
    since = std::min(since, ToTime(ready->last_transition_time()));
  }
  return since;
}

void NodeLifeController::Evict(const ClusterState& state, const v1::Node& node, absl::Time now,
                               ReconcileResult* result) const {
  for (const auto& [key, pod] : state.pods) {
    if (pod->spec().node_name() != node.metadata().name() || IsTerminating(pod->metadata()))
      continue;
    // A bare pod would not come back elsewhere: it waits for its node.
    if (ControllerOf(pod->metadata()) == nullptr) continue;
    if (const auto stays = ToleratedFor(pod->spec(), kUnreachableTaint)) {
      const v1::Condition* ready = FindCondition(node.status().conditions(), "Ready");
      const absl::Time until =
          ready == nullptr ? now : ToTime(ready->last_transition_time()) + *stays;
      if (now < until) {
        if (until != absl::InfiniteFuture()) Earlier(&result->requeue_at, until);
        continue;
      }
    }
    if (static_cast<int>(result->writes.size()) >= kMaxWritesPerStep) {
      result->requeue_at = now;
      return;
    }
    result->writes.push_back({Write::Type::kDelete, Wrap(*pod), {}});
    result->events.push_back({ReferenceTo("v1", "Pod", pod->metadata()), "Warning", "NodeNotReady",
                              "Node is not ready"});
  }
}

}  // namespace mesh::controlplane
