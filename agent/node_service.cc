// SPDX-License-Identifier: Apache-2.0
#include "agent/node_service.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/cri/exec_stream.h"
#include "agent/pods/log_reader.h"
#include "common/status.h"
#include "mesh/v1/node.grpc.pb.h"
#include "nlohmann/json.hpp"

namespace mesh::agent {
namespace {

constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

struct Target {
  PodEntry pod;
  ContainerEntry container;
};

// The container that a call means, with kubectl's words when there is none.
absl::StatusOr<Target> FindTarget(const PodDirectory& directory, const std::string& ns,
                                  const std::string& name, const std::string& container) {
  auto it = directory.find(ns + "/" + name);
  if (it == directory.end()) {
    return absl::NotFoundError(fmt::format("pods \"{}\" not found", name));
  }
  const PodEntry& pod = it->second;
  std::vector<std::string> names;
  for (const ContainerEntry& entry : pod.containers) {
    if (entry.name == container || (container.empty() && pod.containers.size() == 1)) {
      return Target{pod, entry};
    }
    names.push_back(entry.name);
  }
  if (container.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("a container name must be specified for pod {}, choose one of: [{}]", name,
                    fmt::join(names, " ")));
  }
  return absl::InvalidArgumentError(
      fmt::format("container {} is not valid for pod {}", container, name));
}

// One exec call. Input is queued one message at a time: the next one is read when the command has
// taken the one before.
class ExecSession : public grpc::ServerBidiReactor<v1::ExecInput, v1::ExecOutput> {
 public:
  explicit ExecSession(const NodeServiceHooks* hooks) : hooks_(hooks) {
    StartRead(&in_);
    output_thread_ = std::thread([this] { Finish(ToGrpc(Run())); });
  }
  ~ExecSession() override {
    output_thread_.join();
    if (input_thread_.joinable()) input_thread_.join();
  }

  bool done() const {
    absl::MutexLock lock(&mutex_);
    return done_;
  }

