// SPDX-License-Identifier: Apache-2.0
#include "agent/network/dns_rows.h"

#include <algorithm>
#include <utility>

namespace mesh::agent {

void ListDns(const v1::ListDataplaneRequest& request, const Resolver& resolver,
             v1::DataplaneNode* out) {
  if (request.table() == v1::DATAPLANE_TABLE_DNS_STATS) {
    const Resolver::Counters& counters = resolver.counters();
    for (const auto& [name, count] : {std::pair{"queries", counters.queries},
                                      {"queries_tcp", counters.queries_tcp},
                                      {"answered", counters.answered},
                                      {"no_data", counters.no_data},
                                      {"nxdomain", counters.nxdomain},
                                      {"refused", counters.refused},
                                      {"failed", counters.failed},
                                      {"forwarded", counters.forwarded},
                                      {"upstream_answered", counters.upstream_answered},
                                      {"upstream_failed", counters.upstream_failed}}) {
      v1::DnsCounter* to = out->add_dns_counters();
      to->set_name(name);
      to->set_count(count);
    }
    return;
  }
  const size_t slash = request.service().find('/');
  const bool two = slash != std::string::npos;
  for (const ZoneRecord& record :
       resolver.zone().Records(two ? request.service().substr(0, slash) : request.namespace_(),
                               two ? request.service().substr(slash + 1) : request.service())) {
    if (!request.namespace_().empty() && record.ns != request.namespace_()) continue;
    if (!request.ip().empty() &&
        std::ranges::find(record.values, request.ip()) == record.values.end())
      continue;
    v1::DnsRow* to = out->add_dns();
    to->set_name(record.name);
    to->set_type(record.type);
    for (const std::string& value : record.values) to->add_values(value);
    to->set_ttl_seconds(kDnsTtlSeconds);
    to->set_namespace_(record.ns);
    to->set_service(record.service);
  }
}

}  // namespace mesh::agent
