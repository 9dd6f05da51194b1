// SPDX-License-Identifier: Apache-2.0
// Claims, the volumes they may have and the classes that make volumes: what the controllers, the
// scheduler and the nodes' snapshots ask of them. Pure.
//
// Volumes are made by one provisioner, which is built in: a folder of one node, as local-path does
// it. A class that names local-path's own provisioner gets the same.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "controlplane/state/cluster_state.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::controlplane {

inline constexpr char kLocalPathProvisioner[] = "mesh.io/local-path";
inline constexpr char kRancherLocalPath[] = "rancher.io/local-path";
inline constexpr char kNoProvisioner[] = "kubernetes.io/no-provisioner";
// The class that a new cluster has.
inline constexpr char kDefaultClassName[] = "local-path";
inline constexpr char kDefaultClassAnnotation[] = "storageclass.kubernetes.io/is-default-class";
// Of a volume: who made it.
inline constexpr char kProvisionedByAnnotation[] = "pv.kubernetes.io/provisioned-by";
// Of a claim: the node that the scheduler has chosen for its first pod.
inline constexpr char kSelectedNodeAnnotation[] = "volume.kubernetes.io/selected-node";
inline constexpr char kBindCompletedAnnotation[] = "pv.kubernetes.io/bind-completed";
inline constexpr char kBoundByControllerAnnotation[] = "pv.kubernetes.io/bound-by-controller";
// Of a Node: the folder that its agent has for volumes.
inline constexpr char kVolumeDirAnnotation[] = "mesh.io/volume-dir";

// nullptr when absent; valid as long as the state.
const v1::PersistentVolumeClaim* FindClaim(const ClusterState& state, const ObjectKey& key);
const v1::PersistentVolume* FindVolume(const ClusterState& state, const std::string& name);
const v1::StorageClass* FindClass(const ClusterState& state, const std::string& name);
// The newest of those that are marked so; nullptr: none is.
const v1::StorageClass* DefaultClass(const ClusterState& state);
bool IsBuiltIn(std::string_view provisioner);

// Of its volumes, also the ephemeral ones.
std::vector<ObjectKey> ClaimsOf(const v1::Pod& pod);
// Bound for good: both sides know it.
bool IsBoundClaim(const v1::PersistentVolumeClaim& claim);
// Its class waits for a pod (WaitForFirstConsumer), and it is not bound.
bool IsDelayed(const ClusterState& state, const v1::PersistentVolumeClaim& claim);
// Empty: none.
std::string SelectedNode(const v1::PersistentVolumeClaim& claim);

// What is wrong with using this volume, "volume "x": nfs is not supported yet"; empty: nothing.
std::string WhyNotUsable(const v1::PersistentVolume& volume);
// Whether its nodeAffinity has the node; true where it says nothing.
bool IsReachable(const v1::PersistentVolume& volume, const v1::Node& node);
bool RefersTo(const v1::ObjectReference& reference, const v1::PersistentVolumeClaim& claim);
// What the volume lacks for the claim, in Kubernetes' words; empty: nothing. The class, the mode,
// the access modes and the size count, the selector does not.
std::string WhyNotSatisfied(const v1::PersistentVolume& volume,
                            const v1::PersistentVolumeClaim& claim);
// The volume that the claim gets: one that names it, or the smallest free one. `node` null: any
// that names it, and of the free ones only where `any_node`. Those in `taken` are left out.
// nullptr: none.
const v1::PersistentVolume* MatchingVolume(const ClusterState& state,
                                           const v1::PersistentVolumeClaim& claim,
                                           const v1::Node* node, bool any_node,
                                           const std::set<std::string>& taken = {});

// Why the built-in provisioner makes nothing for the claim on any node; empty: it does.
std::string WhyNotProvisioned(const v1::PersistentVolumeClaim& claim, const v1::StorageClass& type);
// Whether it makes volumes of the class on the node.
bool MayProvisionOn(const v1::StorageClass& type, const v1::Node& node);
// REQUIRES: WhyNotProvisioned() is empty, MayProvisionOn().
v1::PersistentVolume ProvisionedVolume(const v1::PersistentVolumeClaim& claim,
                                       const v1::StorageClass& type, const v1::Node& node);
bool IsProvisioned(const v1::PersistentVolume& volume);
// The node that has the content of a provisioned volume; empty for others.
std::string NodeOfVolume(const v1::PersistentVolume& volume);
// Its claim is gone, and its node shall remove what is in it.
bool IsToBeRemoved(const v1::PersistentVolume& volume);
// As its node is told of it.
v1::VolumeState VolumeForNode(const v1::PersistentVolume& volume);

// A claim that is written. PERMISSION_DENIED when one that is bound grows and its class does not
// let it.
absl::Status AdmitClaim(const ClusterState& state, const v1::PersistentVolumeClaim& before,
                        const v1::PersistentVolumeClaim& next);

}  // namespace mesh::controlplane
