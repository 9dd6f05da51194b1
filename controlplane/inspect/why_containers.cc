// SPDX-License-Identifier: Apache-2.0
// Containers that wait, have ended, or were started again.
#include <set>
#include <string>
#include <vector>

#include "api/schema/references.h"
#include "common/utf8.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/inspect/topics.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr int kLogLines = 10;
constexpr size_t kLastLineMost = 200;
// A restart that long ago is history.
constexpr absl::Duration kRecent = absl::Minutes(10);
// Starting longer than that is not usual.
constexpr absl::Duration kUsualStart = absl::Seconds(10);

// Of what a program has left: where it says why it ends.
std::string LastLine(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.remove_suffix(1);
  const size_t end = text.rfind('\n');
  return std::string(
      Utf8Prefix(end == std::string_view::npos ? text : text.substr(end + 1), kLastLineMost));
}

class Containers {
 public:
  Containers(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report)
      : state_(state), pod_(pod), now_(now), report_(report), owner_(TemplateTitle(state, pod)) {}

  void Tell() {
    for (const v1::ContainerStatus& status : pod_.status().init_container_statuses()) {
      const v1::ContainerState& now = status.state();
      // The one that holds up the others says why; those wait for it.
      if (now.has_waiting() && now.waiting().reason() == "PodInitializing") continue;
      if (now.has_terminated() && now.terminated().exit_code() == 0) continue;
      if (now.has_running() && !status.ready() && !status.started())
        report_->Note(Title(status), "runs as init container: the containers after it wait");
      TellOf(status);
    }
    for (const v1::ContainerStatus& status : pod_.status().container_statuses()) {
      if (status.state().waiting().reason() == "PodInitializing") continue;
      TellOf(status);
    }
  }

 private:
  void TellOf(const v1::ContainerStatus& status) {
    const v1::ContainerState& now = status.state();
    if (now.has_waiting()) {
      Waiting(status);
    } else if (now.has_terminated()) {
      Terminated(status);
    } else if (now.has_running() && status.restart_count() > 0 &&
               status.last_state().has_terminated()) {
      Restarted(status);
    }
    if (now.has_running() && !status.probe_failure().empty())
      report_->Problem(Title(status), status.probe_failure());
  }

  std::string Title(const v1::ContainerStatus& status) const {
    return fmt::format("container {} of {}", status.name(), PodTitle(pod_));
  }
  const v1::Container* SpecOf(const v1::ContainerStatus& status) const {
    for (const auto* list : {&pod_.spec().containers(), &pod_.spec().init_containers()})
      for (const v1::Container& container : *list)
        if (container.name() == status.name()) return &container;
    return nullptr;
  }
  std::string FieldOf(const v1::ContainerStatus& status, std::string_view field) const {
    for (int i = 0; i < pod_.spec().containers_size(); ++i)
      if (pod_.spec().containers(i).name() == status.name())
        return fmt::format("spec.containers[{}].{} of {}", i, field, owner_);
    for (int i = 0; i < pod_.spec().init_containers_size(); ++i)
      if (pod_.spec().init_containers(i).name() == status.name())
        return fmt::format("spec.initContainers[{}].{} of {}", i, field, owner_);
    return fmt::format("{} of {}", field, owner_);
  }
  void AddLogs(const v1::ContainerStatus& status, bool previous, v1::Finding* finding) const {
    v1::LogsRequest& logs = *finding->mutable_logs();
    logs.set_namespace_(pod_.metadata().namespace_());
    logs.set_pod(pod_.metadata().name());
    logs.set_container(status.name());
    logs.set_previous(previous);
    logs.set_tail_lines(kLogLines);
  }

  // "exit code 1 (Error), 12s ago, after running for 3s".
  std::string EndText(const v1::ContainerStateTerminated& end) const {
    std::string out = end.signal() != 0 ? fmt::format("killed by signal {}", end.signal())
                                        : fmt::format("exit code {}", end.exit_code());
    if (end.reason() == "OOMKilled") {
      out = "killed because it ran out of memory (OOMKilled)";
    } else if (end.exit_code() > 128 && end.exit_code() < 128 + 65) {
      out += fmt::format(" (signal {})", end.exit_code() - 128);
    }
    if (end.has_finished_at()) {
      out += fmt::format(", {} ago", Elapsed(now_ - ToTime(end.finished_at())));
      if (end.has_started_at() && ToTime(end.started_at()) > absl::UnixEpoch())
        out += fmt::format(", after {}",
                           Elapsed(ToTime(end.finished_at()) - ToTime(end.started_at())));
    }
    if (const std::string words = LastLine(end.message()); !words.empty()) out += ": " + words;
    return out;
  }

  Report::Remedies EndRemedies(const v1::ContainerStatus& status,
                               const v1::ContainerStateTerminated& end) const {
    if (end.reason() == "OOMKilled") {
      const v1::Container* spec = SpecOf(status);
      std::string limit;
      if (spec != nullptr) {
        const auto it = spec->resources().limits().find("memory");
        if (it != spec->resources().limits().end()) limit = it->second.text();
      }
      return {
          limit.empty()
              ? fmt::format("give {} a larger memory limit than the machine could hold now", owner_)
              : fmt::format("raise {} above {}", FieldOf(status, "resources.limits.memory"),
                            limit)};
    }
    switch (end.exit_code()) {
      case 0:
        if (pod_.spec().restart_policy() == "Always" || pod_.spec().restart_policy().empty())
          return {"let the program stay in the foreground: it ends with success by itself",
                  fmt::format("set spec.restartPolicy of {} to OnFailure", owner_)};
        return {};
      case 126:
        return {fmt::format("make the program executable in the image, or correct {}",
                            FieldOf(status, "command"))};
      case 127:
      case 128:
        return {fmt::format("the program was not found in the image: correct {}",
                            FieldOf(status, "command"))};
      default:
        return {};
    }
  }

