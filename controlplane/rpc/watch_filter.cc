// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/watch_filter.h"

#include "common/status.h"

namespace mesh::controlplane {

absl::StatusOr<WatchFilter> WatchFilter::From(const v1::WatchRequest& request) {
  if (request.kind() == v1::KIND_UNSPECIFIED || !v1::Kind_IsValid(request.kind())) {
    return absl::InvalidArgumentError("kind: Required value");
  }
  WatchFilter out;
  out.kind_ = request.kind();
  out.ns_ = request.namespace_();
  out.name_ = request.name();
  ASSIGN_OR_RETURN(out.selector_, schema::Selector::Parse(request.label_selector()));
  return out;
}

bool WatchFilter::Matches(const v1::Resource& resource) const {
  if (KindOf(resource) != kind_) return false;
  const v1::ObjectMeta& meta = MetaOf(resource);
  if (!ns_.empty() && meta.namespace_() != ns_) return false;
  if (!name_.empty() && meta.name() != name_) return false;
  return selector_.Matches(meta.labels());
}

std::optional<v1::WatchEvent> WatchFilter::EventFor(const Change& change, Revision revision) const {
  const bool before = change.before != nullptr && Matches(*change.before);
  const bool after = change.after != nullptr && Matches(*change.after);
  if (!before && !after) return std::nullopt;
  v1::WatchEvent event;
  event.set_revision(revision);
  if (after) {
    event.set_type(before ? v1::WatchEvent::MODIFIED : v1::WatchEvent::ADDED);
    *event.mutable_resource() = *change.after;
  } else {
    event.set_type(v1::WatchEvent::DELETED);
    *event.mutable_resource() = change.after != nullptr ? *change.after : *change.before;
    MutableMetaOf(event.mutable_resource())->set_resource_version(std::to_string(revision));
  }
  return event;
}

}  // namespace mesh::controlplane
