// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/report.h"

#include <algorithm>
#include <map>
#include <utility>

#include "controlplane/controllers/objects.h"
#include "fmt/format.h"

namespace mesh::controlplane {

v1::Finding& Report::Add(v1::Finding::Verdict verdict, std::string object, std::string text,
                         const Remedies& remedies) {
  v1::Finding& finding = *response_.add_findings();
  finding.set_verdict(verdict);
  finding.set_object(std::move(object));
  finding.set_text(std::move(text));
  for (const std::string& remedy : remedies) finding.add_remedies(remedy);
  return finding;
}

v1::Finding& Report::Ok(std::string object, std::string text) {
  return Add(v1::Finding::OK, std::move(object), std::move(text), {});
}
v1::Finding& Report::Note(std::string object, std::string text, const Remedies& remedies) {
  return Add(v1::Finding::NOTE, std::move(object), std::move(text), remedies);
}
v1::Finding& Report::Problem(std::string object, std::string text, const Remedies& remedies) {
  ++problems_;
  return Add(v1::Finding::PROBLEM, std::move(object), std::move(text), remedies);
}
v1::Finding& Report::Unknown(std::string object, std::string text) {
  return Add(v1::Finding::UNKNOWN, std::move(object), std::move(text), {});
}

void Report::Add(v1::Finding finding) {
  if (finding.verdict() == v1::Finding::PROBLEM) ++problems_;
  *response_.add_findings() = std::move(finding);
}

std::string PodsTitle(const std::vector<const v1::Pod*>& pods) {
  if (pods.size() == 1) return PodTitle(*pods.front());
  std::vector<std::string> names;
  for (const v1::Pod* pod : pods)
    names.push_back(fmt::format("{}/{}", pod->metadata().namespace_(), pod->metadata().name()));
  return "pods " + NameList(names, 8);
}

std::string PodTitle(const v1::Pod& pod) {
  return fmt::format("pod {}/{}", pod.metadata().namespace_(), pod.metadata().name());
}

std::string ServiceTitle(const v1::Service& service) {
  return fmt::format("service {}/{}", service.metadata().namespace_(), service.metadata().name());
}

std::string TemplateTitle(const ClusterState& state, const v1::Pod& pod) {
  const std::string& ns = pod.metadata().namespace_();
  const v1::OwnerReference* owner = ControllerOf(pod.metadata());
  if (owner == nullptr || owner->kind() != "ReplicaSet") return PodTitle(pod);
  const v1::ReplicaSet* set = FindObject(state.replica_sets, {ns, owner->name()});
  const v1::OwnerReference* above = set == nullptr ? nullptr : ControllerOf(set->metadata());
  if (above == nullptr) return fmt::format("replicaset {}/{}", ns, owner->name());
  return fmt::format("deployment {}/{}", ns, above->name());
}

std::string LabelText(const google::protobuf::Map<std::string, std::string>& labels) {
  const std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  std::string out;
  for (const auto& [key, value] : sorted)
    out += fmt::format("{}{}={}", out.empty() ? "" : ",", key, value);
  return out;
}

std::string Elapsed(absl::Duration duration) {
  const std::string text =
      absl::FormatDuration(absl::Trunc(std::max(duration, absl::ZeroDuration()), absl::Seconds(1)));
  return text == "0" ? "0s" : text;
}

std::string NameList(const std::vector<std::string>& names, size_t most) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < most; ++i)
    out += fmt::format("{}{}", i == 0 ? "" : ", ", names[i]);
  if (names.size() > most) out += fmt::format(" and {} more", names.size() - most);
  return out;
}

}  // namespace mesh::controlplane
