// SPDX-License-Identifier: Apache-2.0
// Which nodes a NodeSelector means: those that a pod asks for, and those that have a volume. Pure.
#pragma once

#include "mesh/v1/core.pb.h"
#include "mesh/v1/placement.pb.h"

namespace mesh::controlplane {

// All of a term must hold; one without requirements matches nothing.
bool MatchesTerm(const v1::NodeSelectorTerm& term, const v1::Node& node);
// One of the terms matches.
bool MatchesNodeSelector(const v1::NodeSelector& selector, const v1::Node& node);

}  // namespace mesh::controlplane
