// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/wait_object.h"

#include "api/schema/schema.h"
#include "cli/client.h"
#include "common/status.h"

namespace mesh::cli {

absl::Status WaitUntil(const Target& target, absl::Time deadline, ControlClient& client,
                       const std::function<bool(const v1::Resource*)>& done) {
  while (true) {
    // A list gives the revision to watch from, whether the object is there or not.
    ASSIGN_OR_RETURN(v1::ListResponse list, ListObjects(target.type.kind, target.ns, "", client));
    const v1::Resource* present = nullptr;
    for (const v1::Resource& item : list.items()) {
      if (schema::MetaOf(item).name() == target.name) present = &item;
    }
    if (done(present)) return absl::OkStatus();
    if (absl::Now() >= deadline) return absl::DeadlineExceededError("the deadline has passed");
    v1::WatchRequest request;
    request.set_kind(target.type.kind);
    request.set_namespace_(target.ns);
    request.set_name(target.name);
    request.set_from_revision(list.revision());
    absl::Status status = client.Watch(request, deadline, [&](const v1::WatchEvent& event) {
      if (event.type() == v1::WatchEvent::BOOKMARK) return true;
      const bool gone = event.type() == v1::WatchEvent::DELETED;
      return !done(gone ? nullptr : &event.resource());
    });
    // The revision is too old to resume from: look again.
    if (status.code() == absl::StatusCode::kOutOfRange) continue;
    return status;
  }
}

absl::Status WaitUntilGone(const Target& target, const std::string& uid, absl::Time deadline,
                           ControlClient& client) {
  return WaitUntil(target, deadline, client, [&](const v1::Resource* object) {
    return !object || (!uid.empty() && schema::MetaOf(*object).uid() != uid);
  });
}

}  // namespace mesh::cli
