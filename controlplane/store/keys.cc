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
    Segment{v1::KIND_STATEFUL_SET, "statefulsets", true},
    Segment{v1::KIND_DAEMON_SET, "daemonsets", true},
    Segment{v1::KIND_REPLICATION_CONTROLLER, "replicationcontrollers", true},
    Segment{v1::KIND_JOB, "jobs", true},
    Segment{v1::KIND_CRON_JOB, "cronjobs", true},
    Segment{v1::KIND_ENDPOINTS, "endpoints", true},
    Segment{v1::KIND_CONFIG_MAP, "configmaps", true},
    Segment{v1::KIND_SECRET, "secrets", true},
    Segment{v1::KIND_SERVICE_ACCOUNT, "serviceaccounts", true},
    Segment{v1::KIND_PERSISTENT_VOLUME, "persistentvolumes", false},
    Segment{v1::KIND_PERSISTENT_VOLUME_CLAIM, "persistentvolumeclaims", true},
    Segment{v1::KIND_STORAGE_CLASS, "storageclasses", false},
    Segment{v1::KIND_HORIZONTAL_POD_AUTOSCALER, "horizontalpodautoscalers", true},
    Segment{v1::KIND_POD_DISRUPTION_BUDGET, "poddisruptionbudgets", true},
    Segment{v1::KIND_PRIORITY_CLASS, "priorityclasses", false},
    Segment{v1::KIND_RESOURCE_QUOTA, "resourcequotas", true},
    Segment{v1::KIND_LIMIT_RANGE, "limitranges", true},
    Segment{v1::KIND_ROLE, "roles", true},
    Segment{v1::KIND_ROLE_BINDING, "rolebindings", true},
    Segment{v1::KIND_CLUSTER_ROLE, "clusterroles", false},
    Segment{v1::KIND_CLUSTER_ROLE_BINDING, "clusterrolebindings", false},
    Segment{v1::KIND_INGRESS, "ingresses", true},
    Segment{v1::KIND_INGRESS_CLASS, "ingressclasses", false},
    Segment{v1::KIND_GATEWAY, "gateways", true},
    Segment{v1::KIND_GATEWAY_CLASS, "gatewayclasses", false},
    Segment{v1::KIND_HTTP_ROUTE, "httproutes", true},
    Segment{v1::KIND_GRPC_ROUTE, "grpcroutes", true},
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
