// SPDX-License-Identifier: Apache-2.0
#include "tests/support/cluster/reach_matrix.h"

#include <gtest/gtest.h>

#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

// What is answered at all is answered within a fraction of it.
constexpr absl::Duration kWait = absl::Milliseconds(250);
constexpr int kShown = 12;

}  // namespace

void ReachMatrix::Expect(const std::function<bool(const Flow&)>& allows) {
  std::string differences;
  EXPECT_TRUE(Eventually(
      [&] {
        differences = Differences(allows);
        return differences.empty();
      },
      absl::Seconds(20)))
      << differences;
}

std::string ReachMatrix::Differences(const std::function<bool(const Flow&)>& allows) {
  std::vector<Probe> probes;
  for (const Flow& flow : flows_) probes.push_back(flow.probe);
  prober_.Run(&probes, kWait);
  std::string out;
  int count = 0;
  for (size_t i = 0; i < probes.size(); ++i) {
    const Flow& flow = flows_[i];
    const bool expected = allows(flow);
    if (probes[i].reached == expected || ++count > kShown) continue;
    out += fmt::format("  {} -> {} {} {} {}: {}\n", flow.probe.from, flow.to,
                       flow.v6() ? "v6" : "v4", flow.probe.protocol == 6 ? "tcp" : "udp",
                       flow.probe.port, expected ? "not reached" : "reached");
  }
  return count == 0 ? "" : fmt::format("{} of {} differ:\n{}", count, probes.size(), out);
}

}  // namespace mesh::testing
