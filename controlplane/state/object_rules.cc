// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/object_rules.h"

#include <algorithm>
#include <utility>

#include "api/schema/merge.h"
#include "api/schema/ownership.h"
#include "api/schema/schema.h"
#include "fmt/format.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::controlplane {
namespace {

constexpr int64_t kDefaultPodGraceSeconds = 30;

void CopyField(const google::protobuf::Message& from, const char* name,
               google::protobuf::Message* to) {
  const auto* field = to->GetDescriptor()->FindFieldByName(name);
  if (field == nullptr) return;
  to->GetReflection()->ClearField(to, field);
  if (from.GetReflection()->HasField(from, field)) {
    to->GetReflection()->MutableMessage(to, field)->CopyFrom(
        from.GetReflection()->GetMessage(from, field));
  }
}

bool IsFinished(const v1::Pod& pod) {
  return pod.status().phase() == "Succeeded" || pod.status().phase() == "Failed";
}

// Seconds that a delete leaves the object; 0: it goes at once.
int64_t GraceOf(const v1::Resource& current, std::optional<int64_t> wanted) {
  if (!current.has_pod()) return 0;
  const v1::Pod& pod = current.pod();
  if (pod.spec().node_name().empty() || IsFinished(pod)) return 0;
  if (wanted) return std::max<int64_t>(*wanted, 0);
  return pod.spec().has_termination_grace_period_seconds()
             ? pod.spec().termination_grace_period_seconds()
             : kDefaultPodGraceSeconds;
}

void SetScheduled(v1::PodStatus* status, absl::Time now) {
  v1::Condition* scheduled = nullptr;
  for (v1::Condition& condition : *status->mutable_conditions()) {
    if (condition.type() == "PodScheduled") scheduled = &condition;
  }
  if (scheduled == nullptr) scheduled = status->add_conditions();
  if (scheduled->status() != "True") {
    *scheduled->mutable_last_transition_time() = TimestampOf(now);
  }
  scheduled->set_type("PodScheduled");
  scheduled->set_status("True");
  scheduled->clear_reason();
  scheduled->clear_message();
}

bool HasFinalizers(const v1::Resource& resource) {
  return MetaOf(resource).finalizers_size() > 0 ||
         (resource.has_namespace_() && resource.namespace_().spec().finalizers_size() > 0);
}

}  // namespace

google::protobuf::Timestamp TimestampOf(absl::Time time) {
  google::protobuf::Timestamp out;
  out.set_seconds(absl::ToUnixSeconds(time));
  return out;
}

absl::Status NotFoundFor(v1::Kind kind, const std::string& name) {
  return absl::NotFoundError(
      fmt::format("{} \"{}\" not found", schema::PluralWithGroup(kind), name));
}

absl::Status AlreadyExistsFor(v1::Kind kind, const std::string& name) {
  return absl::AlreadyExistsError(
      fmt::format("{} \"{}\" already exists", schema::PluralWithGroup(kind), name));
}

absl::Status ConflictFor(v1::Kind kind, const std::string& name) {
  return absl::AbortedError(fmt::format(
      "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please "
      "apply your changes to the latest version and try again",
      schema::PluralWithGroup(kind), name));
}

void InitNew(v1::Resource* resource, std::string uid, absl::Time now) {
  v1::ObjectMeta* meta = MutableMetaOf(resource);
  meta->set_uid(std::move(uid));
  meta->clear_resource_version();
  meta->set_generation(1);
  *meta->mutable_creation_timestamp() = TimestampOf(now);
  meta->clear_deletion_timestamp();
  meta->clear_deletion_grace_period_seconds();
}

void CarryIntoUpdate(const v1::Resource& current, v1::Resource* next) {
  const v1::ObjectMeta& was = MetaOf(current);
  v1::ObjectMeta* meta = MutableMetaOf(next);
  meta->set_uid(was.uid());
  meta->clear_resource_version();
  *meta->mutable_creation_timestamp() = was.creation_timestamp();
  meta->clear_deletion_timestamp();
  if (was.has_deletion_timestamp()) {
    *meta->mutable_deletion_timestamp() = was.deletion_timestamp();
  }
  meta->clear_deletion_grace_period_seconds();
  if (was.has_deletion_grace_period_seconds()) {
    meta->set_deletion_grace_period_seconds(was.deletion_grace_period_seconds());
  }
  CopyField(schema::BodyOf(current), "status", schema::MutableBodyOf(next));
  meta->set_generation(was.generation() + (schema::SameSpec(current, *next) ? 0 : 1));
}

