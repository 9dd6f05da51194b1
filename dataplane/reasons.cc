// SPDX-License-Identifier: Apache-2.0
#include "dataplane/reasons.h"

#include "fmt/format.h"
#include "mesh/shared/drop_reason.h"

namespace mesh::dataplane {

std::string ReasonName(uint32_t reason) {
  switch (reason) {
#define MESH_REASON_CASE(upper, lower, number) \
  case number:                                 \
    return #lower;
    MESH_REASONS(MESH_REASON_CASE)
#undef MESH_REASON_CASE
  }
  return fmt::format("reason_{}", reason);
}

const char* ReasonText(uint32_t reason) {
  switch (reason) {
    case MESH_REASON_INVALID:
      return "malformed or cut short";
    case MESH_REASON_UNSUPPORTED:
      return "a protocol, ICMP type or IP option that is not carried";
    case MESH_REASON_FRAGMENT:
      return "a fragment whose first has not come";
    case MESH_REASON_SOURCE_ADDRESS:
      return "the source address is not the one the pod was given";
    case MESH_REASON_NO_SERVICE:
      return "nothing listens at this address and port";
    case MESH_REASON_NO_BACKEND:
      return "the Service has no active backend here";
    case MESH_REASON_BACKEND_GONE:
      return "the backend of this connection is gone";
    case MESH_REASON_NO_ENDPOINT:
      return "an address of this node that belongs to no pod";
    case MESH_REASON_NO_TUNNEL:
      return "a pod address of no known node";
    case MESH_REASON_UNKNOWN_PEER:
      return "sent by somebody who does not own the source address";
    case MESH_REASON_ISOLATION:
      return "the receiver's namespace does not admit the sender";
    case MESH_REASON_NO_FLOW:
      return "the connection is not known and this packet does not begin one";
    case MESH_REASON_FLOWS_FULL:
      return "the connection table is full";
    case MESH_REASON_NO_PORT:
      return "all source ports are taken that the sender may use towards this destination";
    case MESH_REASON_TO_STACK:
      return "left to the node's own routing";
    case MESH_REASON_SOURCE_RANGE:
      return "the Service does not admit the client's address (loadBalancerSourceRanges)";
    case MESH_REASON_QUOTA:
      return "the pod has as many connections as the others leave it";
    case MESH_REASON_TTL:
      return "its time to live is over";
    case MESH_REASON_TOO_BIG:
      return "too long for the way and not to be fragmented";
    case MESH_REASON_SCTP:
      return "SCTP is not carried";
    case MESH_REASON_ANSWERED:
      return "answered here: an announced address is asked for";
    case MESH_REASON_UNKNOWN_IDENTITY:
      return "no namespace is known of the pod that sent it or that is to get it";
    case MESH_REASON_POLICY_INGRESS:
      return "no ingress policy that selects the receiver admits it";
    case MESH_REASON_POLICY_EGRESS:
      return "no egress policy that selects the sender admits it";
    default:
      return "";
  }
}

bool IsReason(std::string_view name) {
#define MESH_REASON_IS(upper, lower, number) \
  if (name == #lower) return true;
  MESH_REASONS(MESH_REASON_IS)
#undef MESH_REASON_IS
  return false;
}

}  // namespace mesh::dataplane
