// SPDX-License-Identifier: Apache-2.0
#include "controlplane/snapshot/referred.h"

#include <utility>

#include "api/schema/references.h"
#include "controlplane/state/claims.h"
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
  for (ObjectKey& claim : ClaimsOf(pod)) {
    out.insert({v1::KIND_PERSISTENT_VOLUME_CLAIM, std::move(claim)});
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
  if (a.has_persistent_volume()) {
    return MessageDifferencer::Equals(VolumeForNode(a.persistent_volume()),
                                      VolumeForNode(b.persistent_volume()));
  }
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

void ReferenceIndex::PutVolume(const std::string& name, const v1::PersistentVolume* volume) {
  if (const auto was = doomed_on_.find(name); was != doomed_on_.end()) {
    const auto node = doomed_.find(was->second);
    node->second.erase(name);
    if (node->second.empty()) doomed_.erase(node);
    doomed_on_.erase(was);
  }
  if (volume == nullptr || !IsToBeRemoved(*volume)) return;
  doomed_on_[name] = NodeOfVolume(*volume);
  doomed_[doomed_on_[name]].insert(name);
}

void ReferenceIndex::PutVolumes(const ClusterState& state) {
  const auto volumes = state.others.find(v1::KIND_PERSISTENT_VOLUME);
  if (volumes == state.others.end()) return;
  for (const auto& [key, object] : volumes->second) {
    PutVolume(key.name, &object->persistent_volume());
  }
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
  const auto add = [&](const ReferredKey& object) {
    if (out.contains(object)) return;
    if (auto found = state.Find(object.first, object.second)) out[object] = std::move(found);
  };
  if (auto pods = pods_.find(node); pods != pods_.end()) {
    for (const auto& [key, objects] : pods->second) {
      for (const ReferredKey& object : objects) {
        if (object.first != v1::KIND_PERSISTENT_VOLUME_CLAIM) {
          add(object);
          continue;
        }
        const v1::PersistentVolumeClaim* claim = FindClaim(state, object.second);
        if (claim == nullptr || !IsBoundClaim(*claim)) continue;
        const v1::PersistentVolume* volume = FindVolume(state, claim->spec().volume_name());
        // Never another's.
        if (volume == nullptr || !RefersTo(volume->spec().claim_ref(), *claim)) continue;
        add({v1::KIND_PERSISTENT_VOLUME, {"", claim->spec().volume_name()}});
      }
    }
  }
  if (auto doomed = doomed_.find(node); doomed != doomed_.end()) {
    for (const std::string& name : doomed->second) add({v1::KIND_PERSISTENT_VOLUME, {"", name}});
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
    if (key.first == v1::KIND_PERSISTENT_VOLUME) {
      *out->add_volumes() = VolumeForNode(object->persistent_volume());
    } else if (key.first == v1::KIND_SECRET) {
      *out->add_secrets() = ForNode(object->secret());
    } else {
      *out->add_config_maps() = ForNode(object->config_map());
    }
  }
  for (const auto& [key, object] : previous) {
    if (next.contains(key)) continue;
    if (key.first == v1::KIND_PERSISTENT_VOLUME) {
      out->add_removed_volumes(key.second.name);
      continue;
    }
    (key.first == v1::KIND_SECRET ? out->mutable_removed_secrets()
                                  : out->mutable_removed_config_maps())
        ->Add(key.second.ns + "/" + key.second.name);
  }
}

}  // namespace mesh::controlplane
