// SPDX-License-Identifier: Apache-2.0
#include "cli/output/describe.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "api/schema/qos.h"
#include "cli/output/age.h"
#include "cli/output/describe_pod_sources.h"
#include "cli/output/describe_text.h"
#include "cli/output/pod_status.h"
#include "cli/output/printers.h"
#include "cli/output/probe_text.h"
#include "common/quantity.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

using QuantityMap = google::protobuf::Map<std::string, v1::Quantity>;

std::string Bool(bool value) { return value ? "True" : "False"; }

std::string ControlledBy(const v1::ObjectMeta& meta) {
  for (const auto& owner : meta.owner_references()) {
    if (owner.controller()) return owner.kind() + "/" + owner.name();
  }
  return "";
}

// Of a container: its program writes it.
void DescribeMessage(const std::string& message, Text* text) {
  if (message.empty()) return;
  bool first = true;
  for (std::string& line : LinesOf(message)) {
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = '?';  // nothing for the terminal
    }
    text->Line(3, "{}\t{}", first ? "Message:" : "", line);
    first = false;
  }
}

void DescribeState(std::string_view title, const v1::ContainerState& state, Text* text) {
  if (state.has_running()) {
    text->Line(2, "{}:\tRunning", title);
    if (state.running().has_started_at()) {
      text->Line(3, "Started:\t{}", Rfc1123(state.running().started_at()));
    }
  } else if (state.has_waiting()) {
    text->Line(2, "{}:\tWaiting", title);
    if (!state.waiting().reason().empty()) text->Line(3, "Reason:\t{}", state.waiting().reason());
    if (!state.waiting().message().empty()) {
      text->Line(3, "Message:\t{}", state.waiting().message());
    }
  } else if (state.has_terminated()) {
    const v1::ContainerStateTerminated& end = state.terminated();
    text->Line(2, "{}:\tTerminated", title);
    if (!end.reason().empty()) text->Line(3, "Reason:\t{}", end.reason());
    DescribeMessage(end.message(), text);
    text->Line(3, "Exit Code:\t{}", end.exit_code());
    if (end.signal() > 0) text->Line(3, "Signal:\t{}", end.signal());
    if (end.has_started_at()) text->Line(3, "Started:\t{}", Rfc1123(end.started_at()));
    if (end.has_finished_at()) text->Line(3, "Finished:\t{}", Rfc1123(end.finished_at()));
  } else {
    text->Line(2, "{}:\tWaiting", title);
  }
}

void DescribeQuantities(std::string_view title, const QuantityMap& map, int level, Text* text) {
  if (map.empty()) return;
  std::map<std::string, std::string> sorted;
  for (const auto& [name, quantity] : map) sorted[name] = quantity.text();
  text->Line(level, "{}:", title);
  for (const auto& [name, value] : sorted) text->Line(level + 1, "{}:\t{}", name, value);
}

// What a container's spec and, when given, its status say.
void DescribeContainer(const v1::Container& container, const v1::ContainerStatus* status,
                       bool in_template, Text* text) {
  // kubectl's odd indent within templates.
  text->Line(1, "{}{}:", in_template ? " " : "", container.name());
  if (status) {
    text->Line(2, "Container ID:\t{}", status->container_id());
  }
  text->Line(2, "Image:\t{}", container.image());
  if (status) text->Line(2, "Image ID:\t{}", status->image_id());
  std::vector<std::string> ports;
  for (const auto& port : container.ports()) {
    ports.push_back(fmt::format("{}/{}{}", port.container_port(),
                                port.protocol().empty() ? "TCP" : port.protocol(),
                                port.name().empty() ? "" : fmt::format(" ({})", port.name())));
  }
  text->Line(2, "{}:\t{}", ports.size() > 1 ? "Ports" : "Port",
             OrNone(fmt::format("{}", fmt::join(ports, ", "))));
  for (const auto& [title, list] :
       {std::pair("Command", &container.command()), std::pair("Args", &container.args())}) {
    if (list->empty()) continue;
    text->Line(2, "{}:", title);
    for (const std::string& word : *list) {
      for (const std::string& line : LinesOf(word)) text->Line(3, "{}", line);
    }
  }
  if (status) {
    DescribeState("State", status->state(), text);
    if (status->last_state().has_terminated()) {
      DescribeState("Last State", status->last_state(), text);
    }
    text->Line(2, "Ready:\t{}", Bool(status->ready()));
    text->Line(2, "Restart Count:\t{}", status->restart_count());
  }
  DescribeQuantities("Limits", container.resources().limits(), 2, text);
  DescribeQuantities("Requests", container.resources().requests(), 2, text);
  if (container.has_liveness_probe())
    text->Line(2, "Liveness:\t{}", ProbeText(container.liveness_probe()));
  if (container.has_readiness_probe())
    text->Line(2, "Readiness:\t{}", ProbeText(container.readiness_probe()));
  if (container.has_startup_probe())
    text->Line(2, "Startup:\t{}", ProbeText(container.startup_probe()));
  if (container.lifecycle().has_post_start())
    text->Line(2, "Post Start:\t{}", HookText(container.lifecycle().post_start()));
  if (container.lifecycle().has_pre_stop())
    text->Line(2, "Pre Stop:\t{}", HookText(container.lifecycle().pre_stop()));
  DescribeEnvironment(container, text);
  DescribeMounts(container, text);
}

