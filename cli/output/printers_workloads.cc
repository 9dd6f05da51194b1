// SPDX-License-Identifier: Apache-2.0
#include "cli/output/age.h"
#include "cli/output/printers.h"
#include "cli/output/printers_kinds.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

std::string Age(const v1::ObjectMeta& meta, absl::Time now) {
  return AgeSince(meta.has_creation_timestamp(), meta.creation_timestamp(), now);
}

// CONTAINERS and IMAGES.
void AddContainers(const v1::PodSpec& spec, Row* row) {
  std::vector<std::string> names;
  std::vector<std::string> images;
  for (const auto& container : spec.containers()) {
    names.push_back(container.name());
    images.push_back(container.image());
  }
  row->push_back(fmt::format("{}", fmt::join(names, ",")));
  row->push_back(fmt::format("{}", fmt::join(images, ",")));
}

Row StatefulSetRow(const v1::StatefulSet& set, bool wide, absl::Time now) {
  Row row = {set.metadata().name(),
             fmt::format("{}/{}", set.status().ready_replicas(), set.spec().replicas()),
             Age(set.metadata(), now)};
  if (wide) AddContainers(set.spec().template_().spec(), &row);
  return row;
}

Row DaemonSetRow(const v1::DaemonSet& set, bool wide, absl::Time now) {
  const v1::DaemonSetStatus& status = set.status();
  Row row = {set.metadata().name(),
             std::to_string(status.desired_number_scheduled()),
             std::to_string(status.current_number_scheduled()),
             std::to_string(status.number_ready()),
             std::to_string(status.updated_number_scheduled()),
             std::to_string(status.number_available()),
             LabelsText(set.spec().template_().spec().node_selector()),
             Age(set.metadata(), now)};
  if (wide) {
    AddContainers(set.spec().template_().spec(), &row);
    row.push_back(SelectorText(set.spec().selector()));
  }
  return row;
}

Row ControllerRow(const v1::ReplicationController& rc, bool wide, absl::Time now) {
  Row row = {rc.metadata().name(), std::to_string(rc.spec().replicas()),
             std::to_string(rc.status().replicas()), std::to_string(rc.status().ready_replicas()),
             Age(rc.metadata(), now)};
  if (wide) {
    AddContainers(rc.spec().template_().spec(), &row);
    row.push_back(LabelsText(rc.spec().selector()));
  }
  return row;
}

std::string JobStatusText(const v1::Job& job) {
  const auto is = [&](std::string_view type) {
    for (const auto& condition : job.status().conditions()) {
      if (condition.type() == type && condition.status() == "True") return true;
    }
    return false;
  };
  if (is("Complete")) return "Complete";
  if (is("Failed")) return "Failed";
  if (job.metadata().has_deletion_timestamp()) return "Terminating";
  if (is("Suspended")) return "Suspended";
  if (is("FailureTarget")) return "FailureTarget";
  if (is("SuccessCriteriaMet")) return "SuccessCriteriaMet";
  return "Running";
}

Row JobRow(const v1::Job& job, bool wide, absl::Time now) {
  const v1::JobSpec& spec = job.spec();
  const v1::JobStatus& status = job.status();
  std::string completions = fmt::format("{}/{}", status.succeeded(), spec.completions());
  if (!spec.has_completions()) {
    completions = fmt::format(
        "{}/1{}", status.succeeded(),
        spec.parallelism() > 1 ? fmt::format(" of {}", spec.parallelism()) : std::string());
  }
  std::string duration;
  if (status.has_start_time()) {
    const absl::Time end = status.has_completion_time()
                               ? absl::FromUnixSeconds(status.completion_time().seconds())
                               : now;
    duration = AgeSince(true, status.start_time(), end);
  }
  Row row = {job.metadata().name(), JobStatusText(job), completions, duration,
             Age(job.metadata(), now)};
  if (wide) {
    AddContainers(spec.template_().spec(), &row);
    row.push_back(SelectorText(spec.selector()));
  }
  return row;
}

Row CronJobRow(const v1::CronJob& job, bool wide, absl::Time now) {
  const v1::CronJobSpec& spec = job.spec();
  const bool ran = job.status().has_last_schedule_time();
  Row row = {job.metadata().name(),
             spec.schedule(),
             spec.time_zone().empty() ? "<none>" : spec.time_zone(),
             spec.suspend() ? "True" : "False",
             std::to_string(job.status().active_size()),
             ran ? AgeSince(true, job.status().last_schedule_time(), now) : "<none>",
             Age(job.metadata(), now)};
  if (wide) {
    AddContainers(spec.job_template().spec().template_().spec(), &row);
    row.push_back(SelectorText(spec.job_template().spec().selector()));
  }
  return row;
}

}  // namespace

bool WorkloadColumns(v1::Kind kind, Columns* columns) {
  const Row wide = {"CONTAINERS", "IMAGES", "SELECTOR"};
  switch (kind) {
    case v1::KIND_STATEFUL_SET:
      *columns = {{"NAME", "READY", "AGE"}, {"CONTAINERS", "IMAGES"}};
      return true;
    case v1::KIND_DAEMON_SET:
      *columns = {{"NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE",
                   "NODE SELECTOR", "AGE"},
                  wide};
      return true;
    case v1::KIND_REPLICATION_CONTROLLER:
      *columns = {{"NAME", "DESIRED", "CURRENT", "READY", "AGE"}, wide};
      return true;
    case v1::KIND_JOB:
      *columns = {{"NAME", "STATUS", "COMPLETIONS", "DURATION", "AGE"}, wide};
      return true;
    case v1::KIND_CRON_JOB:
      *columns = {{"NAME", "SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", "AGE"},
                  wide};
      return true;
    default:
      return false;
  }
}

bool WorkloadRow(const v1::Resource& object, bool wide, absl::Time now, Row* row) {
  switch (object.kind_case()) {
    case v1::Resource::kStatefulSet:
      *row = StatefulSetRow(object.stateful_set(), wide, now);
      return true;
    case v1::Resource::kDaemonSet:
      *row = DaemonSetRow(object.daemon_set(), wide, now);
      return true;
    case v1::Resource::kReplicationController:
      *row = ControllerRow(object.replication_controller(), wide, now);
      return true;
    case v1::Resource::kJob:
      *row = JobRow(object.job(), wide, now);
      return true;
    case v1::Resource::kCronJob:
      *row = CronJobRow(object.cron_job(), wide, now);
      return true;
    default:
      return false;
  }
}

}  // namespace mesh::cli
