// SPDX-License-Identifier: Apache-2.0
#include "controlplane/scheduler/scheduler.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <set>
#include <utility>

#include "controlplane/controllers/objects.h"
#include "controlplane/controllers/tolerations.h"
#include "controlplane/scheduler/fit.h"
#include "controlplane/state/claims.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

std::string VolumeDirOf(const v1::Node& node) {
  const auto it = node.metadata().annotations().find(kVolumeDirAnnotation);
  return it == node.metadata().annotations().end() ? "" : it->second;
}

bool HasNodePorts(const v1::ServiceSpec& spec) {
  return spec.health_check_node_port() != 0 ||
         std::ranges::any_of(spec.ports(), [](const auto& port) { return port.node_port() != 0; });
}

// Above the spread over owners and Services (49 bits); more preference than this makes no
// difference.
constexpr int kPreferenceShift = 50;
constexpr int64_t kPreferenceMax = 4095;
constexpr int32_t kMostOfOwner = 127;

bool AsksForPods(const v1::PodSpec& spec) {
  return spec.affinity().has_pod_affinity() || spec.affinity().has_pod_anti_affinity() ||
         !spec.topology_spread_constraints().empty();
}

// What one taint that asks pods to stay away weighs: as much as the strongest preference.
constexpr int32_t kUnwelcomeWeight = 100;

// Takes new pods, or the pod does not mind.
bool IsOpen(const NodeTable& table, size_t i, const v1::PodSpec& spec) {
  if (table.schedulable[i]) return true;
  return !IsTerminating(table.nodes[i]->metadata()) &&
         Tolerates(spec, kUnschedulableTaint, "NoSchedule");
}

// What pods of one owner (with one set of labels) share: computed once per pass.
struct Group {
  std::vector<uint8_t> eligible;      // by node: ready, schedulable, selected
  std::vector<int32_t> same_owner;    // pods of the owner, by node
  std::vector<int32_t> same_service;  // pods behind the same Services, by node
  std::vector<int32_t> preferred;     // weights of preferred nodes; empty: none
  std::unique_ptr<PodAffinity> near;  // null: nothing to ask
};

class Pass {
 public:
  // `waiting`: those that Place() may be called with.
  Pass(const ClusterState& state, absl::Time now, AddressPool::Cursors* cursors,
       const std::vector<const v1::Pod*>& waiting)
      : state_(state),
        now_(now),
        table_(NodeTable::Build(state)),
        anti_affine_(FindAntiAffine(state, table_)),
        pods_matter_(!anti_affine_.empty() ||
                     std::ranges::any_of(
                         waiting, [](const v1::Pod* pod) { return AsksForPods(pod->spec()); })),
        addresses_(state, table_, cursors),
        allocated_(table_.size()),
        has_address_(table_.size()) {
    for (size_t i = 0; i < table_.size(); ++i) Refresh(static_cast<int>(i));
  }

  void Place(const v1::Pod& pod) {
    const v1::Namespace* ns = FindObject(state_.namespaces, {"", pod.metadata().namespace_()});
    // Without an identity nobody may talk to it; the namespace's own creation wakes us.
    if (ns == nullptr || ns->status().identity() == 0) return;
    const PodVolumes volumes(state_, pod, once_);
    if (!volumes.problem().empty()) {
      rejected_.push_back(&pod);
      return;
    }
    if (!volumes.awaited().empty()) return;  // the claim's own change wakes us
    const Request request = RequestOf(pod.spec());
    Group& group = GroupOf(pod);
    const std::vector<HostPort> ports = HostPortsOf(pod.spec());
    const int node =
        NodePortAmong(state_, ports).empty() ? Choose(pod, request, ports, group, volumes) : -1;
    if (node < 0) {
      rejected_.push_back(&pod);
      return;
    }
    once_.insert(volumes.once().begin(), volumes.once().end());
    if (std::vector<Write> chosen = volumes.Choose(table_.names[static_cast<size_t>(node)]);
        !chosen.empty()) {
      table_.Add(node, request);
      Refresh(node);
      for (Write& write : chosen) {
        // Two pods may share the claim.
        if (!chosen_.insert(KeyOf(write.resource)).second) continue;
        result_.writes.push_back(std::move(write));
        result_.events.emplace_back();
      }
      return;
    }
    table_.Add(node, request);
    table_.AddHostPorts(node, ports);
    ++group.same_owner[node];
    ++group.same_service[node];
    if (pods_matter_) {
      placed_.emplace_back(&pod, node);
      for (const auto& [key, other] : groups_)
        if (other->near != nullptr) other->near->Add(pod, node);
    }
    Bind(pod, node, ns->status().identity());
    Refresh(node);
  }

