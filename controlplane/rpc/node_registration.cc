// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_registration.h"

#include "controlplane/state/admission.h"
#include "controlplane/state/claims.h"
#include "controlplane/state/object_rules.h"

namespace mesh::controlplane {
namespace {

google::protobuf::Timestamp ExactTimestamp(absl::Time time) {
  const int64_t nanos = absl::ToUnixNanos(time);
  google::protobuf::Timestamp out;
  out.set_seconds(nanos / 1'000'000'000);
  out.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return out;
}

v1::Condition* FindOrAdd(google::protobuf::RepeatedPtrField<v1::Condition>* conditions,
                         const std::string& type) {
  for (v1::Condition& condition : *conditions) {
    if (condition.type() == type) return &condition;
  }
  v1::Condition* added = conditions->Add();
  added->set_type(type);
  return added;
}

void SetNodeCondition(const v1::Condition& given, absl::Time now, v1::NodeStatus* status) {
  v1::Condition* condition = FindOrAdd(status->mutable_conditions(), given.type());
  if (condition->status() != given.status()) {
    *condition->mutable_last_transition_time() = TimestampOf(now);
  }
  condition->set_status(given.status());
  condition->set_reason(given.reason());
  condition->set_message(given.message());
  *condition->mutable_last_heartbeat_time() = TimestampOf(now);
}

// The agent of a Node object that was deleted, and has come back, works with a range that it cannot
// leave while it runs.
bool MayKeepRange(const ClusterState& state, const DualRange& pods, const std::string& node,
                  const std::string& cidr) {
  const absl::StatusOr<IpPrefix> range = IpPrefix::Parse(cidr);
  return range.ok() && range->length() == kNodePrefixLength && pods.v4.Contains(range->base()) &&
         !NodeRangesTaken(state, node).contains(cidr);
}

}  // namespace

v1::Resource RegisteredNode(const ClusterState& state, const DualRange& pods,
                            const v1::Resource* current, const v1::Hello& hello, absl::Time now) {
  v1::Resource out;
  if (current != nullptr) out = *current;
  v1::Node* node = out.mutable_node();
  const std::string& cidr = hello.node().spec().pod_cidr();
  if (current == nullptr && MayKeepRange(state, pods, hello.node_name(), cidr)) {
    node->mutable_spec()->set_pod_cidr(cidr);
    node->mutable_spec()->add_pod_cidrs(cidr);
  }
  node->mutable_metadata()->set_name(hello.node_name());
  auto& labels = *node->mutable_metadata()->mutable_labels();
  for (const auto& [key, value] : hello.node().metadata().labels()) labels[key] = value;
  labels["kubernetes.io/hostname"] = hello.node_name();
  const auto& told = hello.node().metadata().annotations();
  if (const auto folder = told.find(kVolumeDirAnnotation); folder != told.end()) {
    (*node->mutable_metadata()->mutable_annotations())[kVolumeDirAnnotation] = folder->second;
  }
  const v1::NodeStatus& given = hello.node().status();
  v1::NodeStatus* status = node->mutable_status();
  *status->mutable_capacity() = given.capacity();
  *status->mutable_allocatable() =
      given.allocatable().empty() ? given.capacity() : given.allocatable();
  *status->mutable_addresses() = given.addresses();
  *status->mutable_node_info() = given.node_info();
  status->set_agent_endpoint(given.agent_endpoint());
  NoteHeartbeat({given.conditions().begin(), given.conditions().end()}, now, status);
  return out;
}

void NoteHeartbeat(const std::vector<v1::Condition>& conditions, absl::Time now,
                   v1::NodeStatus* status) {
  for (const v1::Condition& condition : conditions) SetNodeCondition(condition, now, status);
  *status->mutable_last_heartbeat() = ExactTimestamp(now);
}

v1::Condition ReadyCondition() {
  v1::Condition ready;
  ready.set_type("Ready");
  ready.set_status("True");
  ready.set_reason("AgentReady");
  ready.set_message("Agent is posting node status.");
  return ready;
}

}  // namespace mesh::controlplane
