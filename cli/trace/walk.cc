// SPDX-License-Identifier: Apache-2.0
#include "cli/trace/walk.h"

#include <algorithm>
#include <utility>

#include "cli/commands/targets.h"
#include "cli/trace/frame.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

// No packet is passed on by a node that did not send or receive it: two nodes, and one between
// them for a node port or a load balancer's address.
constexpr int kMostHops = 4;
// Of a Service: the node in its message answers for the load balancer's addresses.
constexpr char kAnnounced[] = "mesh.io/Announced";

const v1::Node* NodeWith(const std::vector<v1::Node>& nodes, const std::string& address) {
  for (const v1::Node& node : nodes) {
    for (const IpAddress& ip : AddressesOf(node)) {
      if (ip.ToString() == address) return &node;
    }
  }
  return nullptr;
}

const v1::Node* NodeNamed(const std::vector<v1::Node>& nodes, const std::string& name) {
  for (const v1::Node& node : nodes) {
    if (node.metadata().name() == name) return &node;
  }
  return nullptr;
}

// The node that answers at an address outside of the pods' ranges: its own, or one that it
// announces. Null: none does.
absl::StatusOr<const v1::Node*> NodeAnswering(const std::vector<v1::Node>& nodes,
                                              const std::string& address, ControlClient& client) {
  if (const v1::Node* node = NodeWith(nodes, address)) return node;
  ASSIGN_OR_RETURN(const v1::ListResponse list, ListObjects(v1::KIND_SERVICE, "", "", client));
  for (const v1::Resource& item : list.items()) {
    const v1::ServiceStatus& status = item.service().status();
    const auto& ingress = status.load_balancer().ingress();
    const bool has = std::any_of(ingress.begin(), ingress.end(),
                                 [&](const auto& entry) { return entry.ip() == address; });
    if (!has) continue;
    for (const v1::Condition& condition : status.conditions()) {
      if (condition.type() == kAnnounced && condition.status() == "True")
        return NodeNamed(nodes, condition.message());
    }
  }
  return nullptr;
}

// Of the tunnel, which is of IPv4.
std::string TunnelAddress(const std::vector<v1::Node>& nodes, const std::string& name) {
  for (const v1::Node& node : nodes) {
    if (node.metadata().name() != name) continue;
    for (const IpAddress& ip : AddressesOf(node)) {
      if (ip.is_v4()) return ip.ToString();
    }
  }
  return "";
}

std::string EndText(const v1::TraceHopResponse& hop) {
  if (hop.verdict() == "dropped") {
    return fmt::format("dropped at node {} ({})", hop.node(), hop.reason());
  }
  if (hop.verdict() == "refused") {
    return fmt::format("refused at node {}, and the sender is told ({})", hop.node(), hop.reason());
  }
  if (hop.verdict() == "to_stack") {
    return fmt::format("left to the routing of node {}", hop.node());
  }
  if (hop.target() == "pod") {
    return hop.pod().empty()
               ? fmt::format("delivered to {} at node {}", hop.destination(), hop.node())
               : fmt::format("delivered to pod {}/{} at node {}", hop.namespace_(), hop.pod(),
                             hop.node());
  }
  if (hop.target() == "host") return fmt::format("delivered to node {} itself", hop.node());
  if (hop.target() == "outside") {
    return fmt::format("leaves the cluster by the uplink of node {}", hop.node());
  }
  return fmt::format("sent to {} by node {}, and no node has that address", hop.next_node(),
                     hop.node());
}

}  // namespace

absl::StatusOr<v1::TraceReport> WalkPacket(const TraceOrigin& origin, const IpAddress& from,
                                           const std::string& frame,
                                           const std::vector<v1::Node>& nodes,
                                           ControlClient& client) {
  v1::TraceReport out;
  out.set_packet(FrameText(frame));
  v1::TraceHopRequest request;
  request.set_node(origin.node);
  request.set_frame(frame);
  switch (origin.kind) {
    case TraceOrigin::Kind::kPod:
      request.set_entry(v1::TraceHopRequest::POD);
      request.set_pod_address(from.ToString());
      break;
    case TraceOrigin::Kind::kNode:
      request.set_entry(v1::TraceHopRequest::NODE);
      break;
    case TraceOrigin::Kind::kOutside:
      request.set_entry(v1::TraceHopRequest::UPLINK);
      break;
  }
  for (int i = 0; i < kMostHops; ++i) {
    ASSIGN_OR_RETURN(v1::TraceHopResponse hop, client.TraceHop(request));
    const bool forwarded = hop.verdict() == "forwarded";
    const v1::Node* next = nullptr;
    if (forwarded && (hop.target() == "tunnel" || hop.target() == "native")) {
      next = NodeWith(nodes, hop.next_node());
    } else if (forwarded && hop.target() == "outside") {
      ASSIGN_OR_RETURN(next, NodeAnswering(nodes, hop.destination(), client));
      if (next != nullptr && next->metadata().name() == request.node()) next = nullptr;
    }
    const std::string peer = TunnelAddress(nodes, request.node());
    request.Clear();
    if (next != nullptr) {
      request.set_node(next->metadata().name());
      request.set_entry(hop.target() == "tunnel" ? v1::TraceHopRequest::TUNNEL
                                                 : v1::TraceHopRequest::UPLINK);
      request.set_peer(peer);
      request.set_vni(hop.vni());
      request.set_frame(hop.frame());
    }
    hop.clear_frame();  // bytes nobody reads
    *out.add_hops() = std::move(hop);
    if (next == nullptr) break;
  }
  const v1::TraceHopResponse& last = out.hops(out.hops_size() - 1);
  out.set_verdict(last.verdict());
  out.set_reason(last.reason());
  out.set_text(EndText(last));
  return out;
}

std::string ReportText(const v1::TraceReport& report) {
  std::string out = report.packet() + "\n";
  for (const v1::TraceHopResponse& hop : report.hops()) {
    out += fmt::format("node {}\n", hop.node());
    for (const v1::TraceStep& step : hop.steps()) {
      out += fmt::format("  {:<13} {}\n", step.step(), step.text());
    }
  }
  return out + fmt::format("=> {}\n", report.text());
}

}  // namespace mesh::cli
