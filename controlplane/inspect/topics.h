// SPDX-License-Identifier: Apache-2.0
// What an answer is made of, by topic; private to this folder.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/cluster_ranges.h"
#include "controlplane/inspect/report.h"
#include "controlplane/inspect/why.h"
#include "controlplane/policy/policy_rules.h"

namespace mesh::controlplane {

// Everything about one pod, from its place to its containers.
void WhyPod(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report);
// What its agent tells of a node that is heard and does not keep pods from running there.
void NoteNode(const v1::Node& node, Report* report);
// Of a pod that has no node: what each node has against it.
void WhyPending(const ClusterState& state, const v1::Pod& pod, Report* report);
// Of one that has: containers that do not run, or were started again.
void WhyContainers(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report);
// What the network has said of a pod that runs: flows it may not open or finds no source port for,
// host ports that it does not get.
void WhyNetwork(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report);
// When its node last told that connections of the pod to `place` ("192.0.2.7:443/TCP") find no
// source port; it does so each minute while that goes on. nullopt: never, or long ago.
std::optional<absl::Time> PortsTakenAt(const ClusterState& state, const v1::Pod& pod,
                                       const std::string& place, absl::Time now);
// What keeps the pod from being ready, its first problem; nullopt: it is as it should be.
std::optional<v1::Finding> ProblemOf(const ClusterState& state, const v1::Pod& pod, absl::Time now);
// The same in one line, without the pod's own name.
std::string OneLine(const v1::Finding& finding, const v1::Pod& pod);

// A request, from the pod that asks to the sockets of those that shall answer. Pods whose sockets
// matter and are not in `known` are added to `wanted`.
void WhyConnection(const ClusterState& state, const ClusterRanges& ranges, const v1::Pod& from,
                   const v1::WhyConnection& connection, const Known& known, absl::Time now,
                   Report* report, std::set<ObjectKey>* wanted);

// Both look into sockets as WhyConnection does.
void WhyService(const ClusterState& state, const v1::Service& service, const Listeners& known,
                absl::Time now, Report* report, std::set<ObjectKey>* wanted);
void WhyPolicy(const ClusterState& state, const ClusterRanges& ranges,
               const v1::NetworkPolicy& policy, const Known& known, Report* report,
               std::set<ObjectKey>* wanted);
// Which policies that select the pod, for the direction (nullopt: for either), are not in force at
// its node. Whether there are any: what they say is not what packets meet.
bool WhyRefused(const ClusterState& state, const v1::Pod& pod, std::optional<Direction> direction,
                const Refusals& refusals, Report* report);
// Where the policy, "shop/web", is not in force.
void WhyPolicyRefused(const ClusterState& state, const ParsedPolicy& parsed,
                      const std::string& name, const std::string& title, const Refusals& refusals,
                      Report* report);
// Policies of the namespace that judge the direction and select no pod: "shop/typo".
std::vector<std::string> PoliciesOfNobody(const ClusterState& state, const std::string& ns,
                                          Direction direction);

}  // namespace mesh::controlplane
