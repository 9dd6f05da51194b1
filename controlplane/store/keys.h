// SPDX-License-Identifier: Apache-2.0
// Layout of the key space: "/mesh/<kind>/<namespace>/<name>", and "/mesh/<kind>/<name>" for
// cluster-scoped kinds. Names and namespaces never contain '/'.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "controlplane/state/cluster_state.h"

namespace mesh::controlplane {

inline constexpr std::string_view kRootPrefix = "/mesh/";

struct StoreKey {
  v1::Kind kind = v1::KIND_UNSPECIFIED;
  ObjectKey object;
  friend bool operator==(const StoreKey&, const StoreKey&) = default;
};

// "pods", "replicasets", ...; empty for an unknown kind.
std::string_view KindSegment(v1::Kind kind);
std::string EncodeKey(v1::Kind kind, const ObjectKey& object);
// nullopt for a key that EncodeKey does not make.
std::optional<StoreKey> DecodeKey(std::string_view key);

}  // namespace mesh::controlplane
