// SPDX-License-Identifier: Apache-2.0
#include "agent/node_service.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <list>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/cri/sandbox_image.h"
#include "agent/pod_stream.h"
#include "agent/pods/log_reader.h"
#include "agent/stream_session.h"
#include "common/status.h"
#include "mesh/v1/node.grpc.pb.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

using ExecSession = StreamSession<v1::ExecInput, v1::ExecOutput>;

class Service : public v1::NodeService::WithCallbackMethod_Exec<v1::NodeService::Service> {
 public:
  explicit Service(NodeServiceHooks hooks) : hooks_(std::move(hooks)) {}

  grpc::Status Logs(grpc::ServerContext* context, const v1::LogsRequest* request,
                    grpc::ServerWriter<v1::LogsChunk>* writer) override {
    return ToGrpc(ServeLogs(context, *request, writer));
  }

  grpc::ServerBidiReactor<v1::ExecInput, v1::ExecOutput>* Exec(
      grpc::CallbackServerContext*) override {
    absl::MutexLock lock(&mutex_);
    sessions_.remove_if([](const auto& session) { return session->done(); });
    sessions_.push_back(std::make_unique<ExecSession>(
        [this](const v1::ExecInput& first) { return OpenExec(first); }));
    return sessions_.back().get();
  }

  grpc::Status ListDataplane(grpc::ServerContext*, const v1::ListDataplaneRequest* request,
                             v1::ListDataplaneResponse* response) override {
    *response->add_nodes() = hooks_.list_dataplane(*request);
    return grpc::Status::OK;
  }

  grpc::Status TraceHop(grpc::ServerContext*, const v1::TraceHopRequest* request,
                        v1::TraceHopResponse* response) override {
    absl::StatusOr<v1::TraceHopResponse> out = hooks_.trace_hop(*request);
    if (out.ok()) *response = *std::move(out);
    return ToGrpc(out.status());
  }

  grpc::Status Flows(grpc::ServerContext* context, const v1::FlowsRequest* request,
                     grpc::ServerWriter<v1::FlowsChunk>* writer) override {
    return ToGrpc(hooks_.flows(
        *request, [writer](const v1::FlowsChunk& chunk) { return writer->Write(chunk); },
        [context] { return context->IsCancelled(); }));
  }

  grpc::Status ListListeners(grpc::ServerContext*, const v1::ListListenersRequest* request,
                             v1::ListListenersResponse* response) override {
    auto listeners = hooks_.list_listeners(request->namespace_(), request->pod());
    if (listeners.ok()) *response = *std::move(listeners);
    return ToGrpc(listeners.status());
  }

  grpc::Status Probe(grpc::ServerContext*, const v1::ProbeRequest* request,
                     v1::ProbeResponse* response) override {
    auto answer = request->has_facts() ? Facts() : hooks_.probe(*request);
    if (answer.ok()) *response = *std::move(answer);
    return ToGrpc(answer.status());
  }

 private:
  absl::StatusOr<OpenedStream> OpenExec(const v1::ExecInput& first) {
    if (!first.has_start()) {
      return absl::InvalidArgumentError("exec: the first message must be the start");
    }
    const v1::ExecStart start = first.start();
    if (start.command().empty()) {
      return absl::InvalidArgumentError("you must specify at least one command for the container");
    }
    ASSIGN_OR_RETURN(
        const ContainerEntry container,
        FindRunning(*hooks_.directory(), start.namespace_(), start.pod(), start.container()));
    cri::ExecRequest request;
    request.set_container_id(container.id);
    *request.mutable_cmd() = start.command();
    request.set_tty(start.tty());
    request.set_stdin(start.stdin());
    request.set_stdout(true);
    request.set_stderr(!start.tty());
    absl::Notification answered;
    absl::StatusOr<std::string> url;
    hooks_.cri->Exec(request, [&](absl::StatusOr<std::string> answer) {
      url = std::move(answer);
      answered.Notify();
    });
    answered.WaitForNotification();
    RETURN_IF_ERROR(url.status());
    OpenedStream out;
    ASSIGN_OR_RETURN(out.stream, OpenProcess(*url, start.tty(), start.stdin()));
    out.has_input = start.stdin();
    if (start.tty() && start.has_size()) out.size = start.size();
    return out;
  }