  // Reasons are told from how things stand after all placements: they will still be true then.
  ReconcileResult Finish() {
    for (const v1::Pod* pod : rejected_) {
      Reject(*pod);
      // It may be near what has been placed after it.
      if (bound_ > 0 && (pod->spec().affinity().has_pod_affinity() ||
                         !pod->spec().topology_spread_constraints().empty()))
        result_.requeue_at = now_;
    }
    return std::move(result_);
  }
  int bound() const { return bound_; }

 private:
  Group& GroupOf(const v1::Pod& pod) {
    const v1::OwnerReference* owner = ControllerOf(pod.metadata());
    const std::string key = owner != nullptr
                                ? "owner " + owner->uid() + " " + SelectorText(pod) + RulesText(pod)
                                : "pod " + pod.metadata().uid();
    std::unique_ptr<Group>& group = groups_[key];
    if (group == nullptr) group = std::make_unique<Group>(BuildGroup(pod, owner));
    return *group;
  }

  static std::string SelectorText(const v1::Pod& pod) {
    std::map<std::string, std::string> sorted(pod.spec().node_selector().begin(),
                                              pod.spec().node_selector().end());
    std::string out = pod.spec().node_name();
    for (const auto& [key, value] : sorted) out += fmt::format(" {}={}", key, value);
    return out;
  }

  // What tells pods of one owner apart for tolerations and affinity.
  std::string RulesText(const v1::Pod& pod) const {
    if (!pods_matter_ && !pod.spec().has_affinity() && pod.spec().tolerations().empty() &&
        pod.spec().topology_spread_constraints().empty())
      return "";
    v1::Pod rules;
    *rules.mutable_spec()->mutable_affinity() = pod.spec().affinity();
    *rules.mutable_spec()->mutable_tolerations() = pod.spec().tolerations();
    *rules.mutable_spec()->mutable_topology_spread_constraints() =
        pod.spec().topology_spread_constraints();
    if (pods_matter_) *rules.mutable_metadata()->mutable_labels() = pod.metadata().labels();
    return CanonicalBytes(rules);
  }

  std::unique_ptr<PodAffinity> NearOf(const v1::Pod& pod) const {
    auto out = std::make_unique<PodAffinity>(state_, table_, anti_affine_, pod);
    for (const auto& [other, node] : placed_) out->Add(*other, node);
    return out;
  }

  Group BuildGroup(const v1::Pod& pod, const v1::OwnerReference* owner) const {
    Group out;
    out.eligible.resize(table_.size());
    out.same_owner.resize(table_.size());
    out.same_service.resize(table_.size());
    for (size_t i = 0; i < table_.size(); ++i) {
      out.eligible[i] =
          table_.ready[i] && IsOpen(table_, i, pod.spec()) &&
          FirstUntolerated(pod.spec(), *table_.nodes[i]) == nullptr &&
          MatchesLabels(pod.spec().node_selector(), table_.nodes[i]->metadata().labels()) &&
          MatchesNodeAffinity(pod.spec(), *table_.nodes[i]);
    }
    const v1::NodeAffinity& affinity = pod.spec().affinity().node_affinity();
    const bool prefers = !affinity.preferred_during_scheduling_ignored_during_execution().empty();
    if (prefers || std::ranges::any_of(table_.nodes, [](const v1::Node* node) {
          return !node->spec().taints().empty();
        })) {
      out.preferred.reserve(table_.size());
      for (const v1::Node* node : table_.nodes)
        out.preferred.push_back(static_cast<int32_t>(NodePreference(pod.spec(), *node)) -
                                kUnwelcomeWeight * CountUnwelcome(pod.spec(), *node));
    }
    if (pods_matter_) out.near = NearOf(pod);
    const std::string& ns = pod.metadata().namespace_();
    std::vector<const v1::Service*> services;
    for (const auto& [key, service] : InNamespace(state_.services, ns))
      if (!service->spec().selector().empty() &&
          MatchesLabels(service->spec().selector(), pod.metadata().labels()))
        services.push_back(service.get());
    if (owner == nullptr && services.empty()) return out;
    for (const auto& [key, other] : InNamespace(state_.pods, ns)) {
      if (!IsBound(*other) || !IsActive(*other)) continue;
      const int node = table_.IndexOf(other->spec().node_name());
      if (node < 0) continue;
      const v1::OwnerReference* other_owner = ControllerOf(other->metadata());
      if (owner != nullptr && other_owner != nullptr && other_owner->uid() == owner->uid())
        ++out.same_owner[node];
      out.same_service[node] += std::any_of(services.begin(), services.end(),
                                            [&, &labels = other->metadata().labels()](auto* s) {
                                              return MatchesLabels(s->spec().selector(), labels);
                                            });
    }
    return out;
  }

