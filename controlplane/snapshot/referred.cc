// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/referred.h"

#include "api/schema/references.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

using google::protobuf::util::MessageDifferencer;

std::set<ReferredKey> KeysOf(const v1::Pod& pod) {
  std::set<ReferredKey> out;
  const schema::PodReferences references = schema::ReferencesOf(pod.spec());
  const std::string& ns = pod.metadata().namespace_();
  for (const std::string& name : references.config_maps) {
    out.insert({v1::KIND_CONFIG_MAP, {.ns = ns, .name = name}});
  }
  for (const std::string& name : references.secrets) {
    out.insert({v1::KIND_SECRET, {.ns = ns, .name = name}});
  }
  return out;
}

template <typename T>
T ForNode(const T& object) {
  T out = object;
  out.clear_metadata();
  out.mutable_metadata()->set_namespace_(object.metadata().namespace_());
  out.mutable_metadata()->set_name(object.metadata().name());
  return out;
}

bool SameForNode(const v1::Resource& a, const v1::Resource& b) {
  if (a.has_config_map()) {
    return MessageDifferencer::Equals(ForNode(a.config_map()), ForNode(b.config_map()));
  }
  return MessageDifferencer::Equals(ForNode(a.secret()), ForNode(b.secret()));
}

}  // namespace

void ReferenceIndex::Put(const std::string& node, const ObjectKey& key, const v1::Pod& pod) {
  Remove(node, key);
  std::set<ReferredKey> objects = KeysOf(pod);
  if (objects.empty()) return;
  for (const ReferredKey& object : objects) ++nodes_[object][node];
  pods_[node][key] = std::move(objects);
}

void ReferenceIndex::Remove(const std::string& node, const ObjectKey& key) {
  auto pods = pods_.find(node);
  if (pods == pods_.end()) return;
  auto pod = pods->second.find(key);
  if (pod == pods->second.end()) return;
  for (const ReferredKey& object : pod->second) {
    auto nodes = nodes_.find(object);
    if (--nodes->second[node] == 0) nodes->second.erase(node);
    if (nodes->second.empty()) nodes_.erase(nodes);
  }
  pods->second.erase(pod);
  if (pods->second.empty()) pods_.erase(pods);
}

std::set<std::string> ReferenceIndex::NodesOf(const ReferredKey& object) const {
  std::set<std::string> out;
  auto it = nodes_.find(object);
  if (it == nodes_.end()) return out;
  for (const auto& [node, pods] : it->second) out.insert(node);
  return out;
}

ReferredObjects ReferenceIndex::Of(const std::string& node, const ClusterState& state) const {
  ReferredObjects out;
  auto pods = pods_.find(node);
  if (pods == pods_.end()) return out;
  for (const auto& [key, objects] : pods->second) {
    for (const ReferredKey& object : objects) {
      if (out.contains(object)) continue;
      if (auto found = state.Find(object.first, object.second)) out[object] = std::move(found);
    }
  }
  return out;
}

void DiffReferred(const ReferredObjects& previous, const ReferredObjects& next,
                  v1::NodeUpdate* out) {
  for (const auto& [key, object] : next) {
    auto before = previous.find(key);
    if (before != previous.end() &&
        (before->second == object || SameForNode(*before->second, *object))) {
      continue;
    }
    if (key.first == v1::KIND_SECRET) {
      *out->add_secrets() = ForNode(object->secret());
    } else {
      *out->add_config_maps() = ForNode(object->config_map());
    }
  }
  for (const auto& [key, object] : previous) {
    if (next.contains(key)) continue;
    (key.first == v1::KIND_SECRET ? out->mutable_removed_secrets()
                                  : out->mutable_removed_config_maps())
        ->Add(key.second.ns + "/" + key.second.name);
  }
}

}  // namespace mesh::controlplane
