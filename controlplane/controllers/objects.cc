// SPDX-License-Identifier: Apache-2.0
#include "controlplane/controllers/objects.h"

#include <algorithm>
#include <charconv>

#include "api/schema/selector.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/message.h"

namespace mesh::controlplane {
namespace {

constexpr std::string_view kSafeAlphabet = "bcdfghjklmnpqrstvwxz2456789";

}  // namespace

absl::Time ToTime(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  const int64_t nanos = absl::ToUnixNanos(time);
  google::protobuf::Timestamp out;
  out.set_seconds(nanos / 1'000'000'000);
  out.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return out;
}

v1::Resource Wrap(const v1::Namespace& object) {
  v1::Resource out;
  *out.mutable_namespace_() = object;
  return out;
}
v1::Resource Wrap(const v1::Node& object) {
  v1::Resource out;
  *out.mutable_node() = object;
  return out;
}
v1::Resource Wrap(const v1::Pod& object) {
  v1::Resource out;
  *out.mutable_pod() = object;
  return out;
}
v1::Resource Wrap(const v1::ReplicaSet& object) {
  v1::Resource out;
  *out.mutable_replica_set() = object;
  return out;
}
v1::Resource Wrap(const v1::Deployment& object) {
  v1::Resource out;
  *out.mutable_deployment() = object;
  return out;
}
v1::Resource Wrap(const v1::Service& object) {
  v1::Resource out;
  *out.mutable_service() = object;
  return out;
}
v1::Resource Wrap(const v1::EndpointSlice& object) {
  v1::Resource out;
  *out.mutable_endpoint_slice() = object;
  return out;
}
v1::Resource Wrap(const v1::NetworkPolicy& object) {
  v1::Resource out;
  *out.mutable_network_policy() = object;
  return out;
}
v1::Resource Wrap(const v1::Event& object) {
  v1::Resource out;
  *out.mutable_event() = object;
  return out;
}

const v1::OwnerReference* ControllerOf(const v1::ObjectMeta& meta) {
  for (const v1::OwnerReference& owner : meta.owner_references())
    if (owner.controller()) return &owner;
  return nullptr;
}

v1::OwnerReference ControllerRef(std::string_view api_version, std::string_view kind,
                                 const v1::ObjectMeta& owner) {
  v1::OwnerReference out;
  out.set_api_version(std::string(api_version));
  out.set_kind(std::string(kind));
  out.set_name(owner.name());
  out.set_uid(owner.uid());
  out.set_controller(true);
  out.set_block_owner_deletion(true);
  return out;
}

void RemoveOwner(v1::ObjectMeta* meta, const std::string& uid) {
  auto* owners = meta->mutable_owner_references();
  owners->erase(std::remove_if(owners->begin(), owners->end(),
                               [&](const v1::OwnerReference& o) { return o.uid() == uid; }),
                owners->end());
}

v1::ObjectReference ReferenceTo(std::string_view api_version, std::string_view kind,
                                const v1::ObjectMeta& meta) {
  v1::ObjectReference out;
  out.set_api_version(std::string(api_version));
  out.set_kind(std::string(kind));
  out.set_namespace_(meta.namespace_());
  out.set_name(meta.name());
  out.set_uid(meta.uid());
  return out;
}

bool MatchesLabels(const Labels& wanted, const Labels& labels) {
  return schema::MatchesAll(wanted, labels);
}

bool MatchesSelector(const v1::LabelSelector& selector, const Labels& labels) {
  return schema::Matches(selector, labels);
}

bool IsEmptySelector(const v1::LabelSelector& selector) {
  return selector.match_labels().empty() && selector.match_expressions().empty();
}

const v1::Condition* FindCondition(const Conditions& conditions, std::string_view type) {
  for (const v1::Condition& condition : conditions)
    if (condition.type() == type) return &condition;
  return nullptr;
}

bool IsConditionTrue(const Conditions& conditions, std::string_view type) {
  const v1::Condition* condition = FindCondition(conditions, type);
  return condition != nullptr && condition->status() == "True";
}

bool SetCondition(Conditions* conditions, std::string_view type, std::string_view status,
                  std::string_view reason, std::string_view message, absl::Time now) {
  v1::Condition* condition = nullptr;
  for (v1::Condition& c : *conditions)
    if (c.type() == type) condition = &c;
  if (condition == nullptr) {
    condition = conditions->Add();
    condition->set_type(std::string(type));
  } else if (condition->status() == status && condition->reason() == reason &&
             condition->message() == message) {
    return false;
  }
  if (condition->status() != status) *condition->mutable_last_transition_time() = ToTimestamp(now);
  condition->set_status(std::string(status));
  condition->set_reason(std::string(reason));
  condition->set_message(std::string(message));
  *condition->mutable_last_update_time() = ToTimestamp(now);
  return true;
}

bool IsFinished(const v1::Pod& pod) {
  return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

bool IsActive(const v1::Pod& pod) { return !IsFinished(pod) && !IsTerminating(pod.metadata()); }

bool IsBound(const v1::Pod& pod) {
  return !pod.spec().node_name().empty() && !pod.status().pod_ip().empty();
}

bool IsNodeHeard(const ClusterState& state, const std::string& node_name) {
  const v1::Node* node = FindObject(state.nodes, {"", node_name});
  if (node == nullptr) return false;
  const v1::Condition* ready = FindCondition(node->status().conditions(), "Ready");
  return ready == nullptr || ready->status() != "Unknown";
}

bool IsNodeReady(const v1::Node& node) {
  return IsConditionTrue(node.status().conditions(), "Ready");
}

bool IsPodConditionReady(const v1::Pod& pod) {
  return IsConditionTrue(pod.status().conditions(), "Ready");
}

bool IsPodReady(const ClusterState& state, const v1::Pod& pod) {
  return IsPodConditionReady(pod) && IsNodeHeard(state, pod.spec().node_name());
}

bool IsPodAvailable(const ClusterState& state, const v1::Pod& pod, int32_t min_ready_seconds,
                    absl::Time now, std::optional<absl::Time>* next) {
  if (!IsPodReady(state, pod)) return false;
  if (min_ready_seconds == 0) return true;
  const absl::Time since =
      ToTime(FindCondition(pod.status().conditions(), "Ready")->last_transition_time());
  const absl::Time available_at = since + absl::Seconds(min_ready_seconds);
  if (available_at <= now) return true;
  Earlier(next, available_at);
  return false;
}

NodeFlip NodeFlipOf(const v1::Resource* before, const v1::Resource* after) {
  NodeFlip out;
  const bool is_node =
      (before != nullptr && before->has_node()) || (after != nullptr && after->has_node());
  if (!is_node) return out;
  auto heard = [](const v1::Resource* resource) {
    if (resource == nullptr) return false;
    const v1::Condition* ready = FindCondition(resource->node().status().conditions(), "Ready");
    return ready == nullptr || ready->status() != "Unknown";
  };
  out.node_name = (after != nullptr ? after : before)->node().metadata().name();
  out.flipped = heard(before) != heard(after);
  return out;
}

void Earlier(std::optional<absl::Time>* at, absl::Time candidate) {
  if (!at->has_value() || candidate < **at) *at = candidate;
}

uint32_t HashText(std::string_view text) {
  uint32_t hash = 2166136261u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return hash;
}

uint64_t HashText64(std::string_view text) {
  uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 1099511628211u;
  return hash;
}

std::string SafeCharacters(uint64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) {
    out += kSafeAlphabet[value % kSafeAlphabet.size()];
    value /= kSafeAlphabet.size();
  }
  return out;
}

std::string CanonicalBytes(const google::protobuf::Message& message) {
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return out;
}

int64_t RevisionOf(const v1::ObjectMeta& meta) {
  int64_t out = 0;
  const std::string& text = meta.resource_version();
  std::from_chars(text.data(), text.data() + text.size(), out);
  return out;
}

}  // namespace mesh::controlplane
