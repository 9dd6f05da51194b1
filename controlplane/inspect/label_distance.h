// SPDX-License-Identifier: Apache-2.0
// How far labels are from those that a selector asks for; private to this folder.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "controlplane/controllers/objects.h"

namespace mesh::controlplane {

struct LabelDistance {
  int differing = 0;                // pairs that do not match
  size_t letters = 0;               // in which values differ where the key is there
  std::vector<std::string> wanted;  // "tier=front"
  std::vector<std::string> has;     // "tier=web", "no label tier"
  Labels fixed;                     // a selector that would match: the object's own values

  bool operator<(const LabelDistance& other) const { return Rank() < other.Rank(); }

 private:
  std::tuple<int, int64_t, size_t> Rank() const {
    return {differing, -static_cast<int64_t>(fixed.size()), letters};
  }
};

LabelDistance DistanceOf(const Labels& selector, const Labels& labels);

}  // namespace mesh::controlplane
