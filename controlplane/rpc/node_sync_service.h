// SPDX-License-Identifier: Apache-2.0
// mesh.v1.NodeSync over gRPC: each stream becomes a NodeLink of NodeSessions.
#pragma once

#include "common/event_loop.h"
#include "controlplane/rpc/node_sessions.h"
#include "mesh/v1/node_sync.grpc.pb.h"

namespace mesh::controlplane {

class NodeSyncService : public v1::NodeSync::CallbackService {
 public:
  // Both outlive this; the loop runs until the server has shut down.
  NodeSyncService(EventLoop& loop, NodeSessions& sessions) : loop_(loop), sessions_(sessions) {}

  grpc::ServerBidiReactor<v1::AgentMessage, v1::ControlMessage>* Sync(
      grpc::CallbackServerContext* context) override;

 private:
  EventLoop& loop_;
  NodeSessions& sessions_;
};

}  // namespace mesh::controlplane
