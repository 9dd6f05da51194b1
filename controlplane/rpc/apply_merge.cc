// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/apply_merge.h"

#include <optional>

#include "api/schema/merge.h"
#include "api/schema/ownership.h"
#include "api/schema/schema.h"
#include "common/status.h"
#include "controlplane/state/object_rules.h"

namespace mesh::controlplane {

std::string ManagerOr(const std::string& given, const char* otherwise) {
  return given.empty() ? otherwise : given;
}

absl::StatusOr<v1::Resource> ApplyMerge(const v1::ApplyRequest& request, const v1::Resource& file,
                                        const v1::Resource* current, absl::Time now) {
  if (request.server_side()) {
    return schema::ServerSideApply(
        file, current,
        {.manager = ManagerOr(request.field_manager(), schema::kDefaultManager),
         .force = request.force_conflicts(),
         .now = TimestampOf(now)});
  }
  v1::Resource next = file;
  if (current != nullptr) {
    std::optional<v1::Resource> last;
    if (!MetaOf(*current).last_applied().empty()) {
      ASSIGN_OR_RETURN(last, schema::DecodeLastApplied(MetaOf(*current).last_applied()));
    }
    next = schema::ThreeWayMerge(last ? &*last : nullptr, file, *current);
  }
  MutableMetaOf(&next)->set_last_applied(schema::EncodeLastApplied(file));
  return next;
}

std::string RecordedManager(const v1::ApplyRequest& request) {
  return request.server_side() ? ""
                               : ManagerOr(request.field_manager(), schema::kClientSideManager);
}

absl::Status CheckApplyOptions(const v1::ApplyRequest& request) {
  if (request.force_conflicts() && !request.server_side()) {
    return absl::InvalidArgumentError("force_conflicts is only used with server_side");
  }
  return schema::CheckManager(request.field_manager());
}

void AddConflict(const v1::ApplyRequest& request, int index, const absl::Status& conflict,
                 std::string* text) {
  if (!text->empty()) *text += "\n";
  if (request.resources_size() > 1) {
    *text += schema::ObjectText(request.resources(index)) + ": ";
  }
  *text += std::string(conflict.message());
}

}  // namespace mesh::controlplane
