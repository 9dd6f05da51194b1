// SPDX-License-Identifier: Apache-2.0
// StatefulSet, DaemonSet, ReplicationController.
#include <set>

#include "api/schema/rules_kinds.h"
#include "google/protobuf/util/message_differencer.h"

namespace mesh::schema::internal {
namespace {

using google::protobuf::util::MessageDifferencer;

void CheckClaimTemplates(const v1::StatefulSetSpec& spec, Problems* problems) {
  std::set<std::string> names;
  for (int i = 0; i < spec.volume_claim_templates_size(); ++i) {
    const v1::VolumeClaimTemplate& claim = spec.volume_claim_templates(i);
    const std::string path = fmt::format("spec.volumeClaimTemplates[{}]", i);
    const std::string& name = claim.metadata().name();
    if (!claim.kind().empty() && claim.kind() != "PersistentVolumeClaim") {
      Add(problems, path + ".kind", "Unsupported value: \"{}\": supported values: {}", claim.kind(),
          "\"PersistentVolumeClaim\"");
    }
    if (!claim.api_version().empty() && claim.api_version() != "v1") {
      Add(problems, path + ".apiVersion", "Unsupported value: \"{}\": supported values: \"v1\"",
          claim.api_version());
    }
    if (name.empty()) {
      Add(problems, path + ".metadata.name", "Required value");
    } else if (const std::string why = CheckDnsLabel(name); !why.empty()) {
      Add(problems, path + ".metadata.name", "{}", InvalidText(name, why));
    } else if (!names.insert(name).second) {
      Add(problems, path + ".metadata.name", "{}", DuplicateText(name));
    }
    CheckClaimSpec(claim.spec(), path + ".spec", problems);
  }
}

// The pods have a volume for each claim, which the template does not name; at the end, so that
// indexes stay those of the manifest.
v1::PodTemplateSpec WithClaims(const v1::StatefulSetSpec& spec) {
  v1::PodTemplateSpec pod = spec.template_();
  for (const v1::VolumeClaimTemplate& claim : spec.volume_claim_templates()) {
    const std::string& name = claim.metadata().name();
    bool given = name.empty();
    for (const v1::Volume& volume : pod.spec().volumes()) given = given || volume.name() == name;
    if (given) continue;
    v1::Volume* volume = pod.mutable_spec()->add_volumes();
    volume->set_name(name);
    volume->mutable_persistent_volume_claim()->set_claim_name(name);
  }
  return pod;
}

void CheckNoDeadline(const v1::PodTemplateSpec& pod, std::string_view kind, Problems* problems) {
  if (!pod.spec().has_active_deadline_seconds()) return;
  Add(problems, "spec.template.spec.activeDeadlineSeconds",
      "Forbidden: activeDeadlineSeconds in {} is not Supported", kind);
}

}  // namespace

void CheckStatefulSet(const v1::StatefulSet& object, Problems* problems) {
  const v1::StatefulSetSpec& spec = object.spec();
  if (spec.has_template_() && spec.has_selector()) {
    CheckTemplate(spec.selector(), WithClaims(spec), "statefulset", problems);
  }
  CheckNoDeadline(spec.template_(), "StatefulSet", problems);
  CheckClaimTemplates(spec, problems);
  const v1::StatefulSetUpdateStrategy& strategy = spec.update_strategy();
  const std::string path = "spec.updateStrategy.rollingUpdate";
  if (strategy.type() == "OnDelete" && strategy.has_rolling_update()) {
    Add(problems, path, "Invalid value: only allowed for updateStrategy 'RollingUpdate'");
    return;
  }
  const v1::RollingUpdateStatefulSetStrategy& rolling = strategy.rolling_update();
  if (!rolling.has_max_unavailable()) return;
  if (CheckIntOrPercent(rolling.max_unavailable(), path + ".maxUnavailable", true, problems)) {
    Add(problems, path + ".maxUnavailable", "Invalid value: {}: cannot be 0",
        ValueText(rolling.max_unavailable()));
  }
}

void CheckStatefulSetUpdate(const v1::StatefulSetSpec& live, const v1::StatefulSetSpec& next,
                            Problems* problems) {
  v1::StatefulSetSpec changed = next;
  // Both sides alike in what may change.
  if (live.has_replicas()) changed.set_replicas(live.replicas());
  changed.clear_ordinals();
  changed.clear_template_();
  changed.clear_update_strategy();
  changed.clear_revision_history_limit();
  changed.clear_persistent_volume_claim_retention_policy();
  changed.clear_min_ready_seconds();
  v1::StatefulSetSpec fixed = live;
  fixed.clear_ordinals();
  fixed.clear_template_();
  fixed.clear_update_strategy();
  fixed.clear_revision_history_limit();
  fixed.clear_persistent_volume_claim_retention_policy();
  fixed.clear_min_ready_seconds();
  if (MessageDifferencer::Equals(fixed, changed)) return;
  Add(problems, "spec",
      "Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
      "'template', 'updateStrategy', 'revisionHistoryLimit', "
      "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
}

void CheckDaemonSet(const v1::DaemonSet& object, Problems* problems) {
  const v1::DaemonSetSpec& spec = object.spec();
  if (spec.has_template_() && spec.has_selector()) {
    CheckTemplate(spec.selector(), spec.template_(), "daemonset", problems);
  }
  CheckNoDeadline(spec.template_(), "DaemonSet", problems);
  const v1::DaemonSetUpdateStrategy& strategy = spec.update_strategy();
  if (strategy.type() != "RollingUpdate") return;
  const v1::RollingUpdateDaemonSet& rolling = strategy.rolling_update();
  const std::string path = "spec.updateStrategy.rollingUpdate";
  const bool no_unavailable =
      CheckIntOrPercent(rolling.max_unavailable(), path + ".maxUnavailable", true, problems);
  const bool no_surge = CheckIntOrPercent(rolling.max_surge(), path + ".maxSurge", true, problems);
  if (no_unavailable && no_surge) {
    Add(problems, path + ".maxUnavailable", "Required value: cannot be 0 when maxSurge is 0");
  } else if (!no_unavailable && !no_surge) {
    Add(problems, path + ".maxSurge",
        "Invalid value: {}: may not be set when maxUnavailable is non-zero",
        ValueText(rolling.max_surge()));
  }
}

void CheckReplicationController(const v1::ReplicationController& object, Problems* problems) {
  const v1::ReplicationControllerSpec& spec = object.spec();
  if (!object.has_spec()) return;
  if (spec.selector().empty()) Add(problems, "spec.selector", "Required value");
  if (!spec.has_template_()) return Add(problems, "spec.template", "Required value");
  CheckNoDeadline(spec.template_(), "ReplicationController", problems);
  v1::LabelSelector selector;
  *selector.mutable_match_labels() = spec.selector();
  if (!spec.selector().empty()) {
    CheckTemplate(selector, spec.template_(), "replicationcontroller", problems);
  } else {
    CheckPodTemplate(spec.template_(), "spec.template", problems);
  }
}

}  // namespace mesh::schema::internal
