// SPDX-License-Identifier: Apache-2.0
// mesh.v1.Access of meshd: every call goes to the agent of the node or pod that it names. Runs on
// gRPC's threads; needs no loop.
//
// An agent that does not answer is UNAVAILABLE, with the name of the node.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

#include "controlplane/rpc/node_channels.h"

namespace mesh::controlplane {

// `channels` outlives the service.
std::unique_ptr<grpc::Service> NewAccessService(NodeChannels& channels);

}  // namespace mesh::controlplane
