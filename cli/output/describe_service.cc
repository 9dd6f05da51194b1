// SPDX-License-Identifier: Apache-2.0
// Services and their endpoints.
#include "cli/output/describe_text.h"
#include "cli/output/printers.h"
#include "fmt/ranges.h"

namespace mesh::cli {
namespace {

std::string Joined(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  return fmt::format("{}", fmt::join(texts, ","));
}

// A line for what the Service has.
void LineIf(const char* label, const std::string& value, Text* text) {
  if (!value.empty()) text->Line(0, "{}:\t{}", label, value);
}

void DescribeAddresses(const v1::Service& service, Text* text) {
  const v1::ServiceSpec& spec = service.spec();
  LineIf("IP Family Policy", spec.ip_family_policy(), text);
  LineIf("IP Families", Joined(spec.ip_families()), text);
  if (spec.type() != "ExternalName") {
    text->Line(0, "IP:\t{}", OrNone(spec.cluster_ip()));
    text->Line(0, "IPs:\t{}", OrNone(Joined(spec.cluster_ips())));
  }
  LineIf("External IPs", Joined(spec.external_ips()), text);
  LineIf("Desired LoadBalancer IP", spec.load_balancer_ip(), text);
  LineIf("LoadBalancer Class", spec.load_balancer_class(), text);
  if (spec.type() == "LoadBalancer") {
    std::vector<std::string> ips;
    for (const auto& entry : service.status().load_balancer().ingress()) ips.push_back(entry.ip());
    text->Line(0, "LoadBalancer Ingress:\t{}",
               ips.empty() ? "<pending>" : fmt::format("{}", fmt::join(ips, ",")));
  }
  LineIf("External Name", spec.external_name(), text);
}

void DescribePolicies(const v1::ServiceSpec& spec, Text* text) {
  std::string affinity = spec.session_affinity();
  if (affinity == "ClientIP") {
    affinity +=
        fmt::format(" ({} s)", spec.session_affinity_config().client_ip().timeout_seconds());
  }
  LineIf("Session Affinity", affinity, text);
  LineIf("External Traffic Policy", spec.external_traffic_policy(), text);
  LineIf("Internal Traffic Policy", spec.internal_traffic_policy(), text);
  LineIf("Traffic Distribution", spec.traffic_distribution(), text);
  if (spec.health_check_node_port() != 0) {
    text->Line(0, "HealthCheck NodePort:\t{}", spec.health_check_node_port());
  }
  LineIf("LoadBalancer Source Ranges", Joined(spec.load_balancer_source_ranges()), text);
  if (spec.publish_not_ready_addresses()) text->Line(0, "Publish Not Ready:\ttrue");
}

}  // namespace

void DescribeService(const v1::Service& service, const Related& related, absl::Time now,
                     Text* text) {
  const v1::ObjectMeta& meta = service.metadata();
  text->Line(0, "Name:\t{}", meta.name());
  text->Line(0, "Namespace:\t{}", meta.namespace_());
  text->Map("Labels", meta.labels());
  text->Annotations(meta.annotations());
  text->Line(0, "Selector:\t{}", LabelsText(service.spec().selector()));
  const v1::ServiceSpec& spec = service.spec();
  text->Line(0, "Type:\t{}", spec.type());
  DescribeAddresses(service, text);
  for (const auto& port : spec.ports()) {
    const std::string protocol = port.protocol().empty() ? "TCP" : port.protocol();
    text->Line(0, "Port:\t{}\t{}/{}", port.name().empty() ? "<unset>" : port.name(), port.port(),
               protocol);
    text->Line(
        0, "TargetPort:\t{}/{}",
        port.has_target_port() ? IntOrStringText(port.target_port()) : std::to_string(port.port()),
        protocol);
    if (port.node_port() != 0) {
      text->Line(0, "NodePort:\t{}\t{}/{}", port.name().empty() ? "<unset>" : port.name(),
                 port.node_port(), protocol);
    }
    // Slices carry their port by the Service's port name.
    std::vector<v1::EndpointSlice> of_port;
    for (const v1::EndpointSlice& slice : related.slices) {
      for (const auto& slice_port : slice.ports()) {
        if (slice_port.name() != port.name()) continue;
        v1::EndpointSlice one = slice;
        one.clear_ports();
        *one.add_ports() = slice_port;
        of_port.push_back(std::move(one));
      }
    }
    std::vector<const v1::EndpointSlice*> pointers;
    for (const auto& slice : of_port) pointers.push_back(&slice);
    text->Line(0, "Endpoints:\t{}", EndpointsText(pointers));
  }
  DescribePolicies(spec, text);
  DescribeEvents(related.events, now, text);
}

void DescribeSlice(const v1::EndpointSlice& slice, const Related& related, absl::Time now,
                   Text* text) {
  text->Line(0, "Name:\t{}", slice.metadata().name());
  text->Line(0, "Namespace:\t{}", slice.metadata().namespace_());
  text->Map("Labels", slice.metadata().labels());
  text->Annotations(slice.metadata().annotations());
  text->Line(0, "AddressType:\t{}", slice.address_type());
  if (slice.ports().empty()) {
    text->Line(0, "Ports:\t<unset>");
  } else {
    text->Line(0, "Ports:");
    text->Line(1, "Name\tPort\tProtocol");
    text->Line(1, "----\t----\t--------");
    for (const auto& port : slice.ports()) {
      text->Line(1, "{}\t{}\t{}", port.name().empty() ? "<unset>" : port.name(), port.port(),
                 port.protocol());
    }
  }
  if (slice.endpoints().empty()) {
    text->Line(0, "Endpoints:\t<none>");
  } else {
    text->Line(0, "Endpoints:");
    for (const auto& endpoint : slice.endpoints()) {
      text->Line(1, "- Addresses:\t{}", fmt::format("{}", fmt::join(endpoint.addresses(), ",")));
      text->Line(2, "Conditions:");
      const bool ready = IsReady(endpoint);
      text->Line(3, "Ready:\t{}", ready);
      text->Line(3, "Serving:\t{}",
                 endpoint.conditions().has_serving() ? endpoint.conditions().serving() : ready);
      text->Line(3, "Terminating:\t{}", endpoint.conditions().terminating());
      if (!endpoint.target_ref().name().empty()) {
        text->Line(2, "TargetRef:\t{}/{}", endpoint.target_ref().kind(),
                   endpoint.target_ref().name());
      }
      if (!endpoint.hostname().empty()) text->Line(2, "Hostname:\t{}", endpoint.hostname());
      if (!endpoint.node_name().empty()) text->Line(2, "NodeName:\t{}", endpoint.node_name());
      if (!endpoint.zone().empty()) text->Line(2, "Zone:\t{}", endpoint.zone());
    }
  }
  DescribeEvents(related.events, now, text);
}

}  // namespace mesh::cli
