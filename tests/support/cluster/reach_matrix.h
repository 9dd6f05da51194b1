// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/support/cluster/prober.h"

namespace mesh::testing {

// Connections by the names of both ends, tried all at once.
class ReachMatrix {
 public:
  struct Flow {
    Probe probe;
    std::string to;
    bool v6() const { return probe.address.find(':') != std::string::npos; }
  };

  Prober& prober() { return prober_; }
  void Add(Probe probe, const std::string& to) { flows_.push_back({std::move(probe), to}); }
  size_t size() const { return flows_.size(); }
  // All are as `allows` says, in the end; fails with those that differ.
  void Expect(const std::function<bool(const Flow&)>& allows);

 private:
  std::string Differences(const std::function<bool(const Flow&)>& allows);

  Prober prober_;
  std::vector<Flow> flows_;
};

}  // namespace mesh::testing
