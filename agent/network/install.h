// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"

namespace mesh::agent {

struct CniInstall {
  std::string binary;  // the mesh-cni to copy
  std::string bin_dir;
  std::string conf_dir;
  std::string socket;  // of the CNI server
};

// Puts <bin_dir>/mesh-cni (replaced when its content differs), <bin_dir>/loopback (a link to it,
// only where no loopback plugin is) and <conf_dir>/10-mesh.conflist in place, in this order: once
// the conflist is there, a runtime reports its network as ready. Each appears whole or not at all;
// files that are right are not touched. NOT_FOUND when there is no `binary`.
absl::Status InstallCni(const CniInstall& install);

// The conflist's text.
std::string ConflistFor(const std::string& socket);

}  // namespace mesh::agent
