// SPDX-License-Identifier: Apache-2.0
// mesh.v1.Control over gRPC: translates, and posts to the loop. Reads answer from the watch cache
// on gRPC's own threads.
#pragma once

#include <functional>
#include <memory>

#include "common/cluster_ranges.h"
#include "common/event_loop.h"
#include "controlplane/inspect/why.h"
#include "controlplane/rpc/api.h"
#include "controlplane/rpc/node_channels.h"
#include "controlplane/state/watch_cache.h"
#include "mesh/v1/control.grpc.pb.h"

namespace mesh::controlplane {

class ControlService : public v1::Control::CallbackService {
 public:
  // All outlive this; the loop runs until the server has shut down.
  ControlService(EventLoop& loop, WatchCache& cache, Api& api, NodeChannels& channels,
                 ClusterRanges ranges);
  ~ControlService() override;

  // Loop only. Ends every watch with UNAVAILABLE and opens no new one: the server is stopping.
  void CloseWatches();
  // Loop only. How many are open.
  size_t open_watches() const;

  grpc::ServerUnaryReactor* Apply(grpc::CallbackServerContext* context,
                                  const v1::ApplyRequest* request,
                                  v1::ApplyResponse* response) override;
  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context,
                                   const v1::CreateRequest* request,
                                   v1::Resource* response) override;
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const v1::GetRequest* request,
                                v1::Resource* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override;
  grpc::ServerUnaryReactor* Update(grpc::CallbackServerContext* context,
                                   const v1::UpdateRequest* request,
                                   v1::Resource* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const v1::DeleteRequest* request,
                                   v1::Resource* response) override;
  grpc::ServerWriteReactor<v1::WatchEvent>* Watch(grpc::CallbackServerContext* context,
                                                  const v1::WatchRequest* request) override;
  grpc::ServerUnaryReactor* Scale(grpc::CallbackServerContext* context,
                                  const v1::ScaleRequest* request, v1::Resource* response) override;
  grpc::ServerWriteReactor<v1::LogsChunk>* Logs(grpc::CallbackServerContext* context,
                                                const v1::LogsRequest* request) override;
  grpc::ServerBidiReactor<v1::ExecInput, v1::ExecOutput>* Exec(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* ListDataplane(grpc::CallbackServerContext* context,
                                          const v1::ListDataplaneRequest* request,
                                          v1::ListDataplaneResponse* response) override;
  grpc::ServerUnaryReactor* TraceHop(grpc::CallbackServerContext* context,
                                     const v1::TraceHopRequest* request,
                                     v1::TraceHopResponse* response) override;
  grpc::ServerWriteReactor<v1::FlowsChunk>* Flows(grpc::CallbackServerContext* context,
                                                  const v1::FlowsRequest* request) override;
  grpc::ServerUnaryReactor* Why(grpc::CallbackServerContext* context, const v1::WhyRequest* request,
                                v1::WhyResponse* response) override;
  grpc::ServerUnaryReactor* Probe(grpc::CallbackServerContext* context,
                                  const v1::ProbeRequest* request,
                                  v1::ProbeResponse* response) override;
  grpc::ServerUnaryReactor* Version(grpc::CallbackServerContext* context,
                                    const v1::VersionRequest* request,
                                    v1::VersionResponse* response) override;

 private:
  // Loop only; asks the nodes for the sockets that matter.
  void AnswerWhy(const v1::WhyRequest& request, const Known& known,
                 const std::function<void(absl::StatusOr<v1::WhyResponse>)>& done);

  EventLoop& loop_;
  WatchCache& cache_;
  Api& api_;
  NodeChannels& channels_;
  const ClusterRanges ranges_;
  struct Watches;  // the open ones
  std::shared_ptr<Watches> watches_;
};

}  // namespace mesh::controlplane
