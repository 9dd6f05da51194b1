// SPDX-License-Identifier: Apache-2.0
// Job and CronJob.
#include <algorithm>

#include "absl/time/time.h"
#include "api/schema/cron.h"
#include "api/schema/rules_kinds.h"
#include "google/protobuf/util/json_util.h"

namespace mesh::schema::internal {
namespace {

constexpr size_t kMaxCronJobName = 52;  // its Jobs are named after it, with a number
constexpr int kMaxIndexedPods = 100000;

std::string Json(const google::protobuf::Message& message) {
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text);
  return status.ok() ? text : "{}";
}

void CheckFailurePolicy(const v1::JobSpec& spec, const std::string& path, Problems* problems) {
  for (int i = 0; i < spec.pod_failure_policy().rules_size(); ++i) {
    const v1::PodFailurePolicyRule& rule = spec.pod_failure_policy().rules(i);
    const std::string here = fmt::format("{}.podFailurePolicy.rules[{}]", path, i);
    const bool codes = rule.has_on_exit_codes();
    const bool conditions = !rule.on_pod_conditions().empty();
    if (codes == conditions) {
      Add(problems, here, "Invalid value: {}",
          codes ? "specifying both OnExitCodes and OnPodConditions is not supported"
                : "specifying one of OnExitCodes and OnPodConditions is required");
    }
    if (rule.action() == "FailIndex" && !spec.has_backoff_limit_per_index()) {
      Add(problems, here + ".action",
          "Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set");
    }
    const std::string& container = rule.on_exit_codes().container_name();
    if (container.empty()) continue;
    const v1::PodSpec& pod = spec.template_().spec();
    const auto named = [&](const v1::Container& candidate) {
      return candidate.name() == container;
    };
    if (std::none_of(pod.containers().begin(), pod.containers().end(), named) &&
        std::none_of(pod.init_containers().begin(), pod.init_containers().end(), named)) {
      Add(problems, here + ".onExitCodes.containerName",
          "Invalid value: \"{}\": must be one of the container or initContainer names in the pod "
          "template",
          container);
    }
  }
  if (spec.has_pod_failure_policy() && spec.template_().spec().restart_policy() == "OnFailure") {
    Add(problems, path + ".template.spec.restartPolicy",
        "Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is "
        "specified");
  }
}

void CheckIndexed(const v1::JobSpec& spec, const std::string& path, Problems* problems) {
  const bool indexed = spec.completion_mode() == "Indexed";
  if (indexed && !spec.has_completions()) {
    Add(problems, path + ".completions", "Required value: when completion mode is Indexed");
  }
  if (indexed && spec.parallelism() > kMaxIndexedPods) {
    Add(problems, path + ".parallelism",
        "Invalid value: {}: must be less than or equal to {} when completion mode is Indexed",
        spec.parallelism(), kMaxIndexedPods);
  }
  if (spec.has_backoff_limit_per_index() && !indexed) {
    Add(problems, path + ".backoffLimitPerIndex",
        "Invalid value: {}: requires indexed completion mode", spec.backoff_limit_per_index());
  }
  if (spec.has_max_failed_indexes() && !spec.has_backoff_limit_per_index()) {
    Add(problems, path + ".backoffLimitPerIndex",
        "Required value: when maxFailedIndexes is specified");
  }
  if (spec.has_success_policy() && !indexed) {
    Add(problems, path + ".successPolicy", "Invalid value: requires indexed completion mode");
  }
}

void CheckJobSpec(const v1::JobSpec& spec, const std::string& path, Problems* problems) {
  if (!spec.has_template_()) return;  // said already
  const std::string& policy = spec.template_().spec().restart_policy();
  if (policy != "OnFailure" && policy != "Never") {
    Add(problems, path + ".template.spec.restartPolicy",
        "Required value: valid values: \"OnFailure\", \"Never\"");
  }
  CheckIndexed(spec, path, problems);
  CheckFailurePolicy(spec, path, problems);
  CheckPodTemplate(spec.template_(), path + ".template", problems);
}

// Whether zones can be looked up on this machine at all.
bool HasZones() {
  absl::TimeZone zone;
  static const bool has = absl::LoadTimeZone("Etc/GMT", &zone);
  return has;
}

std::string CheckTimeZone(const std::string& name) {
  if (name == "Local" || name == "local") {
    return "timeZone must be an explicit time zone as defined in "
           "https://www.iana.org/time-zones";
  }
  const bool letters = std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '/' || c == '_' || c == '-' || c == '+';
  });
  absl::TimeZone zone;
  const bool unknown = letters && HasZones() && !absl::LoadTimeZone(name, &zone);
  return letters && !unknown ? "" : fmt::format("unknown time zone {}", name);
}

}  // namespace

void CheckJob(const v1::Job& object, Problems* problems) {
  const v1::JobSpec& spec = object.spec();
  CheckJobSpec(spec, "spec", problems);
  if (!spec.has_selector()) return;
  CheckSelector(spec.selector(), "spec.selector", problems);
  if (!spec.manual_selector()) {
    Add(problems, "spec.selector",
        "Invalid value: {}: `selector` not auto-generated; leave it out, or set manualSelector",
        Json(spec.selector()));
  }
}

void CheckCronJob(const v1::CronJob& object, Problems* problems) {
  const v1::CronJobSpec& spec = object.spec();
  if (object.metadata().name().size() > kMaxCronJobName) {
    Add(problems, "metadata.name", "Invalid value: \"{}\": must be no more than {} characters",
        object.metadata().name(), kMaxCronJobName);
  }
  if (!spec.schedule().empty()) {
    if (const std::string why = CheckCronLine(spec.schedule()); !why.empty()) {
      Add(problems, "spec.schedule", "{}", InvalidText(spec.schedule(), why));
    } else if (spec.schedule().find("TZ=") != std::string::npos) {
      Add(problems, "spec.schedule", "{}",
          InvalidText(spec.schedule(),
                      "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
    }
  }
  if (!spec.time_zone().empty()) {
    if (const std::string why = CheckTimeZone(spec.time_zone()); !why.empty()) {
      Add(problems, "spec.timeZone", "{}", InvalidText(spec.time_zone(), why));
    }
  }
  const v1::JobSpec& job = spec.job_template().spec();
  CheckJobSpec(job, "spec.jobTemplate.spec", problems);
  if (job.manual_selector()) {
    Add(problems, "spec.jobTemplate.spec.manualSelector",
        "Unsupported value: true: supported values: \"nil\", \"false\"");
  }
  if (job.has_selector()) {
    Add(problems, "spec.jobTemplate.spec.selector",
        "Invalid value: {}: `selector` will be auto-generated", Json(job.selector()));
  }
}

void CheckJobUpdate(const v1::JobSpec& live, const v1::JobSpec& next, Problems* problems) {
  const bool same =
      live.has_completions() == next.has_completions() && live.completions() == next.completions();
  // An elastic Job (both alike, Indexed) may grow and shrink.
  const bool elastic = next.completion_mode() == "Indexed" && next.has_completions() &&
                       next.completions() == next.parallelism();
  if (!same && !elastic) {
    Add(problems, "spec.completions", "Invalid value: {}: field is immutable", next.completions());
  }
  if (live.managed_by() != next.managed_by()) {
    Add(problems, "spec.managedBy", "Invalid value: \"{}\": field is immutable", next.managed_by());
  }
}

}  // namespace mesh::schema::internal