  bool HasRoom(size_t i, const Request& request) const {
    return table_.cpu_used[i] + request.cpu_milli <= table_.cpu_allocatable[i] &&
           table_.memory_used[i] + request.memory_bytes <= table_.memory_allocatable[i] &&
           table_.pods_used[i] < table_.pods_allocatable[i] && has_address_[i];
  }

  // What the loop over all nodes reads, of one that changed: no division and no jump in there.
  void Refresh(int node) {
    const int64_t cpu =
        table_.cpu_weighed[node] * 500 / std::max<int64_t>(table_.cpu_allocatable[node], 1);
    const int64_t memory = table_.memory_weighed[node] / 1024 * 500 /
                           std::max<int64_t>(table_.memory_allocatable[node] / 1024, 1);
    allocated_[node] = static_cast<int32_t>(std::min<int64_t>(cpu + memory, (1 << 20) - 1));
    has_address_[node] = addresses_.HasFree(node);
  }

  // Less where spec.affinity prefers the node.
  static int64_t Disfavour(const Group& group, size_t i) {
    if (group.preferred.empty() && group.near == nullptr) return 0;
    int64_t weight = group.preferred.empty() ? 0 : group.preferred[i];
    if (group.near != nullptr) weight += group.near->Preference(static_cast<int>(i));
    const int64_t middle = kPreferenceMax / 2;
    return (middle - std::clamp(weight, -middle, middle)) << kPreferenceShift;
  }

  // -1 when none fits.
  int Choose(const v1::Pod& pod, const Request& request, const std::vector<HostPort>& ports,
             const Group& group, const PodVolumes& volumes) const {
    const auto has_volumes = [&](size_t i) {
      return volumes.empty() || volumes.Of(*table_.nodes[i]) == PodVolumes::Verdict::kFits;
    };
    if (!pod.spec().node_name().empty()) {
      // The user chose; only what the kernel or the datapath cannot do is refused.
      const int node = table_.IndexOf(pod.spec().node_name());
      return node >= 0 && addresses_.HasFree(node) && table_.HasHostPorts(node, ports) &&
                     MatchesLabels(pod.spec().node_selector(),
                                   table_.nodes[node]->metadata().labels()) &&
                     MatchesNodeAffinity(pod.spec(), *table_.nodes[node]) &&
                     has_volumes(static_cast<size_t>(node))
                 ? node
                 : -1;
    }
    int best = -1;
    int64_t best_score = std::numeric_limits<int64_t>::max();
    for (size_t i = 0; i < table_.size(); ++i) {
      if (!group.eligible[i]) continue;
      const int64_t spread = Disfavour(group, i) +
                             (int64_t{std::min(group.same_owner[i], kMostOfOwner)} << 42) +
                             (int64_t{group.same_service[i]} << 21);
      if (spread >= best_score || !HasRoom(i, request)) continue;
      if (!ports.empty() && !table_.HasHostPorts(static_cast<int>(i), ports)) continue;
      if (group.near != nullptr &&
          group.near->Of(static_cast<int>(i)) != PodAffinity::Verdict::kFits)
        continue;
      if (!has_volumes(i)) continue;
      const int64_t score = spread + allocated_[i];
      if (score >= best_score) continue;
      best_score = score;
      best = static_cast<int>(i);
    }
    return best;
  }