std::string TolerationText(const v1::Toleration& toleration) {
  std::string out = toleration.key();
  if (!toleration.value().empty()) out += "=" + toleration.value();
  if (!toleration.effect().empty()) out += ":" + toleration.effect();
  if (toleration.operator_() == "Exists") out += (out.empty() ? "op=Exists" : " op=Exists");
  if (toleration.has_toleration_seconds())
    out += fmt::format(" for {}s", toleration.toleration_seconds());
  return out;
}

void DescribePod(const v1::Pod& pod, const Related& related, absl::Time now, Text* text) {
  const v1::ObjectMeta& meta = pod.metadata();
  const v1::PodStatus& status = pod.status();
  text->Line(0, "Name:\t{}", meta.name());
  text->Line(0, "Namespace:\t{}", meta.namespace_());
  const v1::PodSpec& spec = pod.spec();
  if (spec.has_priority()) text->Line(0, "Priority:\t{}", spec.priority());
  if (!spec.priority_class_name().empty())
    text->Line(0, "Priority Class Name:\t{}", spec.priority_class_name());
  if (!spec.service_account_name().empty())
    text->Line(0, "Service Account:\t{}", spec.service_account_name());
  if (pod.spec().node_name().empty()) {
    text->Line(0, "Node:\t<none>");
  } else {
    text->Line(0, "Node:\t{}/{}", pod.spec().node_name(), status.host_ip());
  }
  if (status.has_start_time()) text->Line(0, "Start Time:\t{}", Rfc1123(status.start_time()));
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  if (meta.has_deletion_timestamp()) {
    text->Line(
        0, "Status:\tTerminating (lasts {})",
        HumanDuration(std::max(absl::ZeroDuration(), now - ToTime(meta.deletion_timestamp()))));
    text->Line(0, "Termination Grace Period:\t{}s", meta.deletion_grace_period_seconds());
  } else {
    text->Line(0, "Status:\t{}", status.phase());
  }
  if (!status.reason().empty()) text->Line(0, "Reason:\t{}", status.reason());
  if (!status.message().empty()) text->Line(0, "Message:\t{}", status.message());
  text->Line(0, "IP:\t{}", status.pod_ip());
  if (status.pod_ips().empty()) {
    text->Line(0, "IPs:\t<none>");
  } else {
    text->Line(0, "IPs:");
    for (const auto& ip : status.pod_ips()) text->Line(1, "IP:\t{}", ip.ip());
  }
  if (std::string owner = ControlledBy(meta); !owner.empty()) {
    text->Line(0, "Controlled By:\t{}", owner);
  }
  if (!pod.spec().init_containers().empty()) text->Line(0, "Init Containers:");
  for (const auto& init : pod.spec().init_containers()) {
    const v1::ContainerStatus* found = nullptr;
    for (const auto& candidate : status.init_container_statuses()) {
      if (candidate.name() == init.name()) found = &candidate;
    }
    DescribeContainer(init, found, /*in_template=*/false, text);
  }
  text->Line(0, "Containers:");
  for (const auto& container : pod.spec().containers()) {
    const v1::ContainerStatus* found = nullptr;
    for (const auto& candidate : status.container_statuses()) {
      if (candidate.name() == container.name()) found = &candidate;
    }
    DescribeContainer(container, found, /*in_template=*/false, text);
  }
  if (!status.conditions().empty()) {
    text->Line(0, "Conditions:");
    text->Line(1, "Type\tStatus");
    for (const auto& condition : status.conditions()) {
      text->Line(1, "{}\t{}", condition.type(), condition.status());
    }
    // The reason a condition is not met is what people look for.
    for (const auto& condition : status.conditions()) {
      if (condition.status() == "True" || condition.message().empty()) continue;
      text->Line(1, "{}:\t{}: {}", condition.type(), condition.reason(), condition.message());
    }
  }
  DescribeVolumes(spec, 0, text);
  text->Line(0, "QoS Class:\t{}", schema::QosClass(spec));
  text->Map("Node-Selectors", spec.node_selector());
  for (int i = 0; i < spec.tolerations_size(); ++i)
    text->Line(0, "{}\t{}", i == 0 ? "Tolerations:" : "", TolerationText(spec.tolerations(i)));
  DescribeEvents(related.events, now, text);
}

