// SPDX-License-Identifier: Apache-2.0
// Calls that meshd passes on to an agent's NodeService. Runs on gRPC's threads; needs no loop.
//
// An agent that does not answer is UNAVAILABLE, with the name of the node.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "controlplane/rpc/node_channels.h"
#include "grpcpp/support/server_callback.h"
#include "mesh/v1/node.grpc.pb.h"

namespace mesh::controlplane {

// A reactor that ends with the target's error, or streams what the node sends.
grpc::ServerWriteReactor<v1::LogsChunk>* ProxyLogs(absl::StatusOr<NodeChannels::Target> target,
                                                   const v1::LogsRequest& request);

// The first message names the pod, and so the node.
grpc::ServerBidiReactor<v1::ExecInput, v1::ExecOutput>* ProxyExec(NodeChannels& channels);

// Asks all `nodes` at once. A node that fails is an entry with `error`; with one node named in the
// request its error is the call's.
void ProxyListDataplane(NodeChannels& channels, std::vector<std::string> nodes,
                        const v1::ListDataplaneRequest& request,
                        std::function<void(absl::StatusOr<v1::ListDataplaneResponse>)> done);

// INVALID_ARGUMENT without a node.
void ProxyTraceHop(NodeChannels& channels, const v1::TraceHopRequest& request,
                   std::function<void(absl::StatusOr<v1::TraceHopResponse>)> done);
// Asks each pod's node who listens in it. Every pod has an entry, an error where there was no
// answer.
using ListenersByPod = std::map<ObjectKey, absl::StatusOr<v1::ListListenersResponse>>;
void GatherListeners(NodeChannels& channels, const std::set<ObjectKey>& pods,
                     std::function<void(ListenersByPod)> done);

void ProxyProbe(absl::StatusOr<NodeChannels::Target> target, const v1::ProbeRequest& request,
                std::function<void(absl::StatusOr<v1::ProbeResponse>)> done);

}  // namespace mesh::controlplane