  void Bind(const v1::Pod& pod, int node, uint32_t identity) {
    v1::Pod bound = pod;
    const PodAddresses taken = addresses_.Take(node);
    const std::string ip = taken.v4.ToString();
    bound.mutable_spec()->set_node_name(table_.names[node]);
    bound.mutable_status()->set_pod_ip(ip);
    bound.mutable_status()->clear_pod_ips();
    bound.mutable_status()->add_pod_ips()->set_ip(ip);
    if (taken.v6) bound.mutable_status()->add_pod_ips()->set_ip(taken.v6->ToString());
    bound.mutable_status()->set_identity(identity);
    if (bound.status().phase().empty()) bound.mutable_status()->set_phase("Pending");
    SetCondition(bound.mutable_status()->mutable_conditions(), "PodScheduled", "True", "", "",
                 now_);
    result_.events.push_back(
        {ReferenceTo("v1", "Pod", pod.metadata()), "Normal", "Scheduled",
         fmt::format("Successfully assigned {}/{} to {}", pod.metadata().namespace_(),
                     pod.metadata().name(), table_.names[node])});
    result_.writes.push_back({Write::Type::kBind, Wrap(bound), {}});
    ++bound_;
  }

  void Reject(const v1::Pod& pod) {
    const PodVolumes volumes(state_, pod, once_);
    const std::string taken = volumes.problem().empty()
                                  ? NodePortAmong(state_, HostPortsOf(pod.spec()))
                                  : volumes.problem();
    const std::string message =
        taken.empty() ? Explain(table_, addresses_, pod.spec(), *NearOf(pod), volumes).ToString()
                      : fmt::format("0/{} nodes are available: {}.", table_.size(), taken);
    v1::Pod rejected = pod;
    if (!SetCondition(rejected.mutable_status()->mutable_conditions(), "PodScheduled", "False",
                      "Unschedulable", message, now_))
      return;
    result_.writes.push_back({Write::Type::kUpdateStatus, Wrap(rejected), {}});
    result_.events.push_back(
        {ReferenceTo("v1", "Pod", pod.metadata()), "Warning", "FailedScheduling", message});
  }

  const ClusterState& state_;
  const absl::Time now_;
  NodeTable table_;
  const AntiAffinePods anti_affine_;  // that ran before
  const bool pods_matter_;            // some pod asks for others, or does not want them
  AddressPool addresses_;
  // By node: share that is allocated, in thousandths, cpu and memory together.
  std::vector<int32_t> allocated_;
  std::vector<uint8_t> has_address_;
  std::vector<std::pair<const v1::Pod*, int>> placed_;  // where they matter
  std::map<std::string, std::unique_ptr<Group>> groups_;
  std::vector<const v1::Pod*> rejected_;
  std::set<ObjectKey> once_;    // claims of pods placed here, for one pod only
  std::set<ObjectKey> chosen_;  // claims that have got their node
  int bound_ = 0;
  ReconcileResult result_;
};

}  // namespace

std::string Rejections::ToString() const {
  if (nodes == 0) return "no nodes available to schedule pods";
  std::string list;
  for (const auto& [reason, count] : reasons)
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", count, reason);
  return fmt::format("0/{} nodes are available: {}.", nodes, list);
}

std::string NodePortAmong(const ClusterState& state, const std::vector<HostPort>& ports) {
  if (ports.empty()) return "";
  for (const auto& [key, service] : state.services) {
    const auto clashes = [&, &spec = service->spec()](const HostPort& wanted) {
      return wanted.port == spec.health_check_node_port() ||
             std::ranges::any_of(spec.ports(), [&](const v1::ServicePort& port) {
               return port.node_port() == wanted.port;
             });
    };
    const auto it = std::ranges::find_if(ports, clashes);
    if (it == ports.end()) continue;
    return fmt::format("hostPort {} is a node port of Service {} on every node", it->port,
                       key.ToString());
  }
  return "";
}

