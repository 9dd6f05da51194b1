// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <utility>

#include "cli/command.h"
#include "common/status.h"
#include "fmt/format.h"
#include "mesh/v1/control.grpc.pb.h"

namespace mesh::cli {
namespace {

constexpr char kLocalSocket[] = "/run/mesh/local/meshd.sock";
constexpr char kNodeSocket[] = "/run/mesh/meshd.sock";
constexpr absl::Duration kCallTimeout = absl::Seconds(30);
// How long a broken watch tries to find the server again: longer than meshd takes to start.
constexpr absl::Duration kReconnectTimeout = absl::Seconds(30);

// kubectl's reason for a code of the server (control.proto says what each means).
// `proxied`: the answer came through to a pod's node.
const char* ReasonOf(grpc::StatusCode code, bool proxied) {
  switch (code) {
    case grpc::StatusCode::NOT_FOUND:
      return "NotFound";
    case grpc::StatusCode::ALREADY_EXISTS:
      return "AlreadyExists";
    case grpc::StatusCode::ABORTED:
      return "Conflict";
    case grpc::StatusCode::INVALID_ARGUMENT:
      return "BadRequest";
    case grpc::StatusCode::FAILED_PRECONDITION:
      // A container that does not run (yet) is a bad request to kubectl; a namespace that goes away
      // forbids.
      return proxied ? "BadRequest" : "Forbidden";
    case grpc::StatusCode::PERMISSION_DENIED:
      return "Forbidden";
    case grpc::StatusCode::UNAUTHENTICATED:
      return "Unauthorized";
    case grpc::StatusCode::OUT_OF_RANGE:
      return "Expired";
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return "TooManyRequests";
    case grpc::StatusCode::UNAVAILABLE:
      return "ServiceUnavailable";
    case grpc::StatusCode::UNIMPLEMENTED:
      return "MethodNotAllowed";
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return "Timeout";
    default:
      return "InternalError";
  }
}

// Why this process may not open a unix socket; 0 when it may, or for any other address.
int SocketError(std::string_view target) {
  constexpr std::string_view kUnix = "unix:";
  if (!target.starts_with(kUnix)) return 0;
  target.remove_prefix(kUnix.size());
  return access(std::string(target).c_str(), W_OK) == 0 ? 0 : errno;
}

absl::Status Refused(const std::string& target) { return Refusal(target, SocketError(target)); }

std::chrono::system_clock::time_point ToChrono(absl::Time time) { return absl::ToChronoTime(time); }

// OK when the channel is connected before `deadline`; a refused connection ends the wait at once
// unless `keep_trying`.
bool WaitConnected(grpc::Channel& channel, absl::Time deadline, bool keep_trying) {
  while (true) {
    const grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
    if (state == GRPC_CHANNEL_READY) return true;
    if (state == GRPC_CHANNEL_SHUTDOWN) return false;
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE && !keep_trying) return false;
    if (!channel.WaitForStateChange(state, ToChrono(deadline))) return false;
  }
}

class GrpcExec : public ExecStream {
 public:
  GrpcExec(v1::Control::Stub& stub, std::function<absl::Status(const grpc::Status&)> map)
      : map_(std::move(map)), stream_(stub.Exec(&context_)) {}
  bool Write(const v1::ExecInput& input) override { return stream_->Write(input); }
  bool Read(v1::ExecOutput* output) override { return stream_->Read(output); }
  absl::Status Finish() override { return map_(stream_->Finish()); }
  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::function<absl::Status(const grpc::Status&)> map_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ExecInput, v1::ExecOutput>> stream_;
};

class GrpcClient : public ControlClient {
 public:
  GrpcClient(std::string target, std::shared_ptr<grpc::Channel> channel, absl::Duration timeout)
      : target_(std::move(target)),
        channel_(std::move(channel)),
        stub_(v1::Control::NewStub(channel_)),
        timeout_(timeout) {}

  absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) override {
    return Call<v1::ApplyResponse>(&v1::Control::Stub::Apply, request);
  }
  absl::StatusOr<v1::Resource> Create(const v1::CreateRequest& request) override {
    return Call<v1::Resource>(&v1::Control::Stub::Create, request);
  }
  absl::StatusOr<v1::Resource> Get(const v1::GetRequest& request) override {
    return Call<v1::Resource>(&v1::Control::Stub::Get, request);
  }
  absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request) override {
    return Call<v1::ListResponse>(&v1::Control::Stub::List, request);
  }
  absl::StatusOr<v1::Resource> Update(const v1::UpdateRequest& request) override {
    return Call<v1::Resource>(&v1::Control::Stub::Update, request);
  }
  std::vector<absl::StatusOr<v1::Resource>> DeleteAll(
      const std::vector<v1::DeleteRequest>& requests) override {
    struct Asked {
      grpc::ClientContext context;
      v1::Resource response;
      grpc::Status status;
      std::unique_ptr<grpc::ClientAsyncResponseReader<v1::Resource>> reader;
    };
    grpc::CompletionQueue queue;
    std::deque<Asked> all(requests.size());
    const absl::Time deadline = absl::Now() + timeout_;
    for (size_t i = 0; i < all.size(); ++i) {
      all[i].context.set_deadline(ToChrono(deadline));
      all[i].reader = stub_->AsyncDelete(&all[i].context, requests[i], &queue);
      all[i].reader->Finish(&all[i].response, &all[i].status, &all[i]);
    }
    void* tag = nullptr;
    bool ok = false;
    for (size_t i = 0; i < all.size(); ++i) queue.Next(&tag, &ok);
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    std::vector<absl::StatusOr<v1::Resource>> out;
    for (Asked& one : all) {
      if (absl::Status status = Map(one.status); !status.ok()) {
        out.emplace_back(std::move(status));
      } else {
        out.emplace_back(std::move(one.response));
      }
    }
    return out;
  }
  absl::StatusOr<v1::Resource> Scale(const v1::ScaleRequest& request) override {
    return Call<v1::Resource>(&v1::Control::Stub::Scale, request);
  }
  absl::StatusOr<v1::ListDataplaneResponse> ListDataplane(
      const v1::ListDataplaneRequest& request) override {
    return Call<v1::ListDataplaneResponse>(&v1::Control::Stub::ListDataplane, request);
  }
  absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest& request) override {
    return Call<v1::TraceHopResponse>(&v1::Control::Stub::TraceHop, request);
  }
  absl::StatusOr<v1::WhyResponse> Why(const v1::WhyRequest& request) override {
    return Call<v1::WhyResponse>(&v1::Control::Stub::Why, request);
  }
  absl::StatusOr<v1::ProbeResponse> Probe(const v1::ProbeRequest& request) override {
    return Call<v1::ProbeResponse>(&v1::Control::Stub::Probe, request);
  }
  absl::StatusOr<v1::VersionResponse> Version() override {
    return Call<v1::VersionResponse>(&v1::Control::Stub::Version, v1::VersionRequest());
  }

  absl::Status Watch(const v1::WatchRequest& first, absl::Time deadline,
                     const std::function<bool(const v1::WatchEvent&)>& visit) override {
    v1::WatchRequest request = first;
    // Until the initial objects are complete there is no revision to resume from.
    bool synced = first.from_revision() > 0;
    while (true) {
      grpc::ClientContext context;
      if (deadline != absl::InfiniteFuture()) context.set_deadline(ToChrono(deadline));
      auto stream = stub_->Watch(&context, request);
      v1::WatchEvent event;
      while (stream->Read(&event)) {
        if (event.type() == v1::WatchEvent::BOOKMARK) synced = true;
        if (synced && event.revision() > 0) request.set_from_revision(event.revision());
        if (!visit(event)) {
          context.TryCancel();
          stream->Finish();
          return absl::OkStatus();
        }
      }
      const grpc::Status status = stream->Finish();
      if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED || absl::Now() >= deadline) {
        return absl::DeadlineExceededError("the watch's deadline has passed");
      }
      if (!status.ok() && status.error_code() != grpc::StatusCode::UNAVAILABLE &&
          status.error_code() != grpc::StatusCode::CANCELLED) {
        return Map(status);
      }
      const absl::Time give_up = std::min(deadline, absl::Now() + kReconnectTimeout);
      if (!WaitConnected(*channel_, give_up, /*keep_trying=*/true)) {
        if (give_up == deadline) {
          return absl::DeadlineExceededError("the watch's deadline has passed");
        }
        return Refused(target_);
      }
    }
  }

  absl::Status Logs(const v1::LogsRequest& request,
                    const std::function<bool(std::string_view)>& visit) override {
    grpc::ClientContext context;
    auto stream = stub_->Logs(&context, request);
    v1::LogsChunk chunk;
    while (stream->Read(&chunk)) {
      if (!visit(chunk.data())) {
        context.TryCancel();
        stream->Finish();
        return absl::OkStatus();
      }
    }
    return Map(stream->Finish(), /*proxied=*/true);
  }

  absl::Status Flows(const v1::FlowsRequest& request,
                     const std::function<bool(const v1::FlowsChunk&)>& visit) override {
    grpc::ClientContext context;
    if (!request.follow()) context.set_deadline(ToChrono(absl::Now() + timeout_));
    auto stream = stub_->Flows(&context, request);
    v1::FlowsChunk chunk;
    while (stream->Read(&chunk)) {
      if (!visit(chunk)) {
        context.TryCancel();
        stream->Finish();
        return absl::OkStatus();
      }
    }
    return Map(stream->Finish(), /*proxied=*/true);
  }

  absl::StatusOr<std::unique_ptr<ExecStream>> Exec() override {
    return std::make_unique<GrpcExec>(
        *stub_, [this](const grpc::Status& status) { return Map(status, true); });
  }

  std::string server() const override { return target_; }

 private:
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (v1::Control::Stub::*method)(grpc::ClientContext*,
                                                                          const Request&,
                                                                          Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(ToChrono(absl::Now() + timeout_));
    Response response;
    RETURN_IF_ERROR(Map(((*stub_).*method)(&context, request, &response)));
    return response;
  }

  absl::Status Map(const grpc::Status& status, bool proxied = false) const {
    if (status.ok()) return absl::OkStatus();
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return PlainError(absl::StatusCode::kDeadlineExceeded,
                        fmt::format("Unable to connect to the server: no answer from {} within {}",
                                    target_, absl::FormatDuration(timeout_)));
    }
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE &&
        channel_->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
      // A stream was open: the server was there.
      if (proxied) {
        return absl::UnavailableError(fmt::format("lost connection to the server {}", target_));
      }
      return Refused(target_);
    }
    absl::Status mapped =
        ServerError(static_cast<absl::StatusCode>(status.error_code()),
                    ReasonOf(status.error_code(), proxied), status.error_message());
    if ((status.error_code() == grpc::StatusCode::INVALID_ARGUMENT ||
         status.error_code() == grpc::StatusCode::NOT_FOUND) &&
        !status.error_details().empty()) {
      mapped.SetPayload(kValidationPayload, absl::Cord(status.error_details()));
    }
    return mapped;
  }

  const std::string target_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Control::Stub> stub_;
  const absl::Duration timeout_;
};

