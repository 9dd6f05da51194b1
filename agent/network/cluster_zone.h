// SPDX-License-Identifier: Apache-2.0
// The names of the cluster, as Kubernetes' DNS specification (schema 1.1.0) has them:
//   <service>.<namespace>.svc.<domain>                     A, AAAA  the ClusterIPs; of a headless
//                                                                   Service, its active backends
//                                                          CNAME    of an ExternalName Service
//   <hostname>.<service>.<namespace>.svc.<domain>          A, AAAA  a backend of a headless
//   Service;
//                                                                   without a hostname 10-244-1-5
//                                                                   or fd00--5
//   _<port>._<protocol>.<service>.<namespace>.svc.<domain> SRV      a named port, of a headless
//                                                                   Service one per backend
//   <reversed ClusterIP>.in-addr.arpa, ....ip6.arpa        PTR      of a headless Service's active
//                                                                   backend its names there
// A name that exists with other types is an empty answer, one that does not is NXDOMAIN with the
// SOA; so is an address of the cluster's ranges that has no name: nobody upstream would know it.
// Short names become these by the search list in a pod's resolv.conf.
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

// What stands at a name of the cluster, in words.
struct ZoneRecord {
  std::string name, type;  // "A", "AAAA", "CNAME", "SRV"
  // Addresses; a name; of SRV "port target".
  std::vector<std::string> values;
  std::string ns, service;
};

// One per NodeState, for one thread. Making it costs nothing; a lookup is O(log n), and the first
// reverse one a pass over the services.
class ClusterZone {
 public:
  // `state` null or not complete: names of the cluster are SERVFAIL, so that clients ask again.
  explicit ClusterZone(NodeStatePtr state);

  // nullopt: not a name of the cluster, ask upstream. See also Answer::continues_at.
  std::optional<dns::Answer> Answer(const dns::Query& query) const;

  // All of the Services of `ns` (empty: of all) and `service` (empty: each), by name. None while
  // the state is not complete.
  std::vector<ZoneRecord> Records(const std::string& ns, const std::string& service) const;

 private:
  void AddRecords(const v1::ServiceState& service, std::vector<ZoneRecord>* out) const;
  dns::Answer AnswerForward(const dns::Query& query, int depth) const;
  dns::Answer AnswerAlias(const dns::Query& query, const v1::ServiceState& service,
                          int depth) const;
  dns::Answer AnswerEndpoint(const dns::Query& query, const v1::ServiceState& service) const;
  std::optional<dns::Answer> AnswerReverse(const dns::Query& query) const;
  dns::Answer AnswerPort(const dns::Query& query, const v1::ServiceState& service) const;
  bool HasNamespace(const std::string& ns) const;
  void NameAddresses() const;
  const v1::ServiceState* Find(const std::string& service, const std::string& ns) const;
  // NXDOMAIN, or an empty answer; both with the SOA.
  dns::Answer Negative(uint8_t rcode) const;

  NodeStatePtr state_;
  std::vector<std::string> domain_;  // labels
  std::string domain_text_;
  // Of Services and of pods.
  std::vector<IpPrefix> ranges_;
  // Names without the domain; one of each headless Service that has the address as a backend.
  mutable std::optional<std::map<IpAddress, std::set<std::string>>> by_address_;
};

}  // namespace mesh::agent
