// SPDX-License-Identifier: Apache-2.0
// Chooses a node and an address for each pod that has none.
//
// Pods of a higher spec.priority first, then the older ones. Filters: node ready and schedulable
// (or tolerated), its taints tolerated, spec.nodeName, spec.nodeSelector, spec.affinity,
// spec.topologySpreadConstraints, cpu, memory, number of pods, free ports of the node, a free
// address, the volumes of its claims. Scores: what spec.affinity prefers, taints and spread
// constraints that only ask, then fewest pods of the same owner, then fewest of the same Services,
// then the least allocated node; the name decides between equals.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "controlplane/controllers/controller.h"
#include "controlplane/scheduler/affinity.h"
#include "controlplane/scheduler/node_table.h"
#include "controlplane/scheduler/pod_volumes.h"

namespace mesh::controlplane {

// Why each node cannot take a pod, by kind of obstacle.
struct Rejections {
  int nodes = 0;
  // Reason -> number of nodes; a node may have several.
  std::map<std::string, int> reasons;
  // "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were not ready."
  std::string ToString() const;
};

class Scheduler {
 public:
  // Places pods that wait, in order of creation; at most `limit` bindings, the rest on the next
  // call (requeue_at = now). Pods that fit nowhere get the condition PodScheduled=False with the
  // reasons, and an event when these have changed. Each write comes with an event, which is empty
  // for a claim that gets its node.
  // Not const only for the rounds of addresses, which a restart begins anew.
  ReconcileResult Schedule(const ClusterState& state, absl::Time now, int limit = 5000);

  // True when the change may let a waiting pod be placed, or brings one.
  static bool Concerns(const Change& change);

 private:
  AddressPool::Cursors cursors_;
};

// Waits for the scheduler: not placed, not finished, not on its way out.
bool AwaitsScheduling(const v1::Pod& pod);

// What one node has against one pod.
struct Obstacle {
  enum class Kind : uint8_t {
    kNodeName,       // spec.nodeName is another
    kNodeSelector,   // `missing` are the labels that it lacks
    kNodeAffinity,   // no required term of spec.affinity.nodeAffinity matches
    kUnschedulable,  // cordoned, or being deleted
    kTaint,          // `missing` is the taint that the pod does not tolerate, "key: value"
    kNotReady,
    kCpu,  // `wanted` and `free`, in thousandths
    kMemory,
    kPods,
    kHostPort,
    kNoAddress,
    kPodAffinity,              // required, and no such pod is near
    kPodAntiAffinity,          // such a pod is near
    kExistingPodAntiAffinity,  // a pod is near that does not want this one
    kNoDomain,                 // it lacks a topologyKey of spec.topologySpreadConstraints
    kSkew,                     // too many of the pods that are to be spread are near
    kVolumeAffinity,           // a volume of the pod is on other nodes
    kNoVolume,                 // a claim waits for its first pod, and finds no volume there
  };
  Kind kind;
  // Of what there is only so much: what the pod asks for, what is free and what the node has in
  // all.
  int64_t wanted = 0, free = 0, capacity = 0;
  std::vector<std::string> missing;  // "disk=ssd"
};
// As the summary of all nodes has it: "Insufficient cpu".
std::string SummaryOf(const Obstacle& obstacle);
// Empty: the pod fits on the node. `near`, `volumes`: of this pod.
std::vector<Obstacle> ObstaclesOf(const NodeTable& table, const AddressPool& addresses,
                                  const v1::PodSpec& spec, int node, const PodAffinity& near,
                                  const PodVolumes& volumes);
// A host port of the pod that every node already serves, for a Service, in words; empty: none.
std::string NodePortAmong(const ClusterState& state, const std::vector<HostPort>& ports);

// Reasons of every node against one pod, on the given table.
Rejections Explain(const NodeTable& table, const AddressPool& addresses, const v1::PodSpec& spec,
                   const PodAffinity& near, const PodVolumes& volumes);

}  // namespace mesh::controlplane
