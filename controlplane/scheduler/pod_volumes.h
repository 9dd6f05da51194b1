// SPDX-License-Identifier: Apache-2.0
// What the claims of a pod ask of the node that it gets. Claims that are bound bind the pod to the
// nodes that have their volumes; one that waits for its first consumer follows the pod: the
// scheduler writes the node it has chosen into the claim, the claim is bound there, and the pod is
// placed after.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "controlplane/controllers/controller.h"
#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

class PodVolumes {
 public:
  enum class Verdict : uint8_t {
    kFits,
    kAffinity,  // a volume is elsewhere
    kNoVolume,  // no volume that is free can be had there, and none be made
  };

  // `state` and `pod` outlive this. `once`: claims with access mode ReadWriteOncePod that pods have
  // got that are not in the state yet.
  PodVolumes(const ClusterState& state, const v1::Pod& pod, const std::set<ObjectKey>& once = {});

  // Nothing to ask of any node.
  bool empty() const { return bound_.empty() && unbound_.empty(); }
  // Why no node may take the pod now, `persistentvolumeclaim "x" not found`; empty: one may.
  const std::string& problem() const { return problem_; }
  // The node of a claim is chosen, and its volume not bound yet: the pod waits. Empty: no.
  const std::string& awaited() const { return awaited_; }
  Verdict Of(const v1::Node& node) const;
  // Gives the claims that have no volume to the node; none: the pod may go there at once.
  std::vector<Write> Choose(const std::string& node) const;
  // Claims that no second pod may have.
  const std::vector<ObjectKey>& once() const { return once_; }

 private:
  void Look(const ClusterState& state, const v1::Pod& pod, const v1::Volume& volume,
            const std::set<ObjectKey>& once);

  const ClusterState& state_;
  std::string problem_;
  std::string awaited_;
  std::vector<const v1::PersistentVolume*> bound_;
  std::vector<const v1::PersistentVolumeClaim*> unbound_;
  std::vector<ObjectKey> once_;
};

}  // namespace mesh::controlplane
