// SPDX-License-Identifier: Apache-2.0
#include "dataplane/service_rows.h"

#include <algorithm>

namespace mesh::dataplane {
namespace {

std::vector<uint32_t> Distinct(std::vector<uint32_t> slots) {
  std::sort(slots.begin(), slots.end());
  slots.erase(std::unique(slots.begin(), slots.end()), slots.end());
  return slots;
}

}  // namespace

std::vector<ServiceRow> ServiceRows(const Observed& observed, const Planner& planner) {
  std::vector<ServiceRow> out;
  for (const auto& [frontend, entry] : observed.frontends) {
    ServiceRow& row = out.emplace_back();
    row.vip = frontend.vip;
    row.port = frontend.port;
    row.protocol = frontend.protocol;
    row.service_id = entry.service_id;
    row.kind = planner.Kind(frontend);
    row.external = entry.scope == Scope::kExternal;
    row.affinity_seconds = entry.affinity_seconds;
    row.source_ranges = entry.source_ranges;
    row.direct_return = entry.direct_return;
    if (const SetEntry* set = observed.FindSet(entry.service_id, entry.scope)) {
      row.algorithm = set->algorithm;
      row.backend_ids = Distinct(set->slots);
    }
    size_t port = 0;
    if (const Service* service = planner.Find(entry.service_id, &port)) {
      row.ns = service->ns;
      row.name = service->name;
    }
  }
  return out;
}

std::vector<BackendRow> BackendRows(const Observed& observed, const Planner& planner) {
  std::vector<BackendRow> out;
  for (const auto& [id, entry] : observed.backends) {
    BackendRow& row = out.emplace_back();
    row.backend_id = id;
    row.protocol = entry.protocol;
    row.backend.ip = entry.ip;
    row.backend.port = entry.port;
    row.backend.state = entry.state;
    row.backend.weight = entry.weight;
    row.backend.scopes = entry.scopes;
    size_t port = 0;
    const Service* service = planner.Find(entry.service_id, &port);
    if (service == nullptr) continue;
    row.ns = service->ns;
    row.service = service->name;
    for (const Backend& backend : service->ports[port].backends) {
      if (backend.ip != entry.ip || backend.port != entry.port) continue;
      row.backend.node = backend.node;
      row.backend.pod = backend.pod;
    }
  }
  return out;
}

}  // namespace mesh::dataplane
