// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "agent/network/network.h"
#include "dataplane/dataplane.h"

namespace mesh::agent {

// Drops by the names of policies: what a set has counted stays when another takes its place.
class PolicyDropTotals {
 public:
  // `rows`: all there are. Those whose set `state` does not know are left out, but for rows that
  // were seen before. To be called too before sets go.
  void Note(const std::vector<dataplane::PolicyDrops>& rows, const NodeState& state);
  // Those with most first.
  std::vector<NetworkFigures::PolicyDrops> Totals() const;

 private:
  using Key = std::tuple<std::string, std::string, bool>;  // namespace, names, egress
  static Key KeyOf(const v1::PolicySetState& set);
  struct Seen {
    Key key;
    uint64_t packets = 0;
  };
  std::map<uint32_t, Seen> seen_;  // by row, as of the last call
  std::map<Key, uint64_t> totals_;
};

// What the dataplane counts, but for the rows of its maps: `rows`, `services`, `traffic` and
// `policy_drops` of `out`. Names come from `state`, which may be null. The first error; the rest is
// filled in still.
absl::Status FillFigures(const dataplane::Dataplane& dataplane, const NodeState* state,
                         PolicyDropTotals* drops, NetworkFigures* out);

}  // namespace mesh::agent