std::string SummaryOf(const Obstacle& obstacle) {
  switch (obstacle.kind) {
    case Obstacle::Kind::kNodeName:
      return "node(s) didn't match the requested node name";
    case Obstacle::Kind::kNodeSelector:
    case Obstacle::Kind::kNodeAffinity:
      return "node(s) didn't match Pod's node affinity/selector";
    case Obstacle::Kind::kUnschedulable:
      return "node(s) were unschedulable";
    case Obstacle::Kind::kTaint:
      return fmt::format("node(s) had untolerated taint {{{}}}", obstacle.missing.front());
    case Obstacle::Kind::kNotReady:
      return "node(s) were not ready";
    case Obstacle::Kind::kCpu:
      return "Insufficient cpu";
    case Obstacle::Kind::kMemory:
      return "Insufficient memory";
    case Obstacle::Kind::kPods:
      return "Too many pods";
    case Obstacle::Kind::kHostPort:
      return "node(s) didn't have free ports for the requested pod ports";
    case Obstacle::Kind::kNoAddress:
      return "node(s) had no free pod address";
    case Obstacle::Kind::kPodAffinity:
      return "node(s) didn't match pod affinity rules";
    case Obstacle::Kind::kPodAntiAffinity:
      return "node(s) didn't match pod anti-affinity rules";
    case Obstacle::Kind::kExistingPodAntiAffinity:
      return "node(s) didn't satisfy existing pods anti-affinity rules";
    case Obstacle::Kind::kNoDomain:
      return "node(s) didn't match pod topology spread constraints (missing required label)";
    case Obstacle::Kind::kSkew:
      return "node(s) didn't match pod topology spread constraints";
    case Obstacle::Kind::kVolumeAffinity:
      return "node(s) had volume node affinity conflict";
    case Obstacle::Kind::kNoVolume:
      return "node(s) didn't find available persistent volumes to bind";
  }
  return "";
}

std::vector<Obstacle> ObstaclesOf(const NodeTable& table, const AddressPool& addresses,
                                  const v1::PodSpec& spec, int node, const PodAffinity& near,
                                  const PodVolumes& volumes) {
  using Kind = Obstacle::Kind;
  std::vector<Obstacle> out;
  const auto add = [&](Kind kind) -> Obstacle& { return out.emplace_back(Obstacle{.kind = kind}); };
  const auto i = static_cast<size_t>(node);
  const auto measure = [&](Kind kind, int64_t wanted, int64_t used, int64_t capacity) {
    if (used + wanted <= capacity) return;
    Obstacle& obstacle = add(kind);
    obstacle.wanted = wanted;
    obstacle.free = std::max<int64_t>(capacity - used, 0);
    obstacle.capacity = capacity;
  };
  const bool named = !spec.node_name().empty();
  if (named && spec.node_name() != table.names[i]) add(Kind::kNodeName);
  const Labels& labels = table.nodes[i]->metadata().labels();
  if (!MatchesLabels(spec.node_selector(), labels)) {
    Obstacle& obstacle = add(Kind::kNodeSelector);
    for (const auto& [key, value] : spec.node_selector()) {
      const auto has = labels.find(key);
      if (has == labels.end() || has->second != value)
        obstacle.missing.push_back(fmt::format("{}={}", key, value));
    }
    std::ranges::sort(obstacle.missing);
  }
  if (!MatchesNodeAffinity(spec, *table.nodes[i])) add(Kind::kNodeAffinity);
  // Who names his node has its room taken for granted.
  if (!named) {
    if (!IsOpen(table, i, spec)) add(Kind::kUnschedulable);
    if (const v1::Taint* taint = FirstUntolerated(spec, *table.nodes[i]))
      add(Kind::kTaint).missing.push_back(fmt::format("{}: {}", taint->key(), taint->value()));
    if (!table.ready[i]) add(Kind::kNotReady);
    const Request request = RequestOf(spec);
    measure(Kind::kCpu, request.cpu_milli, table.cpu_used[i], table.cpu_allocatable[i]);
    measure(Kind::kMemory, request.memory_bytes, table.memory_used[i], table.memory_allocatable[i]);
    measure(Kind::kPods, 1, table.pods_used[i], table.pods_allocatable[i]);
  }
  if (!table.HasHostPorts(node, HostPortsOf(spec))) add(Kind::kHostPort);
  if (!addresses.HasFree(node)) add(Kind::kNoAddress);
  switch (volumes.Of(*table.nodes[i])) {
    case PodVolumes::Verdict::kFits:
      break;
    case PodVolumes::Verdict::kAffinity:
      add(Kind::kVolumeAffinity);
      break;
    case PodVolumes::Verdict::kNoVolume:
      add(Kind::kNoVolume);
      break;
  }
  if (named) return out;
  switch (near.Of(node)) {
    case PodAffinity::Verdict::kFits:
      break;
    case PodAffinity::Verdict::kAffinity:
      add(Kind::kPodAffinity);
      break;
    case PodAffinity::Verdict::kAntiAffinity:
      add(Kind::kPodAntiAffinity);
      break;
    case PodAffinity::Verdict::kExistingAntiAffinity:
      add(Kind::kExistingPodAntiAffinity);
      break;
    case PodAffinity::Verdict::kNoDomain:
      add(Kind::kNoDomain);
      break;
    case PodAffinity::Verdict::kSkew:
      add(Kind::kSkew);
      break;
  }
  return out;
}

