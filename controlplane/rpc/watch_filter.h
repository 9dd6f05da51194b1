// SPDX-License-Identifier: Apache-2.0
// Which events of the cluster a Watch request sees, and as what. Pure.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "api/schema/selector.h"
#include "controlplane/state/watch_cache.h"
#include "mesh/v1/control.pb.h"

namespace mesh::controlplane {

class WatchFilter {
 public:
  // INVALID_ARGUMENT for a selector that does not parse or a missing kind.
  static absl::StatusOr<WatchFilter> From(const v1::WatchRequest& request);

  bool Matches(const v1::Resource& resource) const;
  // An object that starts to match is ADDED, one that ceases to is DELETED; nullopt when the watch
  // does not see the change.
  std::optional<v1::WatchEvent> EventFor(const Change& change, Revision revision) const;

  v1::Kind kind() const { return kind_; }
  const std::string& ns() const { return ns_; }

 private:
  v1::Kind kind_ = v1::KIND_UNSPECIFIED;
  std::string ns_;
  std::string name_;
  schema::Selector selector_;
};

}  // namespace mesh::controlplane
