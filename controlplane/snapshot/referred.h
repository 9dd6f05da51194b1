// SPDX-License-Identifier: Apache-2.0
// The ConfigMaps and Secrets that the pods of a node refer to, and the volumes that their claims
// are bound to: a node is told these and no others, and of volumes those whose content it shall
// remove.
//
// Thread: loop only. Deterministic.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

using ReferredKey = std::pair<v1::Kind, ObjectKey>;
using ReferredObjects = std::map<ReferredKey, std::shared_ptr<const v1::Resource>>;

// Who refers to what, kept current pod by pod.
class ReferenceIndex {
 public:
  // Replaces what the pod of that name on that node referred to.
  void Put(const std::string& node, const ObjectKey& key, const v1::Pod& pod);
  void Remove(const std::string& node, const ObjectKey& key);

  // Replaces what is known of one volume; null: there is none of that name.
  void PutVolume(const std::string& name, const v1::PersistentVolume* volume);
  void PutVolumes(const ClusterState& state);

  // Nodes with a pod that refers to the object, whether it exists or not.
  std::set<std::string> NodesOf(const ReferredKey& object) const;
  // What there is of what the node's pods refer to. Of a claim it is the volume that it is bound
  // to.
  ReferredObjects Of(const std::string& node, const ClusterState& state) const;

 private:
  std::map<std::string, std::map<ObjectKey, std::set<ReferredKey>>> pods_;  // by node
  std::map<ReferredKey, std::map<std::string, int>> nodes_;                 // pods of each node
  // Volumes to be removed, by their node, and the node of each.
  std::map<std::string, std::set<std::string>> doomed_;
  std::map<std::string, std::string> doomed_on_;
};

// Adds to `out` what turns `previous` into `next`. What a node does not look at is left out, and so
// is an object in which nothing else has changed.
void DiffReferred(const ReferredObjects& previous, const ReferredObjects& next,
                  v1::NodeUpdate* out);

}  // namespace mesh::controlplane
