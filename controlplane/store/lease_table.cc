// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/lease_table.h"

#include <algorithm>

namespace mesh::controlplane {

void LeaseTable::Grant(LeaseId lease, absl::Duration ttl, absl::Time now) {
  leases_[lease] = Lease{.ttl = ttl, .expiry = now + ttl, .keys = {}};
}

bool LeaseTable::KeepAlive(LeaseId lease, absl::Time now) {
  auto it = leases_.find(lease);
  if (it == leases_.end()) return false;
  it->second.expiry = now + it->second.ttl;
  return true;
}

void LeaseTable::Attach(const std::string& key, LeaseId lease) {
  if (auto it = by_key_.find(key); it != by_key_.end()) {
    if (it->second == lease) return;
    leases_[it->second].keys.erase(key);
    by_key_.erase(it);
  }
  if (lease == 0) return;
  leases_[lease].keys.insert(key);
  by_key_[key] = lease;
}

void LeaseTable::Remove(LeaseId lease) {
  auto it = leases_.find(lease);
  if (it == leases_.end()) return;
  for (const std::string& key : it->second.keys) by_key_.erase(key);
  leases_.erase(it);
}

std::vector<std::string> LeaseTable::KeysOf(LeaseId lease) const {
  auto it = leases_.find(lease);
  if (it == leases_.end()) return {};
  return {it->second.keys.begin(), it->second.keys.end()};
}

std::vector<LeaseId> LeaseTable::Expired(absl::Time now) const {
  std::vector<LeaseId> out;
  for (const auto& [id, lease] : leases_) {
    if (lease.expiry <= now) out.push_back(id);
  }
  return out;
}

std::optional<absl::Time> LeaseTable::NextExpiry() const {
  std::optional<absl::Time> out;
  for (const auto& [id, lease] : leases_) out = std::min(out.value_or(lease.expiry), lease.expiry);
  return out;
}

}  // namespace mesh::controlplane
