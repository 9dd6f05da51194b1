// SPDX-License-Identifier: Apache-2.0
// From a Pod to what the runtime is asked for. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "agent/cri/runtime_v1.pb.h"
#include "common/shared_map.h"
#include "common/shared_value.h"
#include "mesh/v1/core.pb.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::agent {

struct PodConfigOptions {
  std::string log_root = "/var/log/pods";
  std::string files_root = "/var/lib/mesh/agent/pods";  // of pods: a folder each, by uid
  std::string cgroup_parent;                            // empty: the runtime's default
  std::string cluster_domain = "cluster.local";
  // Empty: the node's own resolv.conf. The first is asked; the others only while it does not
  // answer.
  std::vector<std::string> name_servers;
  // Text of the node's /etc/resolv.conf, for pods that have the node's names.
  std::string node_resolv_conf;
  int64_t memory_capacity_bytes = 0;  // of the node
  // Never asked for less than this: lowering needs CAP_SYS_RESOURCE.
  int64_t oom_score_adj_min = 0;
};

// What a container gets of other objects.
struct PodInputs {
  std::vector<std::pair<std::string, std::string>> environment;  // resolved, each name once
  std::vector<runtime::v1::Mount> mounts;                        // of its volumes
};

// The resolvers of the two nodes that follow this one in the ring of names: pods ask them while
// their own node's agent is away. `peers`: the other nodes by name.
std::vector<std::string> PeerNameServers(const std::string& node_name,
                                         const SharedMap<std::string, Shared<v1::PeerNode>>& peers);

// "<root>/<namespace>_<name>_<uid>"
std::string PodLogDirectory(const PodConfigOptions& options, const std::string& ns,
                            const std::string& name, const std::string& uid);
// What the agent writes for the pod's containers: "<root>/<uid>".
std::string PodFilesDirectory(const PodConfigOptions& options, const std::string& uid);
// /etc/hosts of the pod's containers: the pod knows itself by its name, in each of its families,
// and its spec.hostAliases; nothing that the node's own file has.
std::string HostsFile(const v1::Pod& pod, const PodConfigOptions& options);
std::string HostsPath(const PodConfigOptions& options, const std::string& uid);
// Where a container leaves its last words: "<root>/<uid>/containers/<container>/<attempt>".
std::string TerminationFile(const PodConfigOptions& options, const std::string& uid,
                            const std::string& container, uint32_t attempt);
// "<container>/<attempt>.log", relative to the pod's log directory.
std::string ContainerLogPath(const std::string& container, uint32_t attempt);

// INVALID_ARGUMENT: spec.setHostnameAsFQDN asks for a name that the kernel does not take.
absl::Status CheckHostname(const v1::Pod& pod, const PodConfigOptions& options);

// REQUIRES: CheckHostname() is fine.
runtime::v1::PodSandboxConfig BuildSandboxConfig(const v1::Pod& pod, uint32_t attempt,
                                                 const PodConfigOptions& options);
// REQUIRES, before the container is created: HostsFile() stands at HostsPath(), and
// CheckImageUser() is fine with `image` (security.h); MakeTerminationFile() has been called.
runtime::v1::ContainerConfig BuildContainerConfig(const v1::Pod& pod,
                                                  const v1::Container& container, uint32_t attempt,
                                                  const std::string& image_ref,
                                                  const PodInputs& inputs,
                                                  const PodConfigOptions& options,
                                                  const runtime::v1::Image& image = {});

// Kubernetes' variables of the Services of a namespace: WEB_SERVICE_HOST, WEB_SERVICE_PORT,
// WEB_PORT_80_TCP_ADDR and so on. Services by "namespace/name".
std::vector<std::pair<std::string, std::string>> ServiceEnvironment(
    const SharedMap<std::string, Shared<v1::ServiceState>>& services, const std::string& ns);

// Kubernetes' expansion: "$(NAME)" becomes the value where NAME is known and stays as it is
// otherwise; "$$" is a dollar.
std::string ExpandVariables(std::string_view text, const std::map<std::string, std::string>& known);

// INVALID_ARGUMENT when it is no image reference ([host[:port]/]path[:tag][@digest]).
absl::Status CheckImageReference(std::string_view image);

}  // namespace mesh::agent