void DescribeTemplate(const v1::PodTemplateSpec& pod_template, Text* text) {
  text->Line(0, "Pod Template:");
  std::map<std::string, std::string> labels(pod_template.metadata().labels().begin(),
                                            pod_template.metadata().labels().end());
  if (labels.empty()) text->Line(1, "Labels:\t<none>");
  bool first = true;
  for (const auto& [key, value] : labels) {
    if (first) {
      text->Line(1, "Labels:\t{}={}", key, value);
    } else {
      text->Line(1, "\t{}={}", key, value);
    }
    first = false;
  }
  if (!pod_template.spec().init_containers().empty()) text->Line(1, "Init Containers:");
  for (const auto& init : pod_template.spec().init_containers()) {
    DescribeContainer(init, nullptr, /*in_template=*/true, text);
  }
  text->Line(1, "Containers:");
  for (const auto& container : pod_template.spec().containers()) {
    DescribeContainer(container, nullptr, /*in_template=*/true, text);
  }
  DescribeVolumes(pod_template.spec(), 1, text);
  text->Line(1, "Node-Selectors:\t{}", LabelsText(pod_template.spec().node_selector()));
}

void DescribeConditions(const google::protobuf::RepeatedPtrField<v1::Condition>& conditions,
                        Text* text) {
  if (conditions.empty()) return;
  text->Line(0, "Conditions:");
  text->Line(1, "Type\tStatus\tReason");
  text->Line(1, "----\t------\t------");
  for (const auto& condition : conditions) {
    text->Line(1, "{}\t{}\t{}", condition.type(), condition.status(), condition.reason());
  }
  for (const auto& condition : conditions) {
    const bool bad =
        condition.status() != "True" || condition.reason() == "ProgressDeadlineExceeded";
    if (bad && !condition.message().empty()) {
      text->Line(1, "{}:\t{}", condition.type(), condition.message());
    }
  }
}

std::string ReplicaSetsText(const std::vector<const v1::ReplicaSet*>& sets) {
  std::vector<std::string> texts;
  for (const v1::ReplicaSet* set : sets) {
    texts.push_back(fmt::format("{} ({}/{} replicas created)", set->metadata().name(),
                                set->status().replicas(), set->spec().replicas()));
  }
  return OrNone(fmt::format("{}", fmt::join(texts, ", ")));
}

// The ReplicaSet whose template is the Deployment's; null when there is none yet.
const v1::ReplicaSet* NewReplicaSet(const v1::Deployment& deployment,
                                    const std::vector<v1::ReplicaSet>& sets) {
  auto shape = [](v1::PodTemplateSpec pod_template) {
    pod_template.mutable_metadata()->mutable_labels()->erase("pod-template-hash");
    std::map<std::string, std::string> labels(pod_template.metadata().labels().begin(),
                                              pod_template.metadata().labels().end());
    pod_template.mutable_metadata()->clear_labels();
    return std::pair(labels, pod_template.spec().ShortDebugString());
  };
  const v1::ReplicaSet* newest = nullptr;
  for (const v1::ReplicaSet& set : sets) {
    if (shape(set.spec().template_()) != shape(deployment.spec().template_())) continue;
    if (!newest || ToTime(set.metadata().creation_timestamp()) <
                       ToTime(newest->metadata().creation_timestamp())) {
      newest = &set;
    }
  }
  return newest;
}

