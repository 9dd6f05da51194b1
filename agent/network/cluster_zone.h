// SPDX-License-Identifier: Apache-2.0
// The names of the cluster, as Kubernetes' DNS specification (schema 1.1.0) has them:
//   <service>.<namespace>.svc.<domain>                    A      the ClusterIP; without one, its
//                                                                 active backends
//   _<port>._<protocol>.<service>.<namespace>.svc.<domain> SRV    a named port
//   <reversed ClusterIP>.in-addr.arpa                     PTR
// A name that exists with other types is an empty answer, one that does not is NXDOMAIN with the
// SOA. Short names become these by the search list in a pod's resolv.conf.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/network/dns_message.h"
#include "agent/state/node_state.h"
#include "common/ip_address.h"

namespace mesh::agent {

// Seconds that a client may keep an answer, positive or negative: a Service that appears or goes is
// seen this soon.
inline constexpr uint32_t kDnsTtlSeconds = 5;

// Immutable; one per NodeState. Cost: one pass over the services; a lookup is O(log n).
class ClusterZone {
 public:
  // `state` null or not complete: names of the cluster are SERVFAIL, so that clients ask again.
  explicit ClusterZone(NodeStatePtr state);

  // nullopt: not a name of the cluster, ask upstream.
  std::optional<dns::Answer> Answer(const dns::Query& query) const;

 private:
  dns::Answer AnswerForward(const dns::Query& query,
                            const std::vector<std::string>& relative) const;
  std::optional<dns::Answer> AnswerReverse(const dns::Query& query) const;
  dns::Answer AnswerPort(const dns::Query& query, const v1::ServiceState& service) const;
  void AddAddresses(const v1::ServiceState& service, const std::string& name,
                    std::vector<dns::Record>* out) const;
  const v1::ServiceState* Find(const std::string& service, const std::string& ns) const;
  // NXDOMAIN, or an empty answer; both with the SOA.
  dns::Answer Negative(uint8_t rcode) const;

  NodeStatePtr state_;
  std::vector<std::string> domain_;  // labels
  std::string domain_text_;
  std::optional<IpPrefix> service_cidr_;
  std::set<std::string> namespaces_;
  std::map<IpAddress, const v1::ServiceState*> by_address_;
};

}  // namespace mesh::agent
