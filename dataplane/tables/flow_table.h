// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "dataplane/bpf/map.h"
#include "dataplane/dataplane.h"
#include "dataplane/tables/family.h"

namespace mesh::dataplane {

// Connection tracking as the programs keep it; see flow_map.h. `now_ns` is CLOCK_MONOTONIC_COARSE.
template <typename F>
class FlowTable {
 public:
  using FlowMap = Map<typename F::FlowKey, typename F::FlowValue>;
  explicit FlowTable(FlowMap& map) : map_(map) {}

  // Range of the pods at the node with a tunnel address; nullopt: not known.
  using RangeOf = std::function<std::optional<IpPrefix>(const IpAddress& node)>;
  // One row per flow, in the order of its addresses. Without `range_of`, an IPv6 backend that
  // answers directly is named by the last four bytes of its address only.
  absl::StatusOr<std::vector<ConntrackRow>> Rows(uint64_t now_ns,
                                                 const RangeOf& range_of = nullptr) const;
  // Removes all flows from or to an address.
  absl::Status RemoveAddress(const IpAddress& ip);

 private:
  FlowMap& map_;
};

extern template class FlowTable<V4>;
extern template class FlowTable<V6>;

}  // namespace mesh::dataplane
