// SPDX-License-Identifier: Apache-2.0
// All objects of the cluster as values, at one revision: what controllers, the scheduler and the
// node snapshots read. The watch cache (watch_cache.h) keeps one up to date; tests build their own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "controlplane/state/state_index.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::controlplane {

template <typename T>
using ObjectMap = std::map<ObjectKey, std::shared_ptr<const T>>;

// Copying copies pointers, not objects. Objects come and go by Put and Remove only.
struct ClusterState {
  int64_t revision = 0;
  ObjectMap<v1::Namespace> namespaces;
  ObjectMap<v1::Node> nodes;
  ObjectMap<v1::Pod> pods;
  ObjectMap<v1::ReplicaSet> replica_sets;
  ObjectMap<v1::Deployment> deployments;
  ObjectMap<v1::Service> services;
  ObjectMap<v1::EndpointSlice> endpoint_slices;
  ObjectMap<v1::Event> events;
  ObjectMap<v1::NetworkPolicy> network_policies;
  // Of every other kind: whole, by kind.
  std::map<v1::Kind, ObjectMap<v1::Resource>> others;
  // When this meshd last heard each node on its stream; time that it did not listen (stopped, no
  // processor) is not counted. Not stored: a write that waits behind others must not make a node
  // look dead.
  std::map<std::string, absl::Time> heard;

  // Inserts or replaces by namespace and name.
  void Put(const v1::Resource& resource);
  // The same without a copy.
  void Put(std::shared_ptr<const v1::Resource> resource);
  void Remove(v1::Kind kind, const ObjectKey& key);
  // The EndpointSlices that name the Service in their label, by name.
  std::vector<const v1::EndpointSlice*> SlicesOf(const ObjectKey& service) const;
  // Pods of the namespace with all these labels, by name; none for an empty selector.
  std::vector<const v1::Pod*> PodsWith(
      const std::string& ns, const google::protobuf::Map<std::string, std::string>& labels) const;
  // Services whose selector the labels match.
  std::vector<ObjectKey> ServicesSelecting(
      const std::string& ns, const google::protobuf::Map<std::string, std::string>& labels) const;
  const StateIndex& index() const { return index_; }

  // nullptr when absent.
  std::shared_ptr<const v1::Resource> Find(v1::Kind kind, const ObjectKey& key) const;

 private:
  void PutObject(const std::shared_ptr<const v1::Resource>& resource);
  // Files the present object, or takes it out.
  void Index(v1::Kind kind, const ObjectKey& key, bool add);

  StateIndex index_;
};

// The object's metadata, whatever its kind. REQUIRES: a kind is set.
const v1::ObjectMeta& MetaOf(const v1::Resource& resource);
v1::ObjectMeta* MutableMetaOf(v1::Resource* resource);
// "IPv4" or "IPv6" (or what was stored); "IPv4" when not given.
std::string AddressFamilyOf(const v1::EndpointSlice& slice);
v1::Kind KindOf(const v1::Resource& resource);
ObjectKey KeyOf(const v1::Resource& resource);

}  // namespace mesh::controlplane