  // What the pod refers to and nobody has made. Where all is there, a key may be missing in it,
  // which the message says.
  Report::Remedies MissingRemedies() const {
    const std::string& ns = pod_.metadata().namespace_();
    const schema::PodReferences references = schema::ReferencesOf(pod_.spec());
    Report::Remedies out;
    const auto add = [&](v1::Kind kind, const char* title, const std::set<std::string>& names) {
      for (const std::string& name : names) {
        if (state_.Find(kind, {.ns = ns, .name = name}) != nullptr) continue;
        out.push_back(
            fmt::format("apply {} {}/{}, or mark it as optional in {}", title, ns, name, owner_));
      }
    };
    add(v1::KIND_CONFIG_MAP, "ConfigMap", references.config_maps);
    add(v1::KIND_SECRET, "Secret", references.secrets);
    return out;
  }

  void Waiting(const v1::ContainerStatus& status) {
    const v1::ContainerStateWaiting& waiting = status.state().waiting();
    const std::string& reason = waiting.reason();
    if (reason == "CrashLoopBackOff") return CrashLoop(status);
    const v1::Container* spec = SpecOf(status);
    const std::string image = spec == nullptr ? status.image() : spec->image();
    if (reason == "InvalidImageName") {
      report_->Problem(Title(status), fmt::format("InvalidImageName: \"{}\"", image),
                       {fmt::format("correct {}", FieldOf(status, "image"))});
      return;
    }
    if (reason == "ErrImagePull" || reason == "ImagePullBackOff" || reason == "ErrImageNeverPull") {
      Report::Remedies remedies = {
          fmt::format("correct {} (now {})", FieldOf(status, "image"), image)};
      if (reason == "ErrImageNeverPull") {
        remedies.push_back(fmt::format("load the image into the container runtime of node {}",
                                       pod_.spec().node_name()));
        remedies.push_back(
            fmt::format("set {} to IfNotPresent", FieldOf(status, "imagePullPolicy")));
      } else {
        remedies.push_back(fmt::format("let node {} reach the registry, or load the image there",
                                       pod_.spec().node_name()));
      }
      report_->Problem(
          Title(status),
          fmt::format("{}: {}", reason, waiting.message().empty() ? image : waiting.message()),
          remedies);
      return;
    }
    if (reason == "CreateContainerConfigError") {
      report_->Problem(Title(status), fmt::format("{}: {}", reason, waiting.message()),
                       MissingRemedies());
      return;
    }
    if (reason == "PostStartHookError") {
      report_->Problem(Title(status), fmt::format("{}: {}", reason, waiting.message()),
                       {fmt::format("correct {}", FieldOf(status, "lifecycle.postStart"))});
      return;
    }
    if (reason == "CreateContainerError" || reason == "RunContainerError") {
      report_->Problem(Title(status), fmt::format("{}: {}", reason, waiting.message()),
                       {fmt::format("correct {}", FieldOf(status, "command"))});
      return;
    }
    const absl::Time since =
        pod_.status().has_start_time() ? ToTime(pod_.status().start_time()) : now_;
    const std::string text =
        fmt::format("{} for {}{}{}", reason.empty() ? "waits" : reason, Elapsed(now_ - since),
                    waiting.message().empty() ? "" : ": ", waiting.message());
    if (waiting.message().empty() && now_ - since < kUsualStart) {
      report_->Note(Title(status), text);
    } else {
      report_->Problem(Title(status), text);
    }
  }

  void CrashLoop(const v1::ContainerStatus& status) {
    const v1::ContainerStateTerminated& end = status.last_state().terminated();
    v1::Finding& finding = report_->Problem(
        Title(status),
        fmt::format("ends again and again: {}; started {} times; {}", EndText(end),
                    status.restart_count() + 1, status.state().waiting().message()),
        EndRemedies(status, end));
    AddLogs(status, false, &finding);
  }

  void Terminated(const v1::ContainerStatus& status) {
    const v1::ContainerStateTerminated& end = status.state().terminated();
    if (end.exit_code() == 0 && end.signal() == 0 && end.reason() != "OOMKilled") {
      report_->Note(Title(status), "has ended with success: " + EndText(end));
      return;
    }
    v1::Finding& finding =
        report_->Problem(Title(status),
                         fmt::format("has ended: {}{}", EndText(end),
                                     pod_.spec().restart_policy() == "Never"
                                         ? "; spec.restartPolicy is Never, so it stays so"
                                         : ""),
                         EndRemedies(status, end));
    AddLogs(status, false, &finding);
  }

  void Restarted(const v1::ContainerStatus& status) {
    const v1::ContainerStateTerminated& end = status.last_state().terminated();
    const std::string text =
        fmt::format("runs, and was started {} times: {}", status.restart_count() + 1, EndText(end));
    if (end.has_finished_at() && now_ - ToTime(end.finished_at()) > kRecent) {
      report_->Note(Title(status), text);
      return;
    }
    v1::Finding& finding = report_->Problem(Title(status), text, EndRemedies(status, end));
    AddLogs(status, true, &finding);
  }

  const ClusterState& state_;
  const v1::Pod& pod_;
  const absl::Time now_;
  Report* const report_;
  const std::string owner_;
};

}  // namespace

void WhyContainers(const ClusterState& state, const v1::Pod& pod, absl::Time now, Report* report) {
  Containers(state, pod, now, report).Tell();
}

}  // namespace mesh::controlplane
