// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_channels.h"

#include "controlplane/state/object_rules.h"
#include "fmt/format.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace mesh::controlplane {
namespace {

// Endpoints of nodes that are gone are forgotten when there are this many.
constexpr size_t kStubsMax = 10'000;

grpc::ChannelArguments ChannelOptions() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(64 << 20);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  // An agent that restarts is tried again soon.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 3'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

}  // namespace

absl::StatusOr<NodeChannels::Target> NodeChannels::ForNode(const std::string& node) {
  const auto resource = cache_.Load(v1::KIND_NODE, {"", node});
  if (resource == nullptr) return NotFoundFor(v1::KIND_NODE, node);
  const std::string& endpoint = resource->node().status().agent_endpoint();
  if (endpoint.empty()) {
    return absl::UnavailableError(
        fmt::format("node \"{}\": its agent has not registered an endpoint yet", node));
  }
  absl::MutexLock lock(&mutex_);
  if (dialled_.size() >= kStubsMax) dialled_.clear();
  Dialled& dialled = dialled_[endpoint];
  if (dialled.stub == nullptr) {
    dialled.channel =
        grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), ChannelOptions());
    dialled.stub = v1::NodeService::NewStub(dialled.channel);
  }
  return Target{.node = node, .stub = dialled.stub, .channel = dialled.channel};
}

absl::StatusOr<NodeChannels::Target> NodeChannels::ForPod(const std::string& ns,
                                                          const std::string& pod) {
  const auto resource = cache_.Load(v1::KIND_POD, {ns, pod});
  if (resource == nullptr) return NotFoundFor(v1::KIND_POD, pod);
  const std::string& node = resource->pod().spec().node_name();
  if (node.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("pod \"{}\" in namespace \"{}\" is not assigned to a node yet", pod, ns));
  }
  return ForNode(node);
}

}  // namespace mesh::controlplane
