// SPDX-License-Identifier: Apache-2.0
#include "agent/network/flow_rows.h"

#include <netinet/in.h>

#include <algorithm>
#include <utility>

#include "dataplane/reasons.h"
#include "fmt/format.h"
#include "fmt/ranges.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"

namespace mesh::agent {
namespace {

using dataplane::FlowEvent;
using dataplane::Protocol;

std::string ProtocolName(uint8_t protocol) {
  switch (protocol) {
    case 0:
      return "";  // the packet was not read
    case IPPROTO_TCP:
      return "TCP";
    case IPPROTO_UDP:
      return "UDP";
    case IPPROTO_ICMP:
    case IPPROTO_ICMPV6:
      return "ICMP";
    default:
      return std::to_string(protocol);
  }
}

const char* TargetName(uint8_t target) {
  switch (target) {
    case MESH_TARGET_POD:
    case MESH_TARGET_POD_SHAPED:
      return "pod";
    case MESH_TARGET_HOST:
      return "host";
    case MESH_TARGET_UPLINK:
      return "outside";
    case MESH_TARGET_TUNNEL:
    case MESH_TARGET_DIRECT:
      return "tunnel";
    case MESH_TARGET_NODE:
      return "native";
    default:
      return "";
  }
}

std::string FlagNames(uint8_t flags) {
  static constexpr const char* kNames[] = {"fin", "syn", "rst", "psh", "ack", "urg"};
  std::string out;
  for (int bit = 0; bit < 6; ++bit) {
    if ((flags >> bit & 1) == 0) continue;
    if (!out.empty()) out += ',';
    out += kNames[bit];
  }
  return out;
}

std::string Place(const IpAddress& ip, uint16_t port) {
  return fmt::format(fmt::runtime(ip.is_v4() ? "{}:{}" : "[{}]:{}"), ip.ToString(), port);
}

void SetTime(absl::Time time, v1::Flow* out) {
  const int64_t ns = absl::ToUnixNanos(time);
  out->mutable_time()->set_seconds(ns / 1'000'000'000);
  out->mutable_time()->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
}

void AddRange(const std::string& text, std::vector<IpPrefix>* out) {
  if (const auto range = IpPrefix::Parse(text); range.ok()) out->push_back(*range);
}

}  // namespace

FlowNamer::FlowNamer(const NodeState* state, const std::vector<dataplane::Endpoint>& endpoints,
                     std::string node, const std::vector<IpAddress>& own)
    : names_(state), node_(std::move(node)) {
  names_.AddPods(endpoints);
  for (const IpAddress& ip : own) {
    if (ip != IpAddress()) nodes_[ip] = node_;
  }
  if (state == nullptr) return;
  for (const auto& [uid, pod] : state->pods) {
    const auto identity = state->identities.find(pod->status().identity());
    if (identity == state->identities.end()) continue;
    const v1::IdentityState& sets = *identity->second;
    const auto names = [&](uint32_t number) -> std::string {
      const auto set = state->policy_sets.find(number);
      if (set == state->policy_sets.end()) return "";
      return fmt::format("{}", fmt::join((*set->second).policies(), ", "));
    };
    policies_[fmt::format("{}/{}", pod->metadata().namespace_(), pod->metadata().name())] = {
        names(sets.ingress()), names(sets.egress()), names(sets.ingress6()), names(sets.egress6())};
  }
  AddRange(state->config.cluster_cidr(), &pods_);
  AddRange(state->config.cluster_cidr6(), &pods_);
  for (const auto& [name, peer] : state->nodes) {
    for (const std::string& text : {peer->ip(), peer->ip6()}) {
      if (const auto ip = IpAddress::Parse(text); ip.ok()) nodes_[*ip] = name;
    }
    // What a node sends to pods has the first address of its range.
    for (const std::string& text : {peer->pod_cidr(), peer->pod_cidr6()}) {
      const auto range = IpPrefix::Parse(text);
      if (!range.ok()) continue;
      if (const auto gateway = range->At(1)) nodes_[*gateway] = name;
    }
  }
}

bool FlowNamer::MayHaveName(const v1::FlowEnd& end) const {
  const auto ip = IpAddress::Parse(end.address());
  return ip.ok() &&
         std::ranges::any_of(pods_, [&](const IpPrefix& range) { return range.Contains(*ip); });
}

void FlowNamer::FillEnd(const IpAddress& ip, uint16_t port, uint32_t identity,
                        v1::FlowEnd* out) const {
  if (ip == IpAddress()) return;
  out->set_address(ip.ToString());
  out->set_port(port);
  if (const std::string pod = names_.Pod(ip); !pod.empty()) {
    const size_t slash = pod.find('/');
    out->set_namespace_(pod.substr(0, slash));
    out->set_pod(pod.substr(slash + 1));
    return;
  }
  if (const auto node = nodes_.find(ip); node != nodes_.end()) {
    out->set_node(node->second);
    return;
  }
  out->set_namespace_(names_.Namespace(identity));
}

void FlowNamer::FillPolicy(const FlowEvent& event, v1::Flow* out) const {
  const bool egress = event.reason == MESH_REASON_POLICY_EGRESS;
  if (!egress && event.reason != MESH_REASON_POLICY_INGRESS) return;
  const v1::FlowEnd& judged = egress ? out->source() : out->destination();
  const auto pod = policies_.find(fmt::format("{}/{}", judged.namespace_(), judged.pod()));
  if (pod == policies_.end()) return;
  const size_t place = (egress ? 1 : 0) + (event.source.is_v4() ? 0 : 2);
  const std::string& names = pod->second[place];
  if (!names.empty()) out->set_policy("no rule of " + names);
}

void FlowNamer::FillService(const IpAddress& dialled, uint16_t port, uint8_t protocol,
                            v1::Flow* out) const {
  const auto kind = static_cast<Protocol>(protocol);
  // Node ports come before external addresses.
  ServiceName name;
  const IpAddress any = dialled.is_v4() ? IpAddress::V4(0) : IpAddress();
  if (nodes_.contains(dialled)) name = names_.Frontend(any, port, kind);
  if (name.name.empty()) name = names_.Frontend(dialled, port, kind);
  out->set_service_namespace(name.ns);
  out->set_service(name.name);
}

void FlowNamer::FillServer(const IpAddress& dialled, uint16_t dialled_port, const IpAddress& server,
                           uint16_t server_port, uint32_t identity, v1::Flow* out) const {
  FillEnd(server, server_port, identity, out->mutable_destination());
  if (server == dialled && server_port == dialled_port) return;
  out->set_dialled_address(dialled.ToString());
  out->set_dialled_port(dialled_port);
}

v1::Flow FlowNamer::FromEvent(const FlowEvent& event, absl::Time now, int64_t now_ns) const {
  v1::Flow out;
  SetTime(now - absl::Nanoseconds(now_ns - event.time_ns), &out);
  out.set_node(node_);
  const bool refused = event.kind == FlowEvent::Kind::kRefused;
  const bool dropped = refused || event.kind == FlowEvent::Kind::kDropped;
  out.set_event(dropped ? "packet" : event.kind == FlowEvent::Kind::kOpened ? "opened" : "closed");
  out.set_verdict(refused ? "refused" : dropped ? "dropped" : "forwarded");
  if (dropped) {
    out.set_reason(dataplane::ReasonName(event.reason));
    out.set_direction(event.to_pod ? "ingress" : "egress");
  }
  out.set_protocol(ProtocolName(event.protocol));
  FillEnd(event.source, event.source_port, event.source_identity, out.mutable_source());
  if (event.server == IpAddress()) {
    FillEnd(event.destination, event.destination_port, 0, out.mutable_destination());
  } else {
    FillServer(event.destination, event.destination_port, event.server, event.server_port,
               event.server_identity, &out);
    if (event.translated_source != event.source ||
        event.translated_source_port != event.source_port)
      out.set_translated_source(Place(event.translated_source, event.translated_source_port));
  }
  if (dropped) FillPolicy(event, &out);
  // What was refused may have been for a Service too.
  if (event.service_id != 0 || dropped)
    FillService(event.destination, event.destination_port, event.protocol, &out);
  if (!dropped || event.server != IpAddress()) out.set_target(TargetName(event.target));
  out.set_packets(event.packets);
  out.set_bytes(event.bytes);
  out.set_source_identity(event.source_identity);
  out.set_destination_identity(event.server_identity);
  if (event.protocol == IPPROTO_TCP) out.set_tcp_flags(FlagNames(event.tcp_flags));
  return out;
}

v1::Flow FlowNamer::FromConntrack(const dataplane::ConntrackRow& row, absl::Time now) const {
  v1::Flow out;
  SetTime(now - row.idle, &out);
  out.set_node(node_);
  out.set_event("open");
  out.set_verdict("forwarded");
  out.set_protocol(ProtocolName(static_cast<uint8_t>(row.protocol)));
  FillEnd(row.source, row.source_port, 0, out.mutable_source());
  FillServer(row.destination, row.destination_port, row.backend, row.backend_port, 0, &out);
  if (row.translated)
    FillService(row.destination, row.destination_port, static_cast<uint8_t>(row.protocol), &out);
  out.set_packets(row.packets);
  out.set_bytes(row.bytes);
  out.set_state(row.state);
  return out;
}

}  // namespace mesh::agent
