// SPDX-License-Identifier: Apache-2.0
// The same load over several ways between a client and a server, in turn.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/bench/load.h"

namespace mesh::bench {

// A way between a client and a server namespace.
struct Way {
  std::string name, client_netns, server_netns;  // netns: full names
  std::string address;                           // that the client dials
  uint16_t port = 8080;                          // streams go to the next one
  bool tcp_only = false;  // only request/response and connect/request/response
};

struct ContestOptions {
  int rounds = 9;
  double seconds = 1;  // of each load
  int cpu = -1;        // the last one
  // Names of the ways to go; empty: all.
  std::set<std::string> only;
  // "tcp_rr", "tcp_crr", "udp_rr", "tcp_stream"; empty: all.
  std::set<std::string> loads;
};

// Reads "--rounds", "--seconds", "--cpu", "--only" and "--loads" (names with commas between).
// False: another name, or a value out of range.
bool ParseContestOption(const std::string& name, const std::string& value, ContestOptions* options);

class Contest {
 public:
  static constexpr uint16_t kPort = 8080;  // of the servers

  // Goes through the ways, to and fro, `rounds` times; prints what it sees. INVALID_ARGUMENT: one
  // of `options.only` is none of them.
  static absl::StatusOr<Contest> Run(const std::vector<Way>& ways, ContestOptions options);

  // Prints the figures of way `name`: medians, and against `reference`, if that is another way, the
  // median of the ratios of the rounds. Nothing where one of the two was left out.
  void Report(const std::string& name, const std::string& reference) const;

 private:
  // One value a round; by what is measured.
  struct Series {
    std::string unit;
    std::vector<double> values;
  };
  using Samples = std::map<std::string, Series>;

  absl::Status Sample(const Way& way, const EchoServer& server, const ContestOptions& options);

  std::map<std::string, Samples> samples_;  // by way
};

}  // namespace mesh::bench