void DescribeDeployment(const v1::Deployment& deployment, const Related& related, absl::Time now,
                        Text* text) {
  const v1::ObjectMeta& meta = deployment.metadata();
  const v1::DeploymentStatus& status = deployment.status();
  text->Line(0, "Name:\t{}", meta.name());
  text->Line(0, "Namespace:\t{}", meta.namespace_());
  text->Line(0, "CreationTimestamp:\t{}", Rfc1123(meta.creation_timestamp()));
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  text->Line(0, "Selector:\t{}", SelectorText(deployment.spec().selector()));
  text->Line(0, "Replicas:\t{} desired | {} updated | {} total | {} available | {} unavailable",
             deployment.spec().replicas(), status.updated_replicas(), status.replicas(),
             status.available_replicas(), status.unavailable_replicas());
  const v1::DeploymentStrategy& strategy = deployment.spec().strategy();
  text->Line(0, "StrategyType:\t{}", strategy.type());
  text->Line(0, "MinReadySeconds:\t{}", deployment.spec().min_ready_seconds());
  if (strategy.has_rolling_update()) {
    text->Line(0, "RollingUpdateStrategy:\t{} max unavailable, {} max surge",
               IntOrStringText(strategy.rolling_update().max_unavailable()),
               IntOrStringText(strategy.rolling_update().max_surge()));
  }
  DescribeTemplate(deployment.spec().template_(), text);
  DescribeConditions(status.conditions(), text);
  const v1::ReplicaSet* newest = NewReplicaSet(deployment, related.replica_sets);
  std::vector<const v1::ReplicaSet*> old;
  for (const v1::ReplicaSet& set : related.replica_sets) {
    if (&set != newest) old.push_back(&set);
  }
  text->Line(0, "OldReplicaSets:\t{}", ReplicaSetsText(old));
  text->Line(0, "NewReplicaSet:\t{}", newest ? ReplicaSetsText({newest}) : std::string("<none>"));
  DescribeEvents(related.events, now, text);
}

void DescribeReplicaSet(const v1::ReplicaSet& set, const Related& related, absl::Time now,
                        Text* text) {
  const v1::ObjectMeta& meta = set.metadata();
  text->Line(0, "Name:\t{}", meta.name());
  text->Line(0, "Namespace:\t{}", meta.namespace_());
  text->Line(0, "Selector:\t{}", SelectorText(set.spec().selector()));
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  if (std::string owner = ControlledBy(meta); !owner.empty()) {
    text->Line(0, "Controlled By:\t{}", owner);
  }
  text->Line(0, "Replicas:\t{} current / {} desired", set.status().replicas(),
             set.spec().replicas());
  std::map<std::string, int> phases;
  for (const v1::Pod& pod : related.pods) ++phases[pod.status().phase()];
  text->Line(0, "Pods Status:\t{} Running / {} Waiting / {} Succeeded / {} Failed",
             phases["Running"], phases["Pending"] + phases[""], phases["Succeeded"],
             phases["Failed"]);
  DescribeTemplate(set.spec().template_(), text);
  DescribeConditions(set.status().conditions(), text);
  DescribeEvents(related.events, now, text);
}

// Sum of what the containers of a pod ask for; kubectl's Requests and Limits of a node.
int64_t Sum(const v1::PodSpec& spec, const std::string& name, bool limits) {
  int64_t sum = 0;
  for (const auto& container : spec.containers()) {
    const auto& map = limits ? container.resources().limits() : container.resources().requests();
    auto it = map.find(name);
    if (it == map.end()) continue;
    auto value = ParseQuantityMilli(it->second.text());
    if (value.ok()) sum += *value;
  }
  return sum;
}

std::string WithShare(const std::string& name, int64_t milli, int64_t allocatable_milli) {
  const int64_t percent = allocatable_milli > 0 ? milli * 100 / allocatable_milli : 0;
  return fmt::format("{} ({}%)", name == "cpu" ? FormatCpuMilli(milli) : FormatBytes(milli / 1000),
                     percent);
}

// "dedicated=shop:NoSchedule"
std::string TaintText(const v1::Taint& taint) {
  return fmt::format("{}{}{}:{}", taint.key(), taint.value().empty() ? "" : "=", taint.value(),
                     taint.effect());
}