  absl::StatusOr<v1::ProbeResponse> Facts() {
    absl::Notification answered;
    absl::StatusOr<cri::StatusResponse> status;
    hooks_.cri->VerboseStatus([&](absl::StatusOr<cri::StatusResponse> answer) {
      status = std::move(answer);
      answered.Notify();
    });
    answered.WaitForNotification();
    RETURN_IF_ERROR(status.status());
    v1::ProbeResponse out;
    out.set_sandbox_image(SandboxImageName(*status));
    return out;
  }

  absl::Status ServeLogs(grpc::ServerContext* context, const v1::LogsRequest& request,
                         grpc::ServerWriter<v1::LogsChunk>* writer) {
    ASSIGN_OR_RETURN(const ContainerTarget target,
                     FindContainer(*hooks_.directory(), request.namespace_(), request.pod(),
                                   request.container()));
    const ContainerEntry& container = target.container;
    if (request.previous() && container.attempt == 0) {
      return absl::InvalidArgumentError(
          fmt::format("previous terminated container \"{}\" in pod \"{}\" not found",
                      container.name, request.pod()));
    }
    if (container.id.empty()) {
      return absl::InvalidArgumentError(
          fmt::format("container \"{}\" in pod \"{}\" is waiting to start: {}", container.name,
                      request.pod(), container.waiting));
    }
    const uint32_t attempt = request.previous() ? container.attempt - 1 : container.attempt;
    const std::string path =
        target.pod.log_directory + "/" + ContainerLogPath(container.name, attempt);
    LogOptions options;
    options.follow = request.follow() && !request.previous();
    options.timestamps = request.timestamps();
    if (request.has_tail_lines()) options.tail_lines = request.tail_lines();
    if (request.has_since()) {
      options.since = absl::FromUnixSeconds(request.since().seconds()) +
                      absl::Nanoseconds(request.since().nanos());
    }
    LogHooks hooks;
    hooks.sink = [writer](std::string data) {
      v1::LogsChunk chunk;
      chunk.set_data(std::move(data));
      return writer->Write(chunk);
    };
    hooks.cancelled = [context] { return context->IsCancelled(); };
    hooks.running = [this, &request, &container] {
      const auto now =
          FindContainer(*hooks_.directory(), request.namespace_(), request.pod(), container.name);
      return now.ok() && now->container.id == container.id && now->container.running;
    };
    absl::Status status = ReadLog(path, options, hooks);
    if (absl::IsNotFound(status) && !request.previous()) return absl::OkStatus();  // said nothing
    return status;
  }

  const NodeServiceHooks hooks_;
  absl::Mutex mutex_;
  std::list<std::unique_ptr<ExecSession>> sessions_ ABSL_GUARDED_BY(mutex_);
};

class NodeServerImpl : public NodeServer {
 public:
  NodeServerImpl(NodeServiceHooks hooks, std::unique_ptr<grpc::Service> access)
      : service_(std::move(hooks)), access_(std::move(access)) {}
  ~NodeServerImpl() override {
    if (server_ != nullptr) {
      server_->Shutdown(absl::ToChronoTime(absl::Now() + kShutdownGrace));
      server_->Wait();
    }
  }

  absl::Status Listen(const std::string& address) {
    grpc::ServerBuilder builder;
    // meshd looks after its connections with pings of its own.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    if (access_ != nullptr) builder.RegisterService(access_.get());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port_ == 0) {
      return absl::FailedPreconditionError(fmt::format(
          "cannot listen on {}: the address is taken or not of this machine; give another with "
          "--listen",
          address));
    }
    return absl::OkStatus();
  }
  int port() const override { return port_; }

 private:
  Service service_;
  const std::unique_ptr<grpc::Service> access_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NodeServer>> NodeServer::Start(
    const std::string& listen, NodeServiceHooks hooks, std::unique_ptr<grpc::Service> access) {
  auto server = std::make_unique<NodeServerImpl>(std::move(hooks), std::move(access));
  RETURN_IF_ERROR(server->Listen(listen));
  return server;
}

}  // namespace mesh::agent
