// SPDX-License-Identifier: Apache-2.0
// Which leases live until when, and which keys hang on them. A value: the stores lock around it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "controlplane/store/store.h"

namespace mesh::controlplane {

class LeaseTable {
 public:
  void Grant(LeaseId lease, absl::Duration ttl, absl::Time now);
  bool Contains(LeaseId lease) const { return leases_.contains(lease); }
  // False when it does not exist.
  bool KeepAlive(LeaseId lease, absl::Time now);
  // Puts `key` on `lease` (0: on none), taking it off the one before.
  void Attach(const std::string& key, LeaseId lease);
  void Remove(LeaseId lease);
  std::vector<std::string> KeysOf(LeaseId lease) const;
  std::vector<LeaseId> Expired(absl::Time now) const;
  std::optional<absl::Time> NextExpiry() const;

 private:
  struct Lease {
    absl::Duration ttl;
    absl::Time expiry;
    std::set<std::string> keys;
  };
  std::map<LeaseId, Lease> leases_;
  std::map<std::string, LeaseId> by_key_;
};

}  // namespace mesh::controlplane
