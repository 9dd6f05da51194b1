// SPDX-License-Identifier: Apache-2.0
#include "cli/local/containerd_config.h"

#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

std::string Runtime(const std::string& name) {
  return fmt::format(R"(
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{0}]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{0}.options]
        BinaryName = "{0}"
        SystemdCgroup = false
)",
                     name);
}

}  // namespace

std::string ContainerdConfig(const ContainerdOptions& o) {
  std::string config = fmt::format(
      R"(version = 2
root = "{root}"
state = "{state}"
# The plugins left out would write outside the node's folders or look for file systems it has not.
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.internal.v1.restart",
  "io.containerd.nri.v1.nri",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{sandbox_image}"
  # Virtual machines may lack CAP_SYS_RESOURCE, without which lowering the score fails every pod.
  restrict_oom_score_adj = true
  # Not in /run/netns, which nodes share.
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  max_container_log_line_size = 65536

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_bin_dir}"
    conf_dir = "{cni_conf_dir}"

  # Read at each pull.
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries_dir}"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    default_runtime_name = "{runtime}"
)",
      fmt::arg("root", o.root), fmt::arg("state", o.state), fmt::arg("socket", o.socket),
      fmt::arg("sandbox_image", o.sandbox_image), fmt::arg("cni_bin_dir", o.cni_bin_dir),
      fmt::arg("cni_conf_dir", o.cni_conf_dir), fmt::arg("registries_dir", o.registries_dir),
      fmt::arg("snapshotter", o.snapshotter), fmt::arg("runtime", o.runtime));
  config += Runtime("runc");
  config += Runtime("crun");
  return config;
}

}  // namespace mesh::cli::local
