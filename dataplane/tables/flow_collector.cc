// SPDX-License-Identifier: Apache-2.0
#include "dataplane/tables/flow_collector.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "common/status.h"
#include "dataplane/tables/flow_rows.h"

namespace mesh::dataplane {
namespace {

// Answers' entries are judged with their flows. Without one, they are found in every 16th sweep.
constexpr uint64_t kSweepsPerSearchForHalves = 16;

// How long a flow whose backend is gone rests before it goes: an answer that is still on its way,
// or that a busy server has yet to send, must come back from the address that was asked.
constexpr uint64_t kOrphanRestS = 5;
static_assert(kOrphanRestS <= MESH_TIMEOUT_TCP_CLOSING_S);

// Whether a direction has been seen within so many seconds.
template <typename FlowValue>
bool SeenWithin(uint64_t seconds, const FlowValue& value, uint64_t now_ns) {
  return value.last_seen_ns + seconds * MESH_SECOND_NS > now_ns;
}

// What a row should say: what was counted, and what the programs have added meanwhile.
uint32_t Corrected(uint32_t counted, uint32_t before, uint32_t after) {
  return counted + (after > before ? after - before : 0);
}

}  // namespace

template <typename F>
absl::Status FlowCollector<F>::Begin() {
  const absl::StatusOr<mesh_owner_value> all = tables_.owners.Lookup(F::kAllOwners);
  if (!all.ok() && !absl::IsNotFound(all.status())) return all.status();
  return tables_.owners.Upsert(F::kAllOwners,
                               {all.ok() ? all->flows : 0, tables_.flows.max_entries() / 2});
}

template <typename F>
absl::Status FlowCollector<F>::BeginSweep(const BackendExists& backend_exists) {
  owner_flows_.clear();
  owner_before_.clear();
  backend_flows_.clear();
  backend_before_.clear();
  service_flows_.clear();
  rows_in_sweep_ = 0;
  ASSIGN_OR_RETURN(const auto owners, tables_.owners.Dump());
  for (const auto& [key, value] : owners) owner_before_[key] = value.flows;
  ASSIGN_OR_RETURN(const auto loads, tables_.loads.Dump());
  for (const auto& [key, value] : loads) {
    if (backend_exists(key.backend_id)) backend_before_[key.backend_id] = value.flows;
  }
  return absl::OkStatus();
}

template <typename F>
absl::Status FlowCollector<F>::EndSweep() {
  uint32_t all_flows = 0;
  for (const auto& [owner, flows] : owner_flows_) {
    all_flows += flows;
    owner_before_.try_emplace(owner, 0);
  }
  owner_flows_[F::kAllOwners] = all_flows;
  owner_before_.try_emplace(F::kAllOwners, 0);
  for (const auto& [owner, before] : owner_before_) {
    const absl::StatusOr<mesh_owner_value> row = tables_.owners.Lookup(owner);
    if (!row.ok() && !absl::IsNotFound(row.status())) return row.status();
    const uint32_t after = row.ok() ? row->flows : 0;
    const uint32_t flows = Corrected(owner_flows_[owner], before, after);
    if (SameBytes(owner, F::kAllOwners)) {
      RETURN_IF_ERROR(tables_.owners.Upsert(owner, {flows, tables_.flows.max_entries() / 2}));
    } else if (flows == 0) {
      RETURN_IF_ERROR(tables_.owners.Remove(owner));
    } else if (flows != after) {
      RETURN_IF_ERROR(tables_.owners.Upsert(owner, {flows, 0}));
    }
  }
  for (const auto& [backend, before] : backend_before_) {
    const absl::StatusOr<mesh_backend_load_value> row = tables_.loads.Lookup({backend});
    if (absl::IsNotFound(row.status())) continue;  // its Service chooses in another way now
    if (!row.ok()) return row.status();
    const uint32_t flows = Corrected(backend_flows_[backend], before, row->flows);
    if (flows != row->flows) RETURN_IF_ERROR(tables_.loads.Upsert({backend}, {flows}));
  }
  NoteUnused();
  counted_services_ = service_flows_;
  rows_in_last_sweep_ = rows_in_sweep_;
  rows_ = static_cast<uint32_t>(rows_in_sweep_);
  ++sweeps_;
  return absl::OkStatus();
}

template <typename F>
void FlowCollector<F>::NoteUnused() {
  std::set<uint32_t> idle;
  std::ranges::set_difference(left_, used_, std::inserter(idle, idle.end()));
  std::ranges::set_intersection(idle, idle_, std::inserter(unused_, unused_.end()));
  idle_ = std::move(idle);
}

template <typename F>
absl::StatusOr<bool> FlowCollector<F>::Judge(const typename F::FlowKey& key,
                                             const typename F::FlowValue& value, uint64_t now_ns,
                                             const BackendExists& backend_exists) {
  const bool orphan = value.backend_id != 0 && !backend_exists(value.backend_id);
  if (IsReply(value) && !orphan && sweeps_ % kSweepsPerSearchForHalves != 0) return false;
  // Shorter than every timeout: most flows need no second look.
  if (SeenWithin(orphan ? kOrphanRestS : MESH_TIMEOUT_TCP_CLOSING_S, value, now_ns)) return false;
  const mesh_flow_value& life = LifeOf(value);
  if (IsOneWay(value)) {
    if (!orphan && !mesh_flow_expired(key.proto, &life, &life, now_ns)) return false;
    RETURN_IF_ERROR(tables_.flows.Remove(key));
    return true;
  }
  const typename F::FlowKey partner_key = PartnerKey<F>(key, value);
  const absl::StatusOr<typename F::FlowValue> partner = tables_.flows.Lookup(partner_key);
  if (!partner.ok() && !absl::IsNotFound(partner.status())) return partner.status();
  if (orphan && partner.ok() && SeenWithin(kOrphanRestS, *partner, now_ns)) return false;
  if (!orphan && partner.ok()) {
    const mesh_flow_value& other = LifeOf(*partner);
    const bool over = IsReply(value) ? mesh_flow_expired(key.proto, &other, &life, now_ns)
                                     : mesh_flow_expired(key.proto, &life, &other, now_ns);
    if (!over) return false;
  }
  const absl::Status first = tables_.flows.Erase(key);
  if (!first.ok() && !absl::IsNotFound(first)) return first;
  const absl::Status second = tables_.flows.Erase(partner_key);
  if (!second.ok() && !absl::IsNotFound(second)) return second;
  // The other direction may come up in this sweep too, and is not there then.
  return first.ok() || second.ok();
}

template <typename F>
absl::StatusOr<int> FlowCollector<F>::Collect(uint64_t now_ns, const BackendExists& backend_exists,
                                              const std::set<uint32_t>& left) {
  if (cursor_.empty()) {
    left_ = left;
    used_.clear();
    if (rows_in_last_sweep_ == 0) {
      const absl::StatusOr<mesh_owner_value> all = tables_.owners.Lookup(F::kAllOwners);
      if (all.ok() && all->flows == 0) {
        NoteUnused();
        return 0;
      }
    }
    RETURN_IF_ERROR(BeginSweep(backend_exists));
  }
  int gone = 0;
  size_t rows = 0;
  absl::Status status;
  do {
    std::vector<std::pair<typename F::FlowKey, typename F::FlowValue>> some;
    RETURN_IF_ERROR(tables_.flows.ReadSome(cursor_, some));
    rows += some.size();
    for (const auto& [key, value] : some) {
      ASSIGN_OR_RETURN(const bool went, Judge(key, value, now_ns, backend_exists));
      if (went) {
        ++gone;
        continue;
      }
      if (left_.contains(value.backend_id)) used_.insert(value.backend_id);
      if (IsReply(value)) continue;
      ++owner_flows_[{value.owner}];
      const bool open = value.tcp_fin == 0 && value.tcp_rst == 0;
      if ((value.flags & MESH_FLOW_COUNTED) != 0 && open) ++backend_flows_[value.backend_id];
      if (value.service_id != 0 && open) ++service_flows_[value.service_id];
    }
  } while (!cursor_.empty() && rows < rows_per_call_);
  rows_in_sweep_ += rows;
  if (cursor_.empty()) RETURN_IF_ERROR(EndSweep());
  return gone;
}

template <typename F>
absl::StatusOr<FlowUsage> FlowCollector<F>::Usage() const {
  ASSIGN_OR_RETURN(const auto rows, tables_.owners.Dump());
  FlowUsage out;
  out.capacity = tables_.flows.max_entries() / 2;
  for (const auto& [key, value] : rows) {
    if (SameBytes(key, F::kAllOwners)) out.flows = value.flows;
  }
  for (const auto& [key, value] : rows) {
    if (SameBytes(key, F::kAllOwners)) continue;
    FlowOwner& owner = out.owners.emplace_back();
    const IpAddress ip = F::Decode(key.ip);
    if (ip != AnyAddress(F::kFamily)) owner.ip = ip;
    owner.flows = value.flows;
    owner.limit = mesh_owner_limit(out.capacity, out.flows);
  }
  std::sort(out.owners.begin(), out.owners.end(), [](const FlowOwner& a, const FlowOwner& b) {
    return std::tie(b.flows, a.ip) < std::tie(a.flows, b.ip);
  });
  return out;
}

template class FlowCollector<V4>;
template class FlowCollector<V6>;

}  // namespace mesh::dataplane
