// SPDX-License-Identifier: Apache-2.0
// What every controller asks of objects: owners, conditions, selectors, readiness. Pure.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "absl/time/time.h"
#include "controlplane/state/cluster_state.h"
#include "google/protobuf/map.h"
#include "google/protobuf/repeated_field.h"
#include "google/protobuf/timestamp.pb.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::controlplane {

using Labels = google::protobuf::Map<std::string, std::string>;
using Conditions = google::protobuf::RepeatedPtrField<v1::Condition>;

// The objects of one namespace, by name: for (const auto& [key, pod] : InNamespace(state.pods,
// ns)).
template <typename T>
class NamespaceRange {
 public:
  using Iterator = typename ObjectMap<T>::const_iterator;
  NamespaceRange(const ObjectMap<T>& map, const std::string& ns)
      : begin_(map.lower_bound({ns, ""})), end_(map.lower_bound({ns + '\0', ""})) {}
  Iterator begin() const { return begin_; }
  Iterator end() const { return end_; }

 private:
  Iterator begin_;
  Iterator end_;
};

template <typename T>
NamespaceRange<T> InNamespace(const ObjectMap<T>& map, const std::string& ns) {
  return NamespaceRange<T>(map, ns);
}

// nullptr when absent.
template <typename T>
const T* FindObject(const ObjectMap<T>& map, const ObjectKey& key) {
  auto it = map.find(key);
  return it == map.end() ? nullptr : it->second.get();
}

absl::Time ToTime(const google::protobuf::Timestamp& timestamp);
google::protobuf::Timestamp ToTimestamp(absl::Time time);

v1::Resource Wrap(const v1::Namespace& object);
v1::Resource Wrap(const v1::Node& object);
v1::Resource Wrap(const v1::Pod& object);
v1::Resource Wrap(const v1::ReplicaSet& object);
v1::Resource Wrap(const v1::Deployment& object);
v1::Resource Wrap(const v1::Service& object);
v1::Resource Wrap(const v1::EndpointSlice& object);
v1::Resource Wrap(const v1::Event& object);
v1::Resource Wrap(const v1::NetworkPolicy& object);

inline ObjectKey KeyOfMeta(const v1::ObjectMeta& meta) { return {meta.namespace_(), meta.name()}; }
inline bool IsTerminating(const v1::ObjectMeta& meta) { return meta.has_deletion_timestamp(); }

// The owner with controller=true; nullptr for orphans.
const v1::OwnerReference* ControllerOf(const v1::ObjectMeta& meta);
v1::OwnerReference ControllerRef(std::string_view api_version, std::string_view kind,
                                 const v1::ObjectMeta& owner);
void RemoveOwner(v1::ObjectMeta* meta, const std::string& uid);
v1::ObjectReference ReferenceTo(std::string_view api_version, std::string_view kind,
                                const v1::ObjectMeta& meta);

bool MatchesLabels(const Labels& wanted, const Labels& labels);
// metav1.LabelSelector; an empty one matches everything.
bool MatchesSelector(const v1::LabelSelector& selector, const Labels& labels);
bool IsEmptySelector(const v1::LabelSelector& selector);

// nullptr when absent.
const v1::Condition* FindCondition(const Conditions& conditions, std::string_view type);
bool IsConditionTrue(const Conditions& conditions, std::string_view type);
// Sets or adds one condition. last_transition_time moves when the status does, last_update_time
// with every change. False when it was exactly so before.
bool SetCondition(Conditions* conditions, std::string_view type, std::string_view status,
                  std::string_view reason, std::string_view message, absl::Time now);

// Phase Succeeded or Failed: its containers will not run again.
bool IsFinished(const v1::Pod& pod);
// Not finished and not asked to stop.
bool IsActive(const v1::Pod& pod);
bool IsBound(const v1::Pod& pod);
// The node reports: it exists and its Ready condition is not Unknown.
bool IsNodeHeard(const ClusterState& state, const std::string& node_name);
bool IsNodeReady(const v1::Node& node);
// The pod's own condition Ready.
bool IsPodConditionReady(const v1::Pod& pod);
// Ready, and its node is heard. Pods of silent nodes count as not ready without being written to,
// so the verdict is undone by the first heartbeat.
bool IsPodReady(const ClusterState& state, const v1::Pod& pod);
// Ready for at least `min_ready_seconds`. `next` is lowered to the time when that becomes true.
bool IsPodAvailable(const ClusterState& state, const v1::Pod& pod, int32_t min_ready_seconds,
                    absl::Time now, std::optional<absl::Time>* next);

// True when a change of a Node turns the verdict on its pods (heard or not, exists or not).
struct NodeFlip {
  bool flipped = false;
  std::string node_name;
};
NodeFlip NodeFlipOf(const v1::Resource* before, const v1::Resource* after);

// min(a, b) where nullopt is never.
void Earlier(std::optional<absl::Time>* at, absl::Time candidate);

// 32-bit FNV-1a.
uint32_t HashText(std::string_view text);
uint64_t HashText64(std::string_view text);
// `count` characters that cannot spell words, from a number. The alphabet of Kubernetes.
std::string SafeCharacters(uint64_t value, int count);
// Deterministic bytes: equal messages give equal strings.
std::string CanonicalBytes(const google::protobuf::Message& message);
// The object's resource_version as number, 0 when it has none.
int64_t RevisionOf(const v1::ObjectMeta& meta);

// Calls `see` for the before and the after of a change that are of this kind.
template <typename Change, typename See>
void ForEachSide(const Change& change, See see) {
  if (change.before != nullptr) see(*change.before);
  if (change.after != nullptr) see(*change.after);
}

}  // namespace mesh::controlplane
