// SPDX-License-Identifier: Apache-2.0
// Connections that no source port was free for (bpf/include/mesh/shared/source_port.h), for who has
// to do something about it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/network/warning.h"
#include "common/ip_address.h"
#include "dataplane/flow_events.h"
#include "mesh/v1/flows.pb.h"

namespace mesh::agent {

// Who was refused, and where to. Clients outside are one; so are all ports of a sender.
struct PortRefusal {
  IpAddress source;  // unset: clients outside
  IpAddress server;
  uint16_t port = 0;  // 0: ICMP
  uint8_t protocol = 0;
  friend auto operator<=>(const PortRefusal&, const PortRefusal&) = default;
};

// The refusals between two looks, with one packet of each.
class PortRefusals {
 public:
  static constexpr size_t kMax = 256;  // beyond them nobody is named

  // Of any event; those for other reasons are passed over.
  void Take(const dataplane::FlowEvent& event);
  std::map<PortRefusal, dataplane::FlowEvent> Release();

 private:
  std::map<PortRefusal, dataplane::FlowEvent> refusals_;
};

// Which of them are to be told: again each minute while they go on.
class PortWatch {
 public:
  static constexpr absl::Duration kTellAgain = absl::Minutes(1);

  std::vector<dataplane::FlowEvent> Due(const std::map<PortRefusal, dataplane::FlowEvent>& refusals,
                                        absl::Time now);

 private:
  std::map<PortRefusal, absl::Time> told_;
};

// The warning for the pod that was refused, or for the Service that a client outside has dialled;
// with neither pod nor service where it is about neither. `flow`: the packet, with names.
NetworkWarning PortWarning(const dataplane::FlowEvent& event, const v1::Flow& flow);

}  // namespace mesh::agent