  void OnReadDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    if (ok) {
      input_ready_ = true;
    } else {
      input_ended_ = true;
    }
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
  }
  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (exec_ != nullptr) exec_->Abort();
  }
  void OnDone() override {
    absl::MutexLock lock(&mutex_);
    done_ = true;
  }

 private:
  // On the output thread.
  absl::Status Run() {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &ExecSession::HasInputLocked));
      if (!input_ready_) return absl::InvalidArgumentError("exec: no start message");
    }
    if (!in_.has_start()) {
      return absl::InvalidArgumentError("exec: the first message must be the start");
    }
    const v1::ExecStart start = in_.start();
    if (start.command().empty()) {
      return absl::InvalidArgumentError("you must specify at least one command for the container");
    }
    ASSIGN_OR_RETURN(const Target target, FindTarget(*hooks_->directory(), start.namespace_(),
                                                     start.pod(), start.container()));
    if (!target.container.running) {
      return absl::InvalidArgumentError(
          fmt::format("container {} of pod {} is not running{}", target.container.name, start.pod(),
                      target.container.waiting.empty() ? "" : ": " + target.container.waiting));
    }
    ASSIGN_OR_RETURN(const std::string url, ExecUrl(start, target.container.id));
    ASSIGN_OR_RETURN(auto exec,
                     ExecStream::Open(url, {.tty = start.tty(), .stdin = start.stdin()}));
    ExecStream* const stream = exec.get();
    {
      absl::MutexLock lock(&mutex_);
      exec_ = std::move(exec);
      input_ready_ = false;
      if (cancelled_) stream->Abort();
    }
    if (start.tty() && start.has_size()) {
      stream->Resize(start.size().rows(), start.size().columns()).IgnoreError();  // cosmetic
    }
    StartRead(&in_);
    input_thread_ = std::thread([this, stream, stdin = start.stdin()] { Feed(stream, stdin); });
    absl::Status status = Drain(stream);
    {
      absl::MutexLock lock(&mutex_);
      finished_ = true;
    }
    stream->Abort();
    return status;
  }

  absl::StatusOr<std::string> ExecUrl(const v1::ExecStart& start, const std::string& id) {
    cri::ExecRequest request;
    request.set_container_id(id);
    *request.mutable_cmd() = start.command();
    request.set_tty(start.tty());
    request.set_stdin(start.stdin());
    request.set_stdout(true);
    request.set_stderr(!start.tty());
    absl::Notification answered;
    absl::StatusOr<std::string> url;
    hooks_->cri->Exec(request, [&](absl::StatusOr<std::string> answer) {
      url = std::move(answer);
      answered.Notify();
    });
    answered.WaitForNotification();
    return url;
  }

  absl::Status Drain(ExecStream* stream) {
    while (true) {
      ASSIGN_OR_RETURN(ExecEvent event, stream->Read());
      v1::ExecOutput out;
      switch (event.kind) {
        case ExecEvent::Kind::kStdout:
          out.set_stdout(std::move(event.data));
          break;
        case ExecEvent::Kind::kStderr:
          out.set_stderr(std::move(event.data));
          break;
        case ExecEvent::Kind::kExit:
          out.set_exit_code(event.exit_code);
          break;
      }
      if (!Send(std::move(out))) return absl::CancelledError("the client went away");
      if (event.kind == ExecEvent::Kind::kExit) return absl::OkStatus();
    }
  }

  bool Send(v1::ExecOutput message) {
    {
      absl::MutexLock lock(&mutex_);
      if (cancelled_) return false;
      writing_ = true;
    }
    out_ = std::move(message);
    StartWrite(&out_);
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](bool* writing) { return !*writing; }, &writing_));
    return !cancelled_;
  }

  // On the input thread.
  void Feed(ExecStream* stream, bool has_stdin) {
    bool open = has_stdin;
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(this, &ExecSession::HasInputLocked));
        if (finished_ || cancelled_) return;
        if (!input_ready_) break;  // the client has nothing more to send
        input_ready_ = false;
      }
      absl::Status status;
      if (open && in_.has_stdin()) {
        status = stream->WriteStdin(in_.stdin());
      } else if (open && in_.has_stdin_closed()) {
        status = stream->CloseStdin();
        open = false;
      } else if (in_.has_resize()) {
        status = stream->Resize(in_.resize().rows(), in_.resize().columns());
      }
      if (!status.ok()) return;  // the output side tells why
      {
        absl::MutexLock lock(&mutex_);
        if (finished_ || cancelled_) return;
        StartRead(&in_);
      }
    }
    if (open) stream->CloseStdin().IgnoreError();  // the command may have ended
  }

  bool HasInputLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return input_ready_ || input_ended_ || finished_ || cancelled_;
  }

  const NodeServiceHooks* const hooks_;
  std::thread output_thread_, input_thread_;
  v1::ExecInput in_;
  v1::ExecOutput out_;
  mutable absl::Mutex mutex_;
  bool input_ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool input_ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<ExecStream> exec_ ABSL_GUARDED_BY(mutex_);
};

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
    sessions_.push_back(std::make_unique<ExecSession>(&hooks_));
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
  // The runtime's configuration is JSON inside a text; the image is one word of it.
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
    if (const auto config = status->info().find("config"); config != status->info().end()) {
      const auto json = nlohmann::json::parse(config->second, nullptr, false);
      if (json.is_object()) out.set_sandbox_image(json.value("sandboxImage", ""));
    }
    return out;
  }

  absl::Status ServeLogs(grpc::ServerContext* context, const v1::LogsRequest& request,
                         grpc::ServerWriter<v1::LogsChunk>* writer) {
    ASSIGN_OR_RETURN(const Target target, FindTarget(*hooks_.directory(), request.namespace_(),
                                                     request.pod(), request.container()));
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
          FindTarget(*hooks_.directory(), request.namespace_(), request.pod(), container.name);
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
  explicit NodeServerImpl(NodeServiceHooks hooks) : service_(std::move(hooks)) {}
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
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<NodeServer>> NodeServer::Start(const std::string& listen,
                                                              NodeServiceHooks hooks) {
  auto server = std::make_unique<NodeServerImpl>(std::move(hooks));
  RETURN_IF_ERROR(server->Listen(listen));
  return server;
}

}  // namespace mesh::agent
