// SPDX-License-Identifier: Apache-2.0
// The configuration of a node's containerd. Pure.
#pragma once

#include <string>

namespace mesh::cli::local {

struct ContainerdOptions {
  std::string root;   // images, snapshots
  std::string state;  // of running containers
  std::string socket;
  std::string cni_bin_dir;
  std::string cni_conf_dir;
  // Where registries that are not what their names say are described: <dir>/<registry>/hosts.toml.
  std::string registries_dir;
  std::string sandbox_image;
  std::string snapshotter = "overlayfs";
  // "runc" or "crun": the default; the other is there as a runtime class.
  std::string runtime = "runc";
};

// TOML of configuration version 2, which containerd 1.6, 1.7 and 2.x read.
std::string ContainerdConfig(const ContainerdOptions& options);

}  // namespace mesh::cli::local