void DescribeNode(const v1::Node& node, const Related& related, absl::Time now, Text* text) {
  const v1::ObjectMeta& meta = node.metadata();
  const v1::NodeStatus& status = node.status();
  text->Line(0, "Name:\t{}", meta.name());
  text->Line(0, "Roles:\t{}", NodeRoles(node));
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  text->Line(0, "CreationTimestamp:\t{}", Rfc1123(meta.creation_timestamp()));
  const auto& taints = node.spec().taints();
  if (taints.empty()) text->Line(0, "Taints:\t<none>");
  for (int i = 0; i < taints.size(); ++i)
    text->Line(0, "{}\t{}", i == 0 ? "Taints:" : "", TaintText(taints[i]));
  text->Line(0, "Unschedulable:\t{}", node.spec().unschedulable() ? "true" : "false");
  if (status.has_last_heartbeat()) {
    text->Line(0, "Last Heartbeat:\t{}", Rfc1123(status.last_heartbeat()));
  }
  if (!status.conditions().empty()) {
    text->Line(0, "Conditions:");
    text->Line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
    text->Line(1, "----\t------\t------------------\t------\t-------");
    for (const auto& condition : status.conditions()) {
      text->Line(1, "{}\t{}\t{}\t{}\t{}", condition.type(), condition.status(),
                 Rfc1123(condition.last_transition_time()), condition.reason(),
                 condition.message());
    }
  }
  text->Line(0, "Addresses:");
  for (const auto& address : status.addresses()) {
    text->Line(1, "{}:\t{}", address.type(), address.address());
  }
  DescribeQuantities("Capacity", status.capacity(), 0, text);
  DescribeQuantities("Allocatable", status.allocatable(), 0, text);
  const v1::NodeSystemInfo& info = status.node_info();
  text->Line(0, "System Info:");
  text->Line(1, "Machine ID:\t{}", info.machine_id());
  text->Line(1, "Boot ID:\t{}", info.boot_id());
  text->Line(1, "Kernel Version:\t{}", info.kernel_version());
  text->Line(1, "OS Image:\t{}", info.os_image());
  text->Line(1, "Operating System:\t{}", info.operating_system());
  text->Line(1, "Architecture:\t{}", info.architecture());
  text->Line(1, "Container Runtime Version:\t{}", info.container_runtime_version());
  text->Line(1, "Agent Version:\t{}", info.kubelet_version());
  text->Line(0, "PodCIDR:\t{}", node.spec().pod_cidr());
  text->Line(0, "PodCIDRs:\t{}", fmt::format("{}", fmt::join(node.spec().pod_cidrs(), ",")));
  text->Line(0, "Dataplane:");
  text->Line(1, "Revision:\t{}", status.dataplane_revision());
  text->Line(0, "Non-terminated Pods:\t({} in total)", related.pods.size());
  std::map<std::string, int64_t> allocatable;
  for (const auto& [name, quantity] : status.allocatable()) {
    allocatable[name] = ParseQuantityMilli(quantity.text()).value_or(0);
  }
  std::map<std::string, int64_t> requests, limits;
  if (!related.pods.empty()) {
    text->Line(1, "Namespace\tName\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    text->Line(1, "---------\t----\t------------\t----------\t---------------\t-------------\t---");
    for (const v1::Pod& pod : related.pods) {
      auto cell = [&](const std::string& name, bool limit) {
        const int64_t sum = Sum(pod.spec(), name, limit);
        (limit ? limits : requests)[name] += sum;
        return WithShare(name, sum, allocatable[name]);
      };
      const std::string cpu = cell("cpu", false), cpu_limit = cell("cpu", true);
      const std::string memory = cell("memory", false), memory_limit = cell("memory", true);
      text->Line(1, "{}\t{}\t{}\t{}\t{}\t{}\t{}", pod.metadata().namespace_(),
                 pod.metadata().name(), cpu, cpu_limit, memory, memory_limit,
                 AgeSince(pod.metadata().has_creation_timestamp(),
                          pod.metadata().creation_timestamp(), now));
    }
  }
  text->Line(0, "Allocated resources:");
  text->Line(1, "Resource\tRequests\tLimits");
  text->Line(1, "--------\t--------\t------");
  for (const char* name : {"cpu", "memory"}) {
    text->Line(1, "{}\t{}\t{}", name, WithShare(name, requests[name], allocatable[name]),
               WithShare(name, limits[name], allocatable[name]));
  }
  DescribeEvents(related.events, now, text);
}

// What a pod of it admits while no ingress policy selects it (docs/design/policy.md).
const char* IsolationText(const v1::Namespace& ns) {
  const auto& annotations = ns.metadata().annotations();
  const auto it = annotations.find("mesh.io/isolation");
  const std::string mode = it == annotations.end() ? "" : it->second;
  if (mode == "open") return "open (mesh.io/isolation): every namespace gets in";
  if (mode == "closed")
    return "closed (mesh.io/isolation): no other namespace gets in, not through Services either";
  return "default: other namespaces get in through its Services only";
}

void DescribeNamespace(const v1::Namespace& ns, const Related& related, absl::Time now,
                       Text* text) {
  text->Line(0, "Name:\t{}", ns.metadata().name());
  text->Map("Labels", ns.metadata().labels());
  text->Annotations(ns.metadata().annotations());
  text->Line(0, "Status:\t{}", ns.status().phase());
  text->Line(0, "Isolation:\t{}", IsolationText(ns));
  DescribeConditions(ns.status().conditions(), text);
  DescribeEvents(related.events, now, text);
}

void DescribeEvent(const v1::Event& event, Text* text) {
  text->Line(0, "Name:\t{}", event.metadata().name());
  text->Line(0, "Namespace:\t{}", event.metadata().namespace_());
  text->Line(0, "Type:\t{}", event.type());
  text->Line(0, "Reason:\t{}", event.reason());
  text->Line(0, "Message:\t{}", event.message());
  text->Line(0, "Object:\t{}/{}", event.involved_object().kind(), event.involved_object().name());
  text->Line(0, "Count:\t{}", event.count());
  text->Line(0, "First Seen:\t{}", Rfc1123(event.first_timestamp()));
  text->Line(0, "Last Seen:\t{}", Rfc1123(event.last_timestamp()));
}

}  // namespace

