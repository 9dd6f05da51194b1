// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/access_service.h"

#include <chrono>
#include <utility>

#include "controlplane/rpc/status.h"
#include "controlplane/rpc/stream_proxy.h"
#include "mesh/v1/access.grpc.pb.h"

namespace mesh::controlplane {
namespace {

using Target = NodeChannels::Target;
using Stub = v1::Access::Stub;

constexpr std::chrono::milliseconds kListDeadline{5'000};
// The files of a large image are many.
constexpr std::chrono::milliseconds kRemoveDeadline{25'000};

template <typename Request, typename Response>
using Method = void (Stub::async::*)(grpc::ClientContext*, const Request*, Response*,
                                     std::function<void(grpc::Status)>);

// One call to one node, within `deadline`.
template <typename Request, typename Response>
grpc::ServerUnaryReactor* CallNode(grpc::CallbackServerContext* server,
                                   const absl::StatusOr<Target>& target,
                                   Method<Request, Response> method, const Request* request,
                                   Response* response, std::chrono::milliseconds deadline) {
  grpc::ServerUnaryReactor* reactor = server->DefaultReactor();
  if (!target.ok()) {
    reactor->Finish(ToGrpc(target.status()));
    return reactor;
  }
  // Request and response live until the reactor is finished.
  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<Stub> stub;
  };
  auto call = std::make_shared<Call>();
  call->stub = v1::Access::NewStub(target->channel);
  call->context.set_deadline(std::chrono::system_clock::now() + deadline);
  (call->stub->async()->*method)(&call->context, request, response,
                                 [call, reactor, node = target->node](const grpc::Status& status) {
                                   reactor->Finish(NamedStatus(node, status));
                                 });
  return reactor;
}

class AccessService : public v1::Access::CallbackService {
 public:
  explicit AccessService(NodeChannels& channels) : channels_(channels) {}

  grpc::ServerBidiReactor<v1::StreamInput, v1::StreamOutput>* Stream(
      grpc::CallbackServerContext*) override {
    return new StreamProxy<v1::StreamInput, v1::StreamOutput>(
        StreamRoute<v1::StreamInput, v1::StreamOutput>{
            .find = [this](const v1::StreamInput& first) -> absl::StatusOr<Target> {
              if (!first.has_start())
                return absl::InvalidArgumentError("stream: the first message must be `start`");
              return channels_.ForPod(first.start().namespace_(), first.start().pod());
            },
            .open =
                [](const Target& target, grpc::ClientContext* context,
                   grpc::ClientBidiReactor<v1::StreamInput, v1::StreamOutput>* reactor) {
                  v1::Access::NewStub(target.channel)->async()->Stream(context, reactor);
                }});
  }

  grpc::ServerBidiReactor<v1::LoadImageInput, v1::LoadImageOutput>* LoadImage(
      grpc::CallbackServerContext*) override {
    return new StreamProxy<v1::LoadImageInput, v1::LoadImageOutput>(
        StreamRoute<v1::LoadImageInput, v1::LoadImageOutput>{
            .find = [this](const v1::LoadImageInput& first) -> absl::StatusOr<Target> {
              if (first.node().empty())
                return absl::InvalidArgumentError("load: the first message must be `node`");
              return channels_.ForNode(first.node());
            },
            .open =
                [](const Target& target, grpc::ClientContext* context,
                   grpc::ClientBidiReactor<v1::LoadImageInput, v1::LoadImageOutput>* reactor) {
                  v1::Access::NewStub(target.channel)->async()->LoadImage(context, reactor);
                }});
  }

  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* context,
                                  const v1::StatsRequest* request,
                                  v1::StatsResponse* response) override {
    return CallNode<v1::StatsRequest, v1::StatsResponse>(
        context, channels_.ForNode(request->node()), &Stub::async::Stats, request, response,
        kListDeadline + std::chrono::milliseconds(request->measure_ms()));
  }

  grpc::ServerUnaryReactor* ListImages(grpc::CallbackServerContext* context,
                                       const v1::ListImagesRequest* request,
                                       v1::ListImagesResponse* response) override {
    return CallNode<v1::ListImagesRequest, v1::ListImagesResponse>(
        context, channels_.ForNode(request->node()), &Stub::async::ListImages, request, response,
        kListDeadline);
  }

  grpc::ServerUnaryReactor* RemoveImage(grpc::CallbackServerContext* context,
                                        const v1::RemoveImageRequest* request,
                                        v1::RemoveImageResponse* response) override {
    return CallNode<v1::RemoveImageRequest, v1::RemoveImageResponse>(
        context, channels_.ForNode(request->node()), &Stub::async::RemoveImage, request, response,
        kRemoveDeadline);
  }

 private:
  NodeChannels& channels_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewAccessService(NodeChannels& channels) {
  return std::make_unique<AccessService>(channels);
}

}  // namespace mesh::controlplane
