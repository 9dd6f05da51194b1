// SPDX-License-Identifier: Apache-2.0
// The link between the nodes of a local cluster: a bridge in a namespace of its own, with an
// address at which it is the world outside.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/local/layout.h"

namespace mesh::cli::local {

inline constexpr char kNetnsDir[] = "/run/netns";

std::string NetnsPath(const std::string& name);
// Names of the machine's network namespaces that belong to this cluster, sorted.
std::vector<std::string> OwnNetns(const Layout& layout);
// Takes away what the first CreateNetwork() of this machine made to hold the namespaces, when there
// are none any more.
void RemoveNetnsMount();

bool KernelHasIpv6();

// Namespaces, veths, addresses and default routes of the nodes and of the outside; with `ipv6` in
// both families.
absl::Status CreateNetwork(const Layout& layout, int nodes, bool ipv6);

}  // namespace mesh::cli::local
