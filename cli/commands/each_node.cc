// SPDX-License-Identifier: Apache-2.0
#include "cli/commands/each_node.h"

#include <algorithm>

#include "cli/commands/targets.h"
#include "common/status.h"

namespace mesh::cli {

absl::StatusOr<std::vector<std::string>> FindNodes(const std::vector<std::string>& names,
                                                   const std::string& selector,
                                                   ControlClient& client) {
  if (!names.empty() && !selector.empty())
    return UsageError("only a selector (-l) or names of nodes are allowed");
  std::vector<std::string> out;
  if (!names.empty()) {
    std::vector<Target> targets;
    for (const std::string& name : names) targets.push_back({{v1::KIND_NODE}, "", name});
    ASSIGN_OR_RETURN(const Fetched fetched, Fetch(targets, "", client));
    if (!fetched.errors.empty()) return fetched.errors.front();
    out = names;
  } else {
    ASSIGN_OR_RETURN(const v1::ListResponse list, ListObjects(v1::KIND_NODE, "", selector, client));
    for (const v1::Resource& item : list.items()) out.push_back(item.node().metadata().name());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace mesh::cli
