// SPDX-License-Identifier: Apache-2.0
#include "cli/output/printers.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>

#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "cli/output/age.h"
#include "cli/output/pod_status.h"
#include "cli/output/printers_kinds.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

constexpr char kNone[] = "<none>";
constexpr char kRolePrefix[] = "node-role.kubernetes.io/";

std::string OrNone(const std::string& text) { return text.empty() ? kNone : text; }

std::string Age(const v1::ObjectMeta& meta, absl::Time now) {
  return AgeSince(meta.has_creation_timestamp(), meta.creation_timestamp(), now);
}

std::string Upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// "web,sidecar" and "nginx,busybox".
std::string ContainerNames(const v1::PodSpec& spec) {
  std::vector<std::string> names;
  for (const auto& container : spec.containers()) names.push_back(container.name());
  return fmt::format("{}", fmt::join(names, ","));
}
std::string ContainerImages(const v1::PodSpec& spec) {
  std::vector<std::string> images;
  for (const auto& container : spec.containers()) images.push_back(container.image());
  return fmt::format("{}", fmt::join(images, ","));
}

Columns HeadersOf(v1::Kind kind) {
  switch (kind) {
    case v1::KIND_NAMESPACE:
      return {{"NAME", "STATUS", "AGE"}, {}};
    case v1::KIND_NODE:
      return {{"NAME", "STATUS", "ROLES", "AGE", "VERSION"},
              {"INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE", "KERNEL-VERSION", "CONTAINER-RUNTIME"}};
    case v1::KIND_POD:
      return {{"NAME", "READY", "STATUS", "RESTARTS", "AGE"},
              {"IP", "NODE", "NOMINATED NODE", "READINESS GATES"}};
    case v1::KIND_REPLICA_SET:
      return {{"NAME", "DESIRED", "CURRENT", "READY", "AGE"}, {"CONTAINERS", "IMAGES", "SELECTOR"}};
    case v1::KIND_DEPLOYMENT:
      return {{"NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"},
              {"CONTAINERS", "IMAGES", "SELECTOR"}};
    case v1::KIND_SERVICE:
      return {{"NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE"}, {"SELECTOR"}};
    case v1::KIND_ENDPOINT_SLICE:
      return {{"NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"}, {}};
    case v1::KIND_NETWORK_POLICY:
      return {{"NAME", "POD-SELECTOR", "AGE"}, {}};
    default:
      break;
  }
  Columns columns = {{"NAME", "AGE"}, {}};
  if (!WorkloadColumns(kind, &columns) && !StorageColumns(kind, &columns)) {
    RuleColumns(kind, &columns);
  }
  return columns;
}

Row NodeRow(const v1::Node& node, bool wide, absl::Time now) {
  Row row = {node.metadata().name(), NodeStatusText(node), NodeRoles(node),
             Age(node.metadata(), now), OrNone(node.status().node_info().kubelet_version())};
  if (wide) {
    const v1::NodeSystemInfo& info = node.status().node_info();
    auto or_unknown = [](const std::string& text) { return text.empty() ? "<unknown>" : text; };
    row.insert(row.end(),
               {OrNone(AddressesOf(node, "InternalIP")), OrNone(AddressesOf(node, "ExternalIP")),
                or_unknown(info.os_image()), or_unknown(info.kernel_version()),
                or_unknown(info.container_runtime_version())});
  }
  return row;
}

Row PodRow(const v1::Pod& pod, bool wide, absl::Time now) {
  const PodSummary summary = Summarize(pod, now);
  Row row = {pod.metadata().name(), fmt::format("{}/{}", summary.ready, summary.total),
             summary.status, summary.restarts, Age(pod.metadata(), now)};
  if (wide) {
    row.insert(row.end(),
               {OrNone(pod.status().pod_ip()), OrNone(pod.spec().node_name()), kNone, kNone});
  }
  return row;
}

