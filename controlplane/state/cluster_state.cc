// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/cluster_state.h"

#include <algorithm>
#include <utility>

#include "api/schema/schema.h"
#include "common/check.h"

namespace mesh::controlplane {
namespace {

using LabelMap = google::protobuf::Map<std::string, std::string>;

bool HasAll(const LabelMap& labels, const LabelMap& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& entry) {
    auto it = labels.find(entry.first);
    return it != labels.end() && it->second == entry.second;
  });
}

template <typename T>
void PutShared(ObjectMap<T>& map, const std::shared_ptr<const v1::Resource>& resource,
               const T& object) {
  // Shares ownership of the whole, points at the part.
  map[KeyOf(*resource)] = std::shared_ptr<const T>(resource, &object);
}

template <typename T, typename Set>
std::shared_ptr<const v1::Resource> Wrapped(const ObjectMap<T>& map, const ObjectKey& key,
                                            Set set) {
  auto it = map.find(key);
  if (it == map.end()) return nullptr;
  auto out = std::make_shared<v1::Resource>();
  *set(*out) = *it->second;
  return out;
}

}  // namespace

void ClusterState::Put(const v1::Resource& resource) {
  Put(std::make_shared<const v1::Resource>(resource));
}

void ClusterState::Put(std::shared_ptr<const v1::Resource> resource) {
  const ObjectKey key = KeyOf(*resource);
  Index(KindOf(*resource), key, false);
  PutObject(resource);
  Index(KindOf(*resource), key, true);
}

void ClusterState::PutObject(const std::shared_ptr<const v1::Resource>& resource) {
  switch (resource->kind_case()) {
    case v1::Resource::kNamespace:
      return PutShared(namespaces, resource, resource->namespace_());
    case v1::Resource::kNode:
      return PutShared(nodes, resource, resource->node());
    case v1::Resource::kPod:
      return PutShared(pods, resource, resource->pod());
    case v1::Resource::kReplicaSet:
      return PutShared(replica_sets, resource, resource->replica_set());
    case v1::Resource::kDeployment:
      return PutShared(deployments, resource, resource->deployment());
    case v1::Resource::kService:
      return PutShared(services, resource, resource->service());
    case v1::Resource::kEndpointSlice:
      return PutShared(endpoint_slices, resource, resource->endpoint_slice());
    case v1::Resource::kEvent:
      return PutShared(events, resource, resource->event());
    case v1::Resource::kNetworkPolicy:
      return PutShared(network_policies, resource, resource->network_policy());
    case v1::Resource::KIND_NOT_SET:
      MESH_CHECK(false) << "a resource without a kind";
    default:
      others[KindOf(*resource)][KeyOf(*resource)] = resource;
  }
}

std::vector<const v1::EndpointSlice*> ClusterState::SlicesOf(const ObjectKey& service) const {
  std::vector<const v1::EndpointSlice*> out;
  auto it = index_.slices.find(service);
  if (it == index_.slices.end()) return out;
  for (const std::string& name : it->second) {
    auto slice = endpoint_slices.find({service.ns, name});
    if (slice != endpoint_slices.end()) out.push_back(slice->second.get());
  }
  return out;
}

std::vector<const v1::Pod*> ClusterState::PodsWith(const std::string& ns,
                                                   const LabelMap& labels) const {
  // The rarest of the labels leaves the fewest pods to look at.
  const std::set<std::string>* fewest = nullptr;
  for (const auto& [name, value] : labels) {
    auto it = index_.pods.find({ns, name, value});
    if (it == index_.pods.end()) return {};
    if (fewest == nullptr || it->second.size() < fewest->size()) fewest = &it->second;
  }
  std::vector<const v1::Pod*> out;
  if (fewest == nullptr) return out;
  for (const std::string& name : *fewest) {
    auto pod = pods.find({ns, name});
    if (pod != pods.end() && HasAll(pod->second->metadata().labels(), labels)) {
      out.push_back(pod->second.get());
    }
  }
  return out;
}

std::vector<ObjectKey> ClusterState::ServicesSelecting(const std::string& ns,
                                                       const LabelMap& labels) const {
  std::vector<ObjectKey> out;
  for (const auto& [name, value] : labels) {
    auto it = index_.services.find({ns, name, value});
    if (it == index_.services.end()) continue;
    for (const std::string& service_name : it->second) {
      auto service = services.find({ns, service_name});
      if (service != services.end() && HasAll(labels, service->second->spec().selector())) {
        out.push_back(service->first);
      }
    }
  }
  return out;
}

void ClusterState::Index(v1::Kind kind, const ObjectKey& key, bool add) {
  const auto note = [&](const auto& objects) {
    auto it = objects.find(key);
    if (it != objects.end()) index_.Note(key, *it->second, add);
  };
  if (kind == v1::KIND_SERVICE) note(services);
  if (kind == v1::KIND_POD) note(pods);
  if (kind == v1::KIND_NETWORK_POLICY) note(network_policies);
  if (kind == v1::KIND_ENDPOINT_SLICE) note(endpoint_slices);
}

