// SPDX-License-Identifier: Apache-2.0
// What becomes of a PersistentVolume: Available, Bound, Released when its claim is gone, and then
// what its reclaim policy says. Retain keeps it. Delete of a volume that the built-in provisioner
// made is its node's work: the node is told (claims.h: IsToBeRemoved), and the object goes when the
// node has said that the content is gone (rpc/volume_reports.h). Others cannot be deleted or
// recycled: they are Failed.
#pragma once

#include "controlplane/controllers/controller.h"

namespace mesh::controlplane {

inline constexpr char kVolumeProtection[] = "kubernetes.io/pv-protection";
// Of a volume whose content goes with it.
inline constexpr char kContentFinalizer[] = "mesh.io/local-path";

// Those that the volume must have, and no others of the two.
void AddVolumeFinalizers(v1::PersistentVolume* volume);

// Keys: PersistentVolumes.
class VolumeController : public Controller {
 public:
  std::string_view name() const override { return "volume"; }
  std::vector<ObjectKey> Affected(const ClusterState& state, const Change& change) const override;
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override;
};

}  // namespace mesh::controlplane
