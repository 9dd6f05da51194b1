// SPDX-License-Identifier: Apache-2.0
// Changes of a node's taints as kubectl writes them: "key=value:NoSchedule", "key:NoExecute", and
// to remove "key:NoSchedule-" or, of every effect, "key-".
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mesh/v1/core.pb.h"

namespace mesh::cli {

struct TaintChanges {
  std::vector<v1::Taint> added;
  std::vector<v1::Taint> removed;  // no effect: of every effect

  bool empty() const { return added.empty() && removed.empty(); }
  // "tainted", "untainted" or "modified".
  std::string Done() const;
};

// Takes the changes out of `args`; what names nodes stays. INVALID_ARGUMENT in kubectl's words.
absl::StatusOr<TaintChanges> TakeTaintChanges(std::vector<std::string>* args);

// INVALID_ARGUMENT: without `overwrite`, a taint of that key and effect is there. NOT_FOUND: there
// is none to remove. Nothing has changed then.
absl::Status ApplyTaintChanges(const TaintChanges& changes, bool overwrite, v1::Node* node);

}  // namespace mesh::cli
