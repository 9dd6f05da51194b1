// SPDX-License-Identifier: Apache-2.0
// What the agent serves of mesh.v1.Access: streams of containers, ports of pods, use, images.
//
// Thread: gRPC's. Calls block on sockets and the runtime, so each has its own (a stream has two).
#pragma once

#include <grpcpp/impl/service_type.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/cri/cri_client.h"
#include "agent/pods/pod_reconciler.h"
#include "common/unique_fd.h"

namespace mesh::agent {

struct AccessHooks {
  std::function<std::shared_ptr<const PodDirectory>()> directory;  // thread-safe
  // Connects to a port of the pod. Blocks; thread-safe.
  std::function<absl::StatusOr<UniqueFd>(const std::string& ns, const std::string& pod,
                                         const PodEntry& entry, uint16_t port)>
      dial;
  // Imports an archive from its standard input (NodeImages).
  std::vector<std::string> import_images;
  CriClient* cri = nullptr;
};

std::unique_ptr<grpc::Service> NewAccessService(AccessHooks hooks);

}  // namespace mesh::agent