Row ReplicaSetRow(const v1::ReplicaSet& rs, bool wide, absl::Time now) {
  Row row = {rs.metadata().name(), std::to_string(rs.spec().replicas()),
             std::to_string(rs.status().replicas()), std::to_string(rs.status().ready_replicas()),
             Age(rs.metadata(), now)};
  if (wide) {
    row.insert(row.end(),
               {ContainerNames(rs.spec().template_().spec()),
                ContainerImages(rs.spec().template_().spec()), SelectorText(rs.spec().selector())});
  }
  return row;
}

Row DeploymentRow(const v1::Deployment& deployment, bool wide, absl::Time now) {
  const v1::DeploymentStatus& status = deployment.status();
  Row row = {deployment.metadata().name(),
             fmt::format("{}/{}", status.ready_replicas(), deployment.spec().replicas()),
             std::to_string(status.updated_replicas()), std::to_string(status.available_replicas()),
             Age(deployment.metadata(), now)};
  if (wide) {
    const v1::PodSpec& spec = deployment.spec().template_().spec();
    row.insert(row.end(), {ContainerNames(spec), ContainerImages(spec),
                           SelectorText(deployment.spec().selector())});
  }
  return row;
}

std::string Joined(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return fmt::format("{}", fmt::join(texts, ","));
}

// Where the Service is reached from outside.
std::string ExternalText(const v1::Service& service) {
  const v1::ServiceSpec& spec = service.spec();
  if (spec.type() == "ExternalName") return OrNone(spec.external_name());
  if (spec.type() != "LoadBalancer") return OrNone(Joined(spec.external_ips()));
  std::vector<std::string> ips;
  for (const auto& ingress : service.status().load_balancer().ingress())
    ips.push_back(ingress.ip());
  ips.insert(ips.end(), spec.external_ips().begin(), spec.external_ips().end());
  return ips.empty() ? "<pending>" : fmt::format("{}", fmt::join(ips, ","));
}

Row ServiceRow(const v1::Service& service, bool wide, absl::Time now) {
  Row row = {service.metadata().name(),
             service.spec().type().empty() ? "ClusterIP" : service.spec().type(),
             OrNone(service.spec().cluster_ip()),
             ExternalText(service),
             PortsText(service),
             Age(service.metadata(), now)};
  if (wide) row.push_back(LabelsText(service.spec().selector()));
  return row;
}

Row SliceRow(const v1::EndpointSlice& slice, absl::Time now) {
  std::vector<std::string> ports, addresses;
  for (const auto& port : slice.ports()) ports.push_back(std::to_string(port.port()));
  size_t count = 0;
  for (const auto& endpoint : slice.endpoints()) {
    for (const auto& address : endpoint.addresses()) {
      if (++count <= 3) addresses.push_back(address);
    }
  }
  std::string list = fmt::format("{}", fmt::join(addresses, ","));
  if (count > 3) list += fmt::format(" + {} more...", count - 3);
  return {slice.metadata().name(), slice.address_type(),
          ports.empty() ? "<unset>" : fmt::format("{}", fmt::join(ports, ",")),
          list.empty() ? "<unset>" : list, Age(slice.metadata(), now)};
}

Row RowOf(const v1::Resource& object, bool wide, absl::Time now) {
  switch (object.kind_case()) {
    case v1::Resource::kNamespace: {
      const v1::Namespace& ns = object.namespace_();
      return {ns.metadata().name(), ns.status().phase().empty() ? "Active" : ns.status().phase(),
              Age(ns.metadata(), now)};
    }
    case v1::Resource::kNode:
      return NodeRow(object.node(), wide, now);
    case v1::Resource::kPod:
      return PodRow(object.pod(), wide, now);
    case v1::Resource::kReplicaSet:
      return ReplicaSetRow(object.replica_set(), wide, now);
    case v1::Resource::kDeployment:
      return DeploymentRow(object.deployment(), wide, now);
    case v1::Resource::kService:
      return ServiceRow(object.service(), wide, now);
    case v1::Resource::kEndpointSlice:
      return SliceRow(object.endpoint_slice(), now);
    case v1::Resource::kNetworkPolicy: {
      const v1::NetworkPolicy& policy = object.network_policy();
      return {policy.metadata().name(), SelectorText(policy.spec().pod_selector()),
              Age(policy.metadata(), now)};
    }
    default:
      break;
  }
  Row row;
  if (!WorkloadRow(object, wide, now, &row) && !StorageRow(object, wide, now, &row)) {
    RuleRow(object, wide, now, &row);
  }
  return row;
}