void ClusterState::Remove(v1::Kind kind, const ObjectKey& key) {
  Index(kind, key, false);
  switch (kind) {
    case v1::KIND_NAMESPACE:
      namespaces.erase(key);
      break;
    case v1::KIND_NODE:
      nodes.erase(key);
      break;
    case v1::KIND_POD:
      pods.erase(key);
      break;
    case v1::KIND_REPLICA_SET:
      replica_sets.erase(key);
      break;
    case v1::KIND_DEPLOYMENT:
      deployments.erase(key);
      break;
    case v1::KIND_SERVICE:
      services.erase(key);
      break;
    case v1::KIND_ENDPOINT_SLICE:
      endpoint_slices.erase(key);
      break;
    case v1::KIND_EVENT:
      events.erase(key);
      break;
    case v1::KIND_NETWORK_POLICY:
      network_policies.erase(key);
      break;
    default:
      if (auto it = others.find(kind); it != others.end()) it->second.erase(key);
      break;
  }
}

std::shared_ptr<const v1::Resource> ClusterState::Find(v1::Kind kind, const ObjectKey& key) const {
  using R = v1::Resource;
  switch (kind) {
    case v1::KIND_NAMESPACE:
      return Wrapped(namespaces, key, [](R& r) { return r.mutable_namespace_(); });
    case v1::KIND_NODE:
      return Wrapped(nodes, key, [](R& r) { return r.mutable_node(); });
    case v1::KIND_POD:
      return Wrapped(pods, key, [](R& r) { return r.mutable_pod(); });
    case v1::KIND_REPLICA_SET:
      return Wrapped(replica_sets, key, [](R& r) { return r.mutable_replica_set(); });
    case v1::KIND_DEPLOYMENT:
      return Wrapped(deployments, key, [](R& r) { return r.mutable_deployment(); });
    case v1::KIND_SERVICE:
      return Wrapped(services, key, [](R& r) { return r.mutable_service(); });
    case v1::KIND_ENDPOINT_SLICE:
      return Wrapped(endpoint_slices, key, [](R& r) { return r.mutable_endpoint_slice(); });
    case v1::KIND_EVENT:
      return Wrapped(events, key, [](R& r) { return r.mutable_event(); });
    case v1::KIND_NETWORK_POLICY:
      return Wrapped(network_policies, key, [](R& r) { return r.mutable_network_policy(); });
    default:
      break;
  }
  auto objects = others.find(kind);
  if (objects == others.end()) return nullptr;
  auto it = objects->second.find(key);
  return it == objects->second.end() ? nullptr : it->second;
}

const v1::ObjectMeta& MetaOf(const v1::Resource& resource) {
  switch (resource.kind_case()) {
    case v1::Resource::kNamespace:
      return resource.namespace_().metadata();
    case v1::Resource::kNode:
      return resource.node().metadata();
    case v1::Resource::kPod:
      return resource.pod().metadata();
    case v1::Resource::kReplicaSet:
      return resource.replica_set().metadata();
    case v1::Resource::kDeployment:
      return resource.deployment().metadata();
    case v1::Resource::kService:
      return resource.service().metadata();
    case v1::Resource::kEndpointSlice:
      return resource.endpoint_slice().metadata();
    case v1::Resource::kEvent:
      return resource.event().metadata();
    case v1::Resource::kNetworkPolicy:
      return resource.network_policy().metadata();
    default:
      return schema::MetaOf(resource);
  }
}

v1::ObjectMeta* MutableMetaOf(v1::Resource* resource) {
  switch (resource->kind_case()) {
    case v1::Resource::kNamespace:
      return resource->mutable_namespace_()->mutable_metadata();
    case v1::Resource::kNode:
      return resource->mutable_node()->mutable_metadata();
    case v1::Resource::kPod:
      return resource->mutable_pod()->mutable_metadata();
    case v1::Resource::kReplicaSet:
      return resource->mutable_replica_set()->mutable_metadata();
    case v1::Resource::kDeployment:
      return resource->mutable_deployment()->mutable_metadata();
    case v1::Resource::kService:
      return resource->mutable_service()->mutable_metadata();
    case v1::Resource::kEndpointSlice:
      return resource->mutable_endpoint_slice()->mutable_metadata();
    case v1::Resource::kEvent:
      return resource->mutable_event()->mutable_metadata();
    case v1::Resource::kNetworkPolicy:
      return resource->mutable_network_policy()->mutable_metadata();
    default:
      return schema::MutableMetaOf(resource);
  }
}

std::string AddressFamilyOf(const v1::EndpointSlice& slice) {
  return slice.address_type().empty() ? "IPv4" : slice.address_type();
}

v1::Kind KindOf(const v1::Resource& resource) {
  return static_cast<v1::Kind>(resource.kind_case());
}

ObjectKey KeyOf(const v1::Resource& resource) {
  const v1::ObjectMeta& meta = MetaOf(resource);
  return {.ns = meta.namespace_(), .name = meta.name()};
}

}  // namespace mesh::controlplane