std::string Describe(const v1::Resource& object, const Related& related, absl::Time now) {
  Text text;
  switch (object.kind_case()) {
    case v1::Resource::kPod:
      DescribePod(object.pod(), related, now, &text);
      break;
    case v1::Resource::kDeployment:
      DescribeDeployment(object.deployment(), related, now, &text);
      break;
    case v1::Resource::kReplicaSet:
      DescribeReplicaSet(object.replica_set(), related, now, &text);
      break;
    case v1::Resource::kService:
      DescribeService(object.service(), related, now, &text);
      break;
    case v1::Resource::kNode:
      DescribeNode(object.node(), related, now, &text);
      break;
    case v1::Resource::kNamespace:
      DescribeNamespace(object.namespace_(), related, now, &text);
      break;
    case v1::Resource::kEndpointSlice:
      DescribeSlice(object.endpoint_slice(), related, now, &text);
      break;
    case v1::Resource::kEvent:
      DescribeEvent(object.event(), &text);
      break;
    case v1::Resource::kNetworkPolicy:
      DescribeNetworkPolicy(object.network_policy(), related, now, &text);
      break;
    case v1::Resource::KIND_NOT_SET:
      break;
    default:
      DescribeStoredKind(object, related, now, &text);
      break;
  }
  return text.Finish();
}

std::string DescribeEndpoints(const std::vector<v1::EndpointSlice>& slices, const Related& related,
                              absl::Time now) {
  Text text;
  if (slices.empty()) return "";
  const v1::ObjectMeta& meta = slices.front().metadata();
  text.Line(0, "Name:\t{}", ServiceOfSlice(slices.front()));
  text.Line(0, "Namespace:\t{}", meta.namespace_());
  text.Map("Labels", meta.labels());
  text.Annotations(meta.annotations());
  text.Line(0, "Subsets:");
  for (const v1::EndpointSlice& slice : slices) {
    std::vector<std::string> ready, not_ready;
    for (const auto& endpoint : slice.endpoints()) {
      for (const auto& address : endpoint.addresses()) {
        (IsReady(endpoint) ? ready : not_ready).push_back(address);
      }
    }
    text.Line(1, "Addresses:\t{}", OrNone(fmt::format("{}", fmt::join(ready, ","))));
    text.Line(1, "NotReadyAddresses:\t{}", OrNone(fmt::format("{}", fmt::join(not_ready, ","))));
    if (slice.ports().empty()) continue;
    text.Line(1, "Ports:");
    text.Line(2, "Name\tPort\tProtocol");
    text.Line(2, "----\t----\t--------");
    for (const auto& port : slice.ports()) {
      text.Line(2, "{}\t{}\t{}", port.name().empty() ? "<unset>" : port.name(), port.port(),
                port.protocol());
    }
  }
  DescribeEvents(related.events, now, &text);
  return text.Finish();
}

}  // namespace mesh::cli