void RecordManager(const v1::Resource* current, std::string_view manager,
                   const google::protobuf::Timestamp& now, v1::Resource* next) {
  if (manager.empty()) return;
  if (current == nullptr) return MutableMetaOf(next)->clear_managed_fields();
  schema::RecordUpdate(*current, manager, now, next);
}

v1::Resource WithStatusOf(const v1::Resource& current, const v1::Resource& from) {
  v1::Resource out = current;
  CopyField(schema::BodyOf(from), "status", schema::MutableBodyOf(&out));
  MutableMetaOf(&out)->clear_resource_version();
  return out;
}

absl::StatusOr<v1::Resource> Bound(const v1::Resource& current, const v1::Resource& from,
                                   absl::Time now) {
  const v1::Pod& pod = current.pod();
  if (pod.metadata().has_deletion_timestamp()) {
    return absl::AbortedError(
        fmt::format("pod {} is being deleted, not bound", KeyOf(current).ToString()));
  }
  if (!pod.spec().node_name().empty() && pod.spec().node_name() != from.pod().spec().node_name()) {
    return absl::AbortedError(fmt::format("pod {} is already assigned to node \"{}\"",
                                          KeyOf(current).ToString(), pod.spec().node_name()));
  }
  v1::Resource out = current;
  MutableMetaOf(&out)->clear_resource_version();
  v1::Pod* bound = out.mutable_pod();
  bound->mutable_spec()->set_node_name(from.pod().spec().node_name());
  v1::PodStatus* status = bound->mutable_status();
  const v1::PodStatus& given = from.pod().status();
  status->set_pod_ip(given.pod_ip());
  *status->mutable_pod_ips() = given.pod_ips();
  if (status->pod_ips().empty() && !given.pod_ip().empty()) {
    status->add_pod_ips()->set_ip(given.pod_ip());
  }
  if (!given.host_ip().empty()) status->set_host_ip(given.host_ip());
  status->set_identity(given.identity());
  if (status->phase().empty()) status->set_phase("Pending");
  SetScheduled(status, now);
  return out;
}

Deletion Deleted(const v1::Resource& current, std::optional<int64_t> grace_period_seconds,
                 absl::Time now) {
  const v1::ObjectMeta& was = MetaOf(current);
  const int64_t grace = GraceOf(current, grace_period_seconds);
  if (grace == 0 && !current.has_namespace_() && !HasFinalizers(current)) {
    return {.remove = true, .changed = true, .marked = current};
  }

  Deletion out{.remove = false, .changed = false, .marked = current};
  if (was.has_deletion_timestamp() && was.deletion_grace_period_seconds() <= grace) return out;
  v1::ObjectMeta* meta = MutableMetaOf(&out.marked);
  meta->clear_resource_version();
  *meta->mutable_deletion_timestamp() = TimestampOf(now + absl::Seconds(grace));
  meta->set_deletion_grace_period_seconds(grace);
  meta->set_generation(was.generation() + 1);
  if (current.has_namespace_()) {
    out.marked.mutable_namespace_()->mutable_status()->set_phase("Terminating");
  }
  out.changed = true;
  return out;
}

bool HeldByNothing(const v1::Resource& resource) {
  const v1::ObjectMeta& meta = MetaOf(resource);
  if (!meta.has_deletion_timestamp() || HasFinalizers(resource)) return false;
  // A pod waits for its node, a namespace for its controller.
  if (resource.has_pod()) return meta.deletion_grace_period_seconds() == 0;
  return !resource.has_namespace_();
}

bool EqualObjects(const v1::Resource& a, const v1::Resource& b) {
  using google::protobuf::util::MessageDifferencer;
  if (MetaOf(a).resource_version() == MetaOf(b).resource_version()) {
    return MessageDifferencer::Equals(a, b);
  }
  v1::Resource copy = b;
  *MutableMetaOf(&copy)->mutable_resource_version() = MetaOf(a).resource_version();
  return MessageDifferencer::Equals(a, copy);
}

}  // namespace mesh::controlplane
