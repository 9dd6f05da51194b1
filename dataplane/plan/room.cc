// SPDX-License-Identifier: Apache-2.0
#include "dataplane/plan/room.h"

#include <algorithm>
#include <set>
#include <utility>
#include <vector>

#include "dataplane/maglev/maglev.h"
#include "fmt/format.h"
#include "mesh/shared/limits.h"
#include "mesh/shared/maglev_map.h"

namespace mesh::dataplane {
namespace {

struct Kind {
  const char* what;
  // What is written before that in whose place it comes: so much stays free for the others that
  // change, and a Service that takes more needs all of it twice.
  uint64_t twice;
};
constexpr uint64_t kNever = ~uint64_t{0};

const Kind& KindOf(size_t rows) {
  static constexpr std::array<Kind, kRowsCount> kKinds = {{
      {"frontends", kNever},
      {"backends", kNever},
      {"source ranges", kNever},
      {"IPv6 frontends", kNever},
      {"IPv6 backends", kNever},
      {"IPv6 source ranges", kNever},
      {"announced addresses", kNever},
      {"announced IPv6 addresses", kNever},
      {"backends by load", kNever},
      {"sets of backends", kNever},
      {"places in sets of backends", 16384},
      {"parts of Maglev tables", MESH_MAGLEV_PARTS(131071)},
  }};
  return kKinds[rows];
}

uint64_t Spare(size_t rows, uint64_t need, uint64_t limit) {
  const uint64_t twice = KindOf(rows).twice;
  return twice == kNever ? 0 : std::min(std::max(need, twice), limit / 2);
}

size_t At(Rows rows) { return static_cast<size_t>(rows); }

void CountPort(const std::string& key, const Service& service, const ServicePort& port,
               RowCounts* out) {
  const bool v6 = service.family == Family::kV6;
  const auto add = [&](Rows v4_rows, Rows v6_rows, uint64_t count) {
    (*out)[At(v6 ? v6_rows : v4_rows)] += count;
  };
  std::array<bool, 2> scopes = {service.outside, false};
  bool balanced = false;
  std::vector<std::string> problems;  // told by the plan
  const std::vector<Claim> claims = ClaimsOf(key, service, port, &problems);
  if (claims.empty()) return;
  for (const Claim& claim : claims) {
    scopes[static_cast<size_t>(claim.scope())] = true;
    balanced = balanced || claim.kind == FrontendKind::kLoadBalancer;
  }
  add(Rows::kFrontends, Rows::kFrontends6, claims.size());
  add(Rows::kBackends, Rows::kBackends6, port.backends.size());
  if (balanced) {
    std::set<IpPrefix> ranges;
    for (const IpPrefix& range : service.source_ranges) {
      if (FamilyOf(range) == service.family) ranges.insert(range);
    }
    add(Rows::kSourceRanges, Rows::kSourceRanges6, ranges.size());
  }
  bool counted = false;
  std::vector<const Backend*> backends;
  for (const Backend& backend : port.backends) backends.push_back(&backend);
  const std::vector<uint8_t> served = ServedScopes(backends);
  for (const Scope scope : kScopes) {
    const size_t s = static_cast<size_t>(scope);
    if (!scopes[s]) continue;
    std::vector<std::pair<uint32_t, uint16_t>> weights;
    for (size_t i = 0; i < backends.size(); ++i) {
      if ((served[i] & (1 << s)) != 0) weights.emplace_back(0, backends[i]->weight);
    }
    const Algorithm algorithm = AlgorithmOf(service, scope);
    counted = counted || algorithm == Algorithm::kLeastLoaded;
    ++(*out)[At(Rows::kSets)];
    (*out)[At(Rows::kSlots)] += SlotsOf(weights).size();
    if (algorithm == Algorithm::kMaglev) {
      (*out)[At(Rows::kMaglevParts)] += MESH_MAGLEV_PARTS(MaglevTableSize(weights.size()));
    }
  }
  if (counted) (*out)[At(Rows::kCounted)] += port.backends.size();
}

}  // namespace

const RowCounts& MapLimits() {
  static constexpr RowCounts kLimits = {
      MESH_SERVICE_MAX_ENTRIES,  MESH_BACKEND_MAX_ENTRIES,  MESH_SOURCE_RANGE_MAX_ENTRIES,
      MESH_SERVICE_MAX_ENTRIES,  MESH_BACKEND_MAX_ENTRIES,  MESH_SOURCE_RANGE_MAX_ENTRIES,
      MESH_ANNOUNCE_MAX_ENTRIES, MESH_ANNOUNCE_MAX_ENTRIES, MESH_BACKEND_MAX_ENTRIES,
      MESH_SET_MAX_ENTRIES,      MESH_SLOT_MAX_ENTRIES,     MESH_MAGLEV_MAX_ENTRIES,
  };
  return kLimits;
}

RowCounts RowsOf(const std::string& key, const Service& service) {
  RowCounts out{};
  for (const ServicePort& port : service.ports) CountPort(key, service, port, &out);
  if (service.announced) {
    const bool v6 = service.family == Family::kV6;
    out[At(v6 ? Rows::kAnnounced6 : Rows::kAnnounced)] = service.load_balancer_ips.size();
  }
  return out;
}

std::optional<size_t> Room::FindShort(const RowCounts& taken, const RowCounts& rows) const {
  for (size_t i = 0; i < kRowsCount; ++i) {
    if (rows[i] != 0 && taken[i] + rows[i] + Spare(i, rows[i], limits_[i]) > limits_[i]) return i;
  }
  return std::nullopt;
}

std::optional<std::string> Room::Take(const std::string& key, const RowCounts& rows) {
  if (const std::optional<size_t> at = FindShort(taken_, rows); at.has_value()) {
    const uint64_t need = rows[*at], spare = Spare(*at, need, limits_[*at]);
    return fmt::format(
        "service {}: is not served on this node: its {} need {} rows, and of {} for all services "
        "{} are taken{}; give it fewer, or others",
        key, KindOf(*at).what, need, limits_[*at], taken_[*at],
        spare == 0 ? "" : fmt::format(" and {} are kept for changes", spare));
  }
  for (size_t i = 0; i < kRowsCount; ++i) taken_[i] += rows[i];
  takers_[key] = rows;
  return std::nullopt;
}

bool Room::FitsWithout(const std::set<std::string>& keys, const RowCounts& rows) const {
  RowCounts taken = taken_;
  for (const std::string& key : keys) {
    const auto it = takers_.find(key);
    if (it == takers_.end()) continue;
    for (size_t i = 0; i < kRowsCount; ++i) taken[i] -= it->second[i];
  }
  return !FindShort(taken, rows).has_value();
}

void Room::GiveBack(const std::string& key) {
  const auto it = takers_.find(key);
  if (it == takers_.end()) return;
  for (size_t i = 0; i < kRowsCount; ++i) taken_[i] -= it->second[i];
  takers_.erase(it);
}

uint64_t Room::Free(Rows rows) const { return limits_[At(rows)] - taken_[At(rows)]; }

void Room::Clear() {
  taken_ = {};
  takers_.clear();
}

}  // namespace mesh::dataplane
