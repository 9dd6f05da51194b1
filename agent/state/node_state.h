// SPDX-License-Identifier: Apache-2.0
// What this node must do, merged from the updates of the sync stream: a value. The checkpoint on
// disk is its serialized form, so that a node starts its pods and keeps its dataplane without
// meshd.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/shared_map.h"
#include "common/shared_value.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::agent {

struct PodIdentity {
  std::string ip6;  // empty: none
  uint32_t identity = 0;
  friend bool operator==(const PodIdentity&, const PodIdentity&) = default;
};

// The states that follow each other share what has not changed: copying, merging and comparing them
// (SharedMap::ForEachChangeTo) costs what an update changes, not what the cluster has.
struct NodeState {
  int64_t revision = 0;
  // A full update has been merged (now or before the checkpoint was written).
  bool complete = false;
  v1::Welcome config;  // ranges and names; empty node_name until the first Welcome
  SharedMap<std::string, Shared<v1::Pod>> pods;               // by uid
  SharedMap<std::string, Shared<v1::ServiceState>> services;  // by "namespace/name"
  SharedMap<std::string, Shared<v1::PeerNode>> nodes;         // by name, without this node
  SharedMap<uint32_t, Shared<v1::NamespaceState>> namespaces;
  // Pods of other nodes by IPv4 address, with native routing and where policies ask for them.
  SharedMap<std::string, PodIdentity> pod_identities;

  // Policies, and whom they speak about: by identity, by number. Numbers hold within one epoch; 0:
  // no meshd that knows policies has been heard of.
  SharedMap<uint32_t, Shared<v1::IdentityState>> identities;
  SharedMap<uint32_t, Shared<v1::PolicySetState>> policy_sets;
  uint64_t policy_epoch = 0;

  // What the pods refer to, by "namespace/name".
  SharedMap<std::string, Shared<v1::ConfigMap>> config_maps;
  SharedMap<std::string, Shared<v1::Secret>> secrets;
  // PersistentVolumes that claims of the pods are bound to, or that are to be removed, by name.
  SharedMap<std::string, Shared<v1::VolumeState>> volumes;

  // Merging is associative. INVALID_ARGUMENT for an increment without a full update before it.
  absl::Status Merge(const v1::NodeUpdate& update);
};

using NodeStatePtr = std::shared_ptr<const NodeState>;

// Whole file, mode 0600 (it has the secrets), written aside, fsynced and renamed; DATA_LOSS when it
// does not parse.
absl::Status SaveCheckpoint(const NodeState& state, const std::string& path);
// NOT_FOUND when there is none.
absl::StatusOr<NodeState> LoadCheckpoint(const std::string& path);

}  // namespace mesh::agent