std::string LabelOr(const v1::ObjectMeta& meta, const std::string& key) {
  auto it = meta.labels().find(key);
  return it == meta.labels().end() ? "" : it->second;
}

// Puts what the options ask for around the columns of the kind.
void Frame(const v1::ObjectMeta& meta, const PrintOptions& options, Row* row) {
  for (const std::string& key : options.label_columns) row->push_back(OrNone(LabelOr(meta, key)));
  if (options.show_labels) row->push_back(LabelsText(meta.labels()));
  if (options.with_namespace) row->insert(row->begin(), meta.namespace_());
}

void FrameHeaders(const PrintOptions& options, Row* headers) {
  for (const std::string& key : options.label_columns) {
    headers->push_back(
        Upper(key.substr(key.rfind('/') == std::string::npos ? 0 : key.rfind('/') + 1)));
  }
  if (options.show_labels) headers->push_back("LABELS");
  if (options.with_namespace) headers->insert(headers->begin(), "NAMESPACE");
}

// Columns of events have no NAME but in wide, where it is the last.
Table EventTable(const std::vector<v1::Resource>& objects, const PrintOptions& options) {
  Table table;
  table.headers = {"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"};
  if (options.wide) {
    table.headers = {"LAST SEEN", "TYPE",    "REASON",     "OBJECT", "SUBOBJECT",
                     "SOURCE",    "MESSAGE", "FIRST SEEN", "COUNT",  "NAME"};
  }
  FrameHeaders(options, &table.headers);
  for (const v1::Resource& object : objects) {
    const v1::Event& event = object.event();
    const std::string last =
        AgeSince(event.has_last_timestamp(), event.last_timestamp(), options.now);
    const std::string target =
        fmt::format("{}/{}", Lower(event.involved_object().kind()), event.involved_object().name());
    Row row = {last, event.type(), event.reason(), target, event.message()};
    if (options.wide) {
      std::string source = event.source().component();
      if (!event.source().host().empty()) source += ", " + event.source().host();
      row = {last,
             event.type(),
             event.reason(),
             target,
             event.involved_object().field_path(),
             source,
             event.message(),
             AgeSince(event.has_first_timestamp(), event.first_timestamp(), options.now),
             std::to_string(event.count()),
             event.metadata().name()};
    }
    Frame(event.metadata(), options, &row);
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace

std::string LabelsText(const google::protobuf::Map<std::string, std::string>& labels) {
  std::map<std::string, std::string> sorted(labels.begin(), labels.end());
  std::string text;
  for (const auto& [key, value] : sorted) {
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", key, value);
  }
  return OrNone(text);
}

std::string SelectorText(const v1::LabelSelector& selector) {
  auto parsed = schema::Selector::From(selector);
  return parsed.ok() ? OrNone(parsed->ToString()) : "<error>";
}

std::string PortsText(const v1::Service& service) {
  std::vector<std::string> ports;
  for (const auto& port : service.spec().ports()) {
    const std::string node_port = port.node_port() == 0 ? "" : fmt::format(":{}", port.node_port());
    ports.push_back(fmt::format("{}{}/{}", port.port(), node_port,
                                port.protocol().empty() ? "TCP" : port.protocol()));
  }
  return OrNone(fmt::format("{}", fmt::join(ports, ",")));
}

bool IsReady(const v1::Endpoint& endpoint) {
  return !endpoint.conditions().has_ready() || endpoint.conditions().ready();
}

std::string EndpointsText(const std::vector<const v1::EndpointSlice*>& slices, bool ready,
                          size_t limit) {
  std::vector<std::string> shown;
  std::array<size_t, 2> counts = {0, 0};  // by family: the first must not hide the other
  size_t left_out = 0;
  auto add = [&](bool is_v6, std::string text) {
    if (++counts[is_v6 ? 1 : 0] > limit) {
      ++left_out;
    } else {
      shown.push_back(std::move(text));
    }
  };
  for (const v1::EndpointSlice* slice : slices) {
    auto addresses = [&](const std::function<void(const std::string&)>& visit) {
      for (const auto& endpoint : slice->endpoints()) {
        if (IsReady(endpoint) != ready) continue;
        for (const auto& address : endpoint.addresses()) visit(address);
      }
    };
    const auto is_v6 = [](const std::string& address) {
      return address.find(':') != std::string::npos;
    };
    if (slice->ports().empty()) {
      addresses([&](const std::string& address) { add(is_v6(address), address); });
    }
    for (const auto& port : slice->ports()) {
      addresses([&](const std::string& a) {
        add(is_v6(a), is_v6(a) ? fmt::format("[{}]:{}", a, port.port())
                               : fmt::format("{}:{}", a, port.port()));
      });
    }
  }
  std::string text = fmt::format("{}", fmt::join(shown, ","));
  if (left_out > 0) text += fmt::format(" + {} more...", left_out);
  return OrNone(text);
}

std::string NodeStatusText(const v1::Node& node) {
  std::string text = "Unknown";
  for (const auto& condition : node.status().conditions()) {
    if (condition.type() != "Ready") continue;
    text = condition.status() == "True" ? "Ready" : "NotReady";
  }
  // What does not keep pods from the node, and is not to be overlooked.
  for (const auto& condition : node.status().conditions()) {
    const bool shown = condition.type() == "AddressesPresent" ||
                       condition.type() == "MtuFollowed" || condition.type() == "PoliciesInForce" ||
                       condition.type() == "StateSaved";
    if (shown && condition.status() == "False") text += "," + condition.reason();
  }
  if (node.spec().unschedulable()) text += ",SchedulingDisabled";
  return text;
}

std::string NodeRoles(const v1::Node& node) {
  std::set<std::string> roles;
  for (const auto& [key, value] : node.metadata().labels()) {
    if (key.rfind(kRolePrefix, 0) == 0 && key.size() > sizeof(kRolePrefix) - 1) {
      roles.insert(key.substr(sizeof(kRolePrefix) - 1));
    }
  }
  return OrNone(fmt::format("{}", fmt::join(roles, ",")));
}

std::string AddressesOf(const v1::Node& node, const std::string& type) {
  std::string out;
  for (const auto& address : node.status().addresses()) {
    if (address.type() != type) continue;
    out += (out.empty() ? "" : ",") + address.address();
  }
  return out;
}

std::string ServiceOfSlice(const v1::EndpointSlice& slice) {
  std::string name = LabelOr(slice.metadata(), "kubernetes.io/service-name");
  return name.empty() ? slice.metadata().name() : name;
}

Table ResourceTable(v1::Kind kind, const std::vector<v1::Resource>& objects,
                    const PrintOptions& options) {
  if (kind == v1::KIND_EVENT) return EventTable(objects, options);
  Table table;
  Columns columns = HeadersOf(kind);
  table.headers = std::move(columns.narrow);
  if (options.wide) {
    table.headers.insert(table.headers.end(), columns.wide.begin(), columns.wide.end());
  }
  FrameHeaders(options, &table.headers);
  for (const v1::Resource& object : objects) {
    Row row = RowOf(object, options.wide, options.now);
    if (options.with_kind) row[0] = schema::SingularWithGroup(kind) + "/" + row[0];
    Frame(schema::MetaOf(object), options, &row);
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table EndpointsTable(const std::vector<v1::Resource>& slices, const PrintOptions& options) {
  Table table;
  table.headers = {"NAME", "ENDPOINTS", "AGE"};
  FrameHeaders(options, &table.headers);
  std::map<std::pair<std::string, std::string>, std::vector<const v1::EndpointSlice*>> services;
  for (const v1::Resource& object : slices) {
    const v1::EndpointSlice& slice = object.endpoint_slice();
    services[{slice.metadata().namespace_(), ServiceOfSlice(slice)}].push_back(&slice);
  }
  for (const auto& [key, group] : services) {
    Row row = {(options.with_kind ? "endpoints/" : "") + key.second, EndpointsText(group),
               Age(group.front()->metadata(), options.now)};
    Frame(group.front()->metadata(), options, &row);
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace mesh::cli
