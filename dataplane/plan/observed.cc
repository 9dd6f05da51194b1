// SPDX-License-Identifier: Apache-2.0
#include "dataplane/plan/observed.h"

namespace mesh::dataplane {

void Observed::Prune(uint32_t service_id) {
  const auto it = services.find(service_id);
  if (it != services.end() && it->second.empty()) services.erase(it);
}

void Observed::Put(const Frontend& frontend, const FrontendEntry& entry) {
  const auto [it, is_new] = frontends.try_emplace(frontend, entry);
  const uint32_t before = it->second.service_id;
  it->second = entry;
  services[entry.service_id].frontends.insert(frontend);
  if (is_new || before == entry.service_id) return;
  services[before].frontends.erase(frontend);
  Prune(before);
}

void Observed::Remove(const Frontend& frontend) {
  const auto it = frontends.find(frontend);
  if (it == frontends.end()) return;
  const uint32_t service_id = it->second.service_id;
  frontends.erase(it);
  services[service_id].frontends.erase(frontend);
  Prune(service_id);
}

void Observed::PutBackend(uint32_t backend_id, const BackendEntry& entry) {
  backends[backend_id] = entry;
  std::set<uint32_t>& leavers = left[FamilyOf(entry.ip) == Family::kV6];
  if (entry.state == BackendState::kLeft) {
    leavers.insert(backend_id);
  } else {
    leavers.erase(backend_id);
  }
  services[entry.service_id].backend_ids[{entry.ip, entry.port}] = backend_id;
}

void Observed::RemoveBackend(uint32_t backend_id) {
  const auto it = backends.find(backend_id);
  if (it == backends.end()) return;
  const BackendEntry entry = it->second;
  backends.erase(it);
  left[FamilyOf(entry.ip) == Family::kV6].erase(backend_id);
  auto& ids = services[entry.service_id].backend_ids;
  const auto id = ids.find({entry.ip, entry.port});
  if (id != ids.end() && id->second == backend_id) ids.erase(id);
  Prune(entry.service_id);
}

void Observed::PutSet(uint32_t service_id, Scope scope, SetEntry entry) {
  services[service_id].sets[static_cast<size_t>(scope)] = std::move(entry);
}

void Observed::RemoveSet(uint32_t service_id, Scope scope) {
  const auto it = services.find(service_id);
  if (it == services.end()) return;
  it->second.sets[static_cast<size_t>(scope)].reset();
  Prune(service_id);
}

void Observed::PutSourceRange(uint32_t service_id, const IpPrefix& range) {
  services[service_id].source_ranges.insert(range);
}

void Observed::RemoveSourceRange(uint32_t service_id, const IpPrefix& range) {
  const auto it = services.find(service_id);
  if (it == services.end()) return;
  it->second.source_ranges.erase(range);
  Prune(service_id);
}

const SetEntry* Observed::FindSet(uint32_t service_id, Scope scope) const {
  const auto it = services.find(service_id);
  if (it == services.end()) return nullptr;
  const std::optional<SetEntry>& set = it->second.sets[static_cast<size_t>(scope)];
  return set.has_value() ? &*set : nullptr;
}

}  // namespace mesh::dataplane
