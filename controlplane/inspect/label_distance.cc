// SPDX-License-Identifier: Apache-2.0
#include "controlplane/inspect/label_distance.h"

#include <map>

#include "common/edit_distance.h"
#include "fmt/format.h"

namespace mesh::controlplane {

LabelDistance DistanceOf(const Labels& selector, const Labels& labels) {
  LabelDistance out;
  const std::map<std::string, std::string> sorted(selector.begin(), selector.end());
  for (const auto& [key, value] : sorted) {
    const auto it = labels.find(key);
    if (it != labels.end()) out.fixed[key] = it->second;
    if (it != labels.end() && it->second == value) continue;
    ++out.differing;
    if (it != labels.end()) out.letters += EditDistance(it->second, value);
    out.wanted.push_back(fmt::format("{}={}", key, value));
    out.has.push_back(it == labels.end() ? fmt::format("no label {}", key)
                                         : fmt::format("{}={}", key, it->second));
  }
  return out;
}

}  // namespace mesh::controlplane
