// SPDX-License-Identifier: Apache-2.0
// Control.Flows: the streams of many agents as one, with the names that only meshd knows. Runs on
// gRPC's threads; needs no loop.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "api/flows/flow_filter.h"
#include "controlplane/rpc/node_channels.h"
#include "controlplane/state/watch_cache.h"
#include "grpcpp/support/server_callback.h"
#include "mesh/v1/node.grpc.pb.h"

namespace mesh::controlplane {

// Gives ends of flows the names of pods of other nodes. Thread-safe.
std::function<void(v1::FlowEnd&)> FlowEndNamer(const WatchCache& cache);

// A chunk of a node is read when the one before is written, so a reader who is slow costs a chunk
// of each node. A node that fails is a chunk with `error`; while following it is asked again each
// second. With one node named in the request its error is the call's, as is INVALID_ARGUMENT of
// any.
grpc::ServerWriteReactor<v1::FlowsChunk>* ProxyFlows(NodeChannels& channels,
                                                     std::vector<std::string> nodes,
                                                     const v1::FlowsRequest& request,
                                                     std::function<void(v1::FlowEnd&)> name);

}  // namespace mesh::controlplane
