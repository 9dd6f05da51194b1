// SPDX-License-Identifier: Apache-2.0
// All objects of the cluster as values, at one revision: what controllers, the scheduler and the
// node snapshots read. The watch cache (watch_cache.h) keeps one up to date; tests build their own.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "absl/time/time.h"
#include "mesh/v1/resource.pb.h"

namespace mesh::controlplane {

// Name of an object within its kind; `ns` is empty for cluster-scoped kinds.
struct ObjectKey {
  std::string ns;
  std::string name;
  friend auto operator<=>(const ObjectKey&, const ObjectKey&) = default;
  std::string ToString() const { return ns.empty() ? name : ns + "/" + name; }
};

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
  // When this meshd last heard each node on its stream. Not stored: a write that waits behind
  // others must not make a node look dead.
  std::map<std::string, absl::Time> heard;

  // Inserts or replaces by namespace and name.
  void Put(const v1::Resource& resource);
  // The same without a copy.
  void Put(std::shared_ptr<const v1::Resource> resource);
  void Remove(v1::Kind kind, const ObjectKey& key);
  // The EndpointSlices that name the Service in their label, by name.
  std::vector<const v1::EndpointSlice*> SlicesOf(const ObjectKey& service) const;

  // nullptr when absent.
  std::shared_ptr<const v1::Resource> Find(v1::Kind kind, const ObjectKey& key) const;

 private:
  void PutObject(const std::shared_ptr<const v1::Resource>& resource);
  // Files the present object under what it is looked up by, or takes it out.
  void Index(v1::Kind kind, const ObjectKey& key, bool add);

  std::map<ObjectKey, std::set<std::string>> slices_of_;  // by Service
};

// The object's metadata, whatever its kind. REQUIRES: a kind is set.
const v1::ObjectMeta& MetaOf(const v1::Resource& resource);
v1::ObjectMeta* MutableMetaOf(v1::Resource* resource);
v1::Kind KindOf(const v1::Resource& resource);
ObjectKey KeyOf(const v1::Resource& resource);

}  // namespace mesh::controlplane