Rejections Explain(const NodeTable& table, const AddressPool& addresses, const v1::PodSpec& spec,
                   const PodAffinity& near, const PodVolumes& volumes) {
  // What rules a node out by itself: the rest of it is not told.
  const auto decides = [](const Obstacle& obstacle) {
    return obstacle.kind <= Obstacle::Kind::kNotReady;
  };
  Rejections out;
  out.nodes = static_cast<int>(table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    for (const Obstacle& obstacle :
         ObstaclesOf(table, addresses, spec, static_cast<int>(i), near, volumes)) {
      ++out.reasons[SummaryOf(obstacle)];
      if (decides(obstacle)) break;
    }
  }
  return out;
}

bool AwaitsScheduling(const v1::Pod& pod) {
  return !IsBound(pod) && !IsFinished(pod) && !IsTerminating(pod.metadata());
}

ReconcileResult Scheduler::Schedule(const ClusterState& state, absl::Time now, int limit) {
  std::vector<const v1::Pod*> waiting;
  for (const auto& [key, pod] : state.pods)
    if (AwaitsScheduling(*pod)) waiting.push_back(pod.get());
  if (waiting.empty()) return {};
  std::stable_sort(waiting.begin(), waiting.end(), [](const v1::Pod* a, const v1::Pod* b) {
    if (a->spec().priority() != b->spec().priority())
      return a->spec().priority() > b->spec().priority();
    return ToTime(a->metadata().creation_timestamp()) < ToTime(b->metadata().creation_timestamp());
  });
  Pass pass(state, now, &cursors_, waiting);
  bool all = true;
  for (const v1::Pod* pod : waiting) {
    if (pass.bound() >= limit) {
      all = false;
      break;
    }
    pass.Place(*pod);
  }
  ReconcileResult result = pass.Finish();
  if (!all) result.requeue_at = now;
  return result;
}

bool Scheduler::Concerns(const Change& change) {
  const v1::Resource* before = change.before.get();
  const v1::Resource* after = change.after.get();
  const v1::Resource& any = after != nullptr ? *after : *before;
  if (any.has_namespace_())
    return before == nullptr || after == nullptr ||
           before->namespace_().status().identity() != after->namespace_().status().identity();
  if (any.has_pod()) {
    if (after == nullptr) return true;  // its room and address are free
    if (AwaitsScheduling(after->pod())) return true;
    return before != nullptr && IsFinished(after->pod()) != IsFinished(before->pod());
  }
  // A node port may be free for a pod that waits for it.
  if (any.has_service()) return before != nullptr && HasNodePorts(before->service().spec());
  if (any.has_persistent_volume_claim() || any.has_persistent_volume() || any.has_storage_class())
    return true;
  if (!any.has_node()) return false;
  if (before == nullptr || after == nullptr) return true;
  // Heartbeats change nothing here.
  const v1::Node& a = before->node();
  const v1::Node& b = after->node();
  return IsNodeReady(a) != IsNodeReady(b) || CanonicalBytes(a.spec()) != CanonicalBytes(b.spec()) ||
         !MatchesLabels(a.metadata().labels(), b.metadata().labels()) ||
         !MatchesLabels(b.metadata().labels(), a.metadata().labels()) ||
         VolumeDirOf(a) != VolumeDirOf(b) || [&] {
           v1::NodeStatus x, y;
           *x.mutable_allocatable() = a.status().allocatable();
           *y.mutable_allocatable() = b.status().allocatable();
           return CanonicalBytes(x) != CanonicalBytes(y);
         }();
}

}  // namespace mesh::controlplane
