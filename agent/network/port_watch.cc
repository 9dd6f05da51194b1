// SPDX-License-Identifier: Apache-2.0
#include "agent/network/port_watch.h"

#include <netinet/in.h>

#include <utility>

#include "fmt/format.h"
#include "mesh/shared/base.h"
#include "mesh/shared/drop_reason.h"
#include "mesh/shared/flow_map.h"
#include "mesh/shared/source_port.h"

namespace mesh::agent {
namespace {

using dataplane::FlowEvent;

constexpr uint32_t kInsideShare = MESH_MASQUERADE_PORT_COUNT >> MESH_PORT_SHIFT_INSIDE;
constexpr uint32_t kClientsShare = MESH_MASQUERADE_PORT_COUNT >> MESH_PORT_SHIFT_OUTSIDE;
constexpr uint32_t kIdsShare = 65535 >> MESH_PORT_SHIFT_INSIDE;

bool IsIcmp(uint8_t protocol) { return protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6; }

// Whom the server would have seen is the node, not the sender.
bool IsMasqueraded(const FlowEvent& event) { return event.translated_source != event.source; }

std::string PlaceOf(const FlowEvent& event) {
  const std::string ip = event.server.ToString();
  if (IsIcmp(event.protocol)) return ip;
  return fmt::format(fmt::runtime(event.server.is_v4() ? "{}:{}/{}" : "[{}]:{}/{}"), ip,
                     event.server_port, event.protocol == IPPROTO_TCP ? "TCP" : "UDP");
}

}  // namespace

void PortRefusals::Take(const FlowEvent& event) {
  if (event.reason != MESH_REASON_NO_PORT) return;
  const bool outside = event.source_identity == MESH_IDENTITY_WORLD;
  const PortRefusal refusal{.source = outside ? IpAddress() : event.source,
                            .server = event.server,
                            .port = event.server_port,
                            .protocol = event.protocol};
  if (refusals_.size() < kMax || refusals_.contains(refusal))
    refusals_.insert_or_assign(refusal, event);
}

std::map<PortRefusal, FlowEvent> PortRefusals::Release() { return std::exchange(refusals_, {}); }

std::vector<FlowEvent> PortWatch::Due(const std::map<PortRefusal, FlowEvent>& refusals,
                                      absl::Time now) {
  std::erase_if(told_, [&](const auto& told) { return now - told.second >= kTellAgain; });
  std::vector<FlowEvent> out;
  for (const auto& [refusal, event] : refusals) {
    if (told_.try_emplace(refusal, now).second) out.push_back(event);
  }
  return out;
}

NetworkWarning PortWarning(const FlowEvent& event, const v1::Flow& flow) {
  NetworkWarning out;
  out.reason = "SourcePortsTaken";
  if (!flow.source().pod().empty()) {
    out.ns = flow.source().namespace_();
    out.pod = flow.source().pod();
    if (!IsMasqueraded(event)) {
      out.message = fmt::format(
          "connections to {} are refused: the pod has them from nearly all of its source ports",
          PlaceOf(event));
      return out;
    }
    out.message = fmt::format(
        "{} to {} are refused: a pod may have {} {} at its node's address towards one "
        "destination, and no free one of them was found; connections that are kept and used "
        "again need fewer, see `meshctl bpf ct list --pod {}/{}`",
        IsIcmp(event.protocol) ? "echo requests" : "connections", PlaceOf(event),
        IsIcmp(event.protocol) ? kIdsShare : kInsideShare,
        IsIcmp(event.protocol) ? "ids" : "source ports", out.ns, out.pod);
    return out;
  }
  if (event.source_identity == MESH_IDENTITY_WORLD && !flow.service().empty()) {
    out.ns = flow.service_namespace();
    out.service = flow.service();
    const bool together = event.target == MESH_TARGET_UPLINK;
    out.message = fmt::format(
        "node {} refuses connections of clients outside to {}: {} may have {} source ports there, "
        "and no free one of them was found; with externalTrafficPolicy Local or "
        "mesh.io/return-path: direct none is needed",
        flow.node(), PlaceOf(event), together ? "all of them together" : "each of them",
        together ? kInsideShare : kClientsShare);
    return out;
  }
  out.message = fmt::format("connections of {} to {} are refused: no free source port was found",
                            event.source.ToString(), PlaceOf(event));
  return out;
}

}  // namespace mesh::agent
