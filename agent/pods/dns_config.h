// SPDX-License-Identifier: Apache-2.0
// Names in a pod: its /etc/resolv.conf and its /etc/hosts. Pure.
#pragma once

#include <string>

#include "agent/cri/runtime_v1.pb.h"
#include "agent/pods/pod_config.h"
#include "mesh/v1/core.pb.h"

namespace mesh::agent {

// resolv.conf(5) takes three.
inline constexpr int kMostNameServers = 3;

// By dnsPolicy: the cluster's resolvers and search list (ClusterFirst), those of the node (Default,
// and ClusterFirst of a pod in the node's network), or none; then what dnsConfig adds, each once,
// an option of dnsConfig in place of one with its name. A name server of dnsConfig comes behind the
// node's own resolver and before those of other nodes; what is beyond the third is left out.
// Nothing is written where the file of the node is to be taken as it is.
void FillDns(const v1::Pod& pod, const PodConfigOptions& options, runtime::v1::DNSConfig* out);
bool HasDns(const v1::Pod& pod, const PodConfigOptions& options);

// Lines of spec.hostAliases at the end of /etc/hosts; empty where there are none.
std::string HostAliasLines(const v1::PodSpec& spec);

}  // namespace mesh::agent
