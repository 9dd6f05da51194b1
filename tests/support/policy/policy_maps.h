// SPDX-License-Identifier: Apache-2.0
// The policy maps as the kernel would have them, and the two lookups of a packet.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "dataplane/policy/policy_rows.h"
#include "dataplane/policy/policy_table.h"

namespace mesh::testing {

class PolicyMaps {
 public:
  void Write(const dataplane::PolicyRowChanges& changes);

  // `identity` 0: no pod, but an address.
  std::optional<dataplane::Decision> Decide(uint32_t set, uint32_t class_of_everybody,
                                            uint32_t identity, const IpAddress& address,
                                            uint8_t protocol, uint16_t port) const;

  size_t peer_rows() const { return peers_.size(); }
  size_t block_rows() const { return blocks_.size(); }
  size_t port_rows() const;
  bool empty() const { return peers_.empty() && blocks_.empty() && ports_.empty(); }

 private:
  std::map<std::pair<uint32_t, uint32_t>, uint32_t> peers_;
  std::map<std::pair<uint32_t, IpPrefix>, uint32_t> blocks_;
  std::map<uint32_t, dataplane::PortRows> ports_;
};

}  // namespace mesh::testing
