// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/follow.h"

#include <map>
#include <utility>

#include "api/schema/schema.h"
#include "common/status.h"

namespace mesh::cli {
namespace {

using Known = std::map<std::pair<std::string, std::string>, v1::Resource>;

std::pair<std::string, std::string> KeyOf(const v1::Resource& object) {
  return {schema::MetaOf(object).namespace_(), schema::MetaOf(object).name()};
}

// What is new, changed or gone since `known`, which becomes what `list` says.
std::vector<v1::Resource> TakeDifferences(const v1::ListResponse& list, const std::string& name,
                                          Known* known) {
  std::vector<v1::Resource> changes;
  Known now;
  for (const v1::Resource& item : list.items()) {
    const v1::ObjectMeta& meta = schema::MetaOf(item);
    if (!name.empty() && meta.name() != name) continue;
    auto before = known->find(KeyOf(item));
    if (before == known->end() ||
        schema::MetaOf(before->second).resource_version() != meta.resource_version()) {
      changes.push_back(item);
    }
    now.emplace(KeyOf(item), item);
  }
  for (const auto& [key, object] : *known) {
    if (!now.contains(key)) changes.push_back(object);
  }
  *known = std::move(now);
  return changes;
}

}  // namespace

absl::Status Follow(const Followed& what, ControlClient& client,
                    const std::function<bool(const std::vector<v1::Resource>&)>& visit) {
  v1::ListRequest list_request;
  list_request.set_kind(what.kind);
  list_request.set_namespace_(what.ns);
  list_request.set_label_selector(what.selector);
  v1::WatchRequest watch_request;
  watch_request.set_kind(what.kind);
  watch_request.set_namespace_(what.ns);
  watch_request.set_label_selector(what.selector);
  watch_request.set_name(what.name);
  Known known;
  for (bool first = true;; first = false) {
    ASSIGN_OR_RETURN(v1::ListResponse list, client.List(list_request));
    const std::vector<v1::Resource> changes = TakeDifferences(list, what.name, &known);
    if ((first || !changes.empty()) && !visit(changes)) return absl::OkStatus();
    watch_request.set_from_revision(list.revision());
    const absl::Status status =
        client.Watch(watch_request, absl::InfiniteFuture(), [&](const v1::WatchEvent& event) {
          if (event.type() == v1::WatchEvent::BOOKMARK) return true;
          if (event.type() == v1::WatchEvent::DELETED) {
            known.erase(KeyOf(event.resource()));
          } else {
            known[KeyOf(event.resource())] = event.resource();
          }
          return visit({event.resource()});
        });
    if (status.code() != absl::StatusCode::kOutOfRange) return status;
  }
}

}  // namespace mesh::cli
