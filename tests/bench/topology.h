// SPDX-License-Identifier: Apache-2.0
// Network namespaces and links for a benchmark, made with iproute2 and gone with the object.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/unique_fd.h"

namespace mesh::bench {

// Runs a program and waits. UNKNOWN with its output when it fails. `input` goes to its standard
// input.
absl::Status Run(const std::vector<std::string>& argv, const std::string& input = "");
// The same inside a namespace made here.
absl::Status RunIn(const std::string& netns, const std::vector<std::string>& argv,
                   const std::string& input = "");

// Namespaces "mesh-bench-<pid>-<name>"; deleting them takes their links along. They go with this
// object, and also when its process is killed.
class Namespaces {
 public:
  Namespaces() = default;
  Namespaces(const Namespaces&) = delete;
  Namespaces& operator=(const Namespaces&) = delete;
  ~Namespaces();

  // Makes it, with lo up. Returns its full name; its path is PathOf(name).
  absl::StatusOr<std::string> Add(const std::string& name);
  static std::string PathOf(const std::string& full_name) { return "/run/netns/" + full_name; }

 private:
  std::vector<std::string> names_;
  UniqueFd sweeper_;  // closed with this process, however it ends
};

struct VethEnd {
  std::string netns, link, address;  // "10.1.0.2/24"; empty: none
};

absl::Status AddVeth(const VethEnd& a, const VethEnd& b);

}  // namespace mesh::bench