// gRPC's name for what people write.
absl::StatusOr<std::string> TargetOf(std::string_view text) {
  if (text.starts_with("unix://")) return "unix:" + std::string(text.substr(7));
  if (text.starts_with("unix:")) return std::string(text);
  if (text.starts_with("/")) return "unix:" + std::string(text);
  const size_t colon = text.rfind(':');
  const std::string_view port = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (colon == 0 || port.empty() || port.size() > 5 ||
      port.find_first_not_of("0123456789") != std::string_view::npos) {
    return absl::InvalidArgumentError(
        fmt::format("server \"{}\" is neither host:port nor unix:///path", text));
  }
  return std::string(text);
}

}  // namespace

absl::StatusOr<std::string> FindServer(std::string_view flag, std::string_view environment,
                                       const std::function<bool(std::string_view)>& exists) {
  if (!flag.empty()) return TargetOf(flag);
  if (!environment.empty()) return TargetOf(environment);
  for (const char* socket : {kLocalSocket, kNodeSocket}) {
    if (exists(socket)) return TargetOf(socket);
  }
  return absl::UnavailableError(
      fmt::format("no cluster: neither {} nor {} exists; start one with \"meshctl local up\" or "
                  "name one with --server",
                  kLocalSocket, kNodeSocket));
}

absl::StatusOr<std::string> FindServer(std::string_view flag) {
  const char* environment = std::getenv("MESH_SERVER");
  return FindServer(flag, environment ? environment : "", [](std::string_view path) {
    struct stat info;
    return stat(std::string(path).c_str(), &info) == 0;
  });
}

absl::Status Refusal(const std::string& target, int error) {
  if (error == EACCES) {
    return absl::PermissionDeniedError(fmt::format("open {}: Permission denied: run as root",
                                                   target.substr(target.find(':') + 1)));
  }
  return PlainError(
      absl::StatusCode::kUnavailable,
      fmt::format(
          "The connection to the server {} was refused - did you specify the right host or port?",
          target));
}

absl::StatusOr<std::shared_ptr<ControlClient>> Connect(const std::string& target,
                                                       absl::Duration timeout) {
  // Errors are told once, by us.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  if (timeout <= absl::ZeroDuration()) timeout = kCallTimeout;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // A server that restarts is found again quickly.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  if (!WaitConnected(*channel, absl::Now() + timeout, /*keep_trying=*/false)) {
    return Refused(target);
  }
  return std::make_shared<GrpcClient>(target, std::move(channel), timeout);
}

absl::StatusOr<ControlClient*> Context::client() {
  if (!client_) {
    ASSIGN_OR_RETURN(std::string target, FindServer(flags.server));
    ASSIGN_OR_RETURN(client_, Connect(target, flags.request_timeout));
  }
  return client_.get();
}

}  // namespace mesh::cli
