// SPDX-License-Identifier: Apache-2.0
// What this node must do, merged from the updates of the sync stream: a value. The checkpoint on
// disk is its serialized form, so that a node starts its pods and keeps its dataplane without
// meshd.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/shared_value.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::agent {

struct PodIdentity {
  std::string ip6;  // empty: none
  uint32_t identity = 0;
  friend bool operator==(const PodIdentity&, const PodIdentity&) = default;
};
// By IPv4 address.
using PodIdentities = std::map<std::string, PodIdentity>;

struct NodeState {
  int64_t revision = 0;
  // A full update has been merged (now or before the checkpoint was written).
  bool complete = false;
  v1::Welcome config;                   // ranges and names; empty node_name until the first Welcome
  std::map<std::string, v1::Pod> pods;  // by uid
  // By "namespace/name". Shared between the states that follow each other: an update costs what it
  // changes, and what it has not changed is told by comparing pointers.
  std::map<std::string, Shared<v1::ServiceState>> services;
  std::map<std::string, v1::PeerNode> nodes;  // by name, without this node
  std::map<uint32_t, v1::NamespaceState> namespaces;
  // Pods of other nodes, with native routing and where policies ask for them: in blocks of 256
  // addresses (by the upper 24 bits of the address), shared like the Services. No block is empty.
  std::map<uint32_t, Shared<PodIdentities>> pod_identities;

  // Policies, and whom they speak about: by identity, by number. Shared like the Services. Numbers
  // hold within one epoch; 0: no meshd that knows policies has been heard of.
  std::map<uint32_t, Shared<v1::IdentityState>> identities;
  std::map<uint32_t, Shared<v1::PolicySetState>> policy_sets;
  uint64_t policy_epoch = 0;

  // Merging is associative. INVALID_ARGUMENT for an increment without a full update before it.
  absl::Status Merge(const v1::NodeUpdate& update);

 private:
  void MergePodIdentities(const v1::NodeUpdate& update,
                          const std::map<uint32_t, Shared<PodIdentities>>& known);
};

// Calls `change` for each Service in which the two differ, by key, in order: with what it is in
// `now`, or null when it is gone. Cost: one pass over pointers.
void ForEachChangedService(
    const NodeState& before, const NodeState& now,
    const std::function<void(const std::string& key, const v1::ServiceState* service)>& change);

// Calls `change` for each identity in which the two may differ, in order; with null when it is
// gone.
void ForEachChangedIdentity(
    const NodeState& before, const NodeState& now,
    const std::function<void(uint32_t identity, const v1::IdentityState* state)>& change);

// Calls `change` for each block of pod identities in which the two may differ, in order: with what
// it was and what it is; null for what is not there. Cost: one pass over the blocks.
void ForEachChangedBlock(const NodeState& before, const NodeState& now,
                         const std::function<void(uint32_t block, const PodIdentities* was,
                                                  const PodIdentities* is)>& change);

using NodeStatePtr = std::shared_ptr<const NodeState>;

// Whole file, written aside, fsynced and renamed; DATA_LOSS when it does not parse.
absl::Status SaveCheckpoint(const NodeState& state, const std::string& path);
// NOT_FOUND when there is none.
absl::StatusOr<NodeState> LoadCheckpoint(const std::string& path);

}  // namespace mesh::agent
