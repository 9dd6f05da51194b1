// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/keys.h"

#include <array>

namespace mesh::controlplane {
namespace {

struct Segment {
  v1::Kind kind;
  std::string_view name;
  bool namespaced;
};

// Part of the format on disk: append, never rename.
constexpr std::array kSegments = {
    Segment{v1::KIND_NAMESPACE, "namespaces", false},
    Segment{v1::KIND_NODE, "nodes", false},
    Segment{v1::KIND_POD, "pods", true},
    Segment{v1::KIND_REPLICA_SET, "replicasets", true},
    Segment{v1::KIND_DEPLOYMENT, "deployments", true},
    Segment{v1::KIND_SERVICE, "services", true},
    Segment{v1::KIND_ENDPOINT_SLICE, "endpointslices", true},
    Segment{v1::KIND_EVENT, "events", true},
    Segment{v1::KIND_NETWORK_POLICY, "networkpolicies", true},
};

}  // namespace

std::string_view KindSegment(v1::Kind kind) {
  for (const Segment& segment : kSegments) {
    if (segment.kind == kind) return segment.name;
  }
  return {};
}

std::string EncodeKey(v1::Kind kind, const ObjectKey& object) {
  std::string key(kRootPrefix);
  key += KindSegment(kind);
  key += '/';
  if (!object.ns.empty()) {
    key += object.ns;
    key += '/';
  }
  key += object.name;
  return key;
}

std::optional<StoreKey> DecodeKey(std::string_view key) {
  if (!key.starts_with(kRootPrefix)) return std::nullopt;
  key.remove_prefix(kRootPrefix.size());
  for (const Segment& segment : kSegments) {
    if (!key.starts_with(segment.name) || key.substr(segment.name.size(), 1) != "/") continue;
    key.remove_prefix(segment.name.size() + 1);
    StoreKey out{.kind = segment.kind};
    if (segment.namespaced) {
      const size_t slash = key.find('/');
      if (slash == std::string_view::npos || slash == 0) return std::nullopt;
      out.object.ns = key.substr(0, slash);
      key.remove_prefix(slash + 1);
    }
    if (key.empty() || key.find('/') != std::string_view::npos) return std::nullopt;
    out.object.name = key;
    return out;
  }
  return std::nullopt;
}

}  // namespace mesh::controlplane
