// SPDX-License-Identifier: Apache-2.0
#include "cli/access_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <utility>

#include "cli/command.h"
#include "common/status.h"
#include "fmt/format.h"
#include "mesh/v1/access.grpc.pb.h"

namespace mesh::cli {
namespace {

constexpr std::chrono::seconds kCallTimeout{30};

const char* ReasonOf(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::NOT_FOUND:
      return "NotFound";
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::FAILED_PRECONDITION:
      return "BadRequest";
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

absl::Status Map(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return ServerError(static_cast<absl::StatusCode>(status.error_code()),
                     ReasonOf(status.error_code()), status.error_message());
}

class GrpcStream : public ExecStream {
 public:
  explicit GrpcStream(v1::Access::Stub& stub) : stream_(stub.Stream(&context_)) {}
  bool Begin(const v1::StreamStart& start) {
    v1::StreamInput first;
    *first.mutable_start() = start;
    return stream_->Write(first);
  }
  bool Write(const v1::ExecInput& input) override {
    v1::StreamInput message;
    *message.mutable_data() = input;
    return stream_->Write(message);
  }
  bool Read(v1::ExecOutput* output) override {
    v1::StreamOutput message;
    if (!stream_->Read(&message)) return false;
    *output = std::move(*message.mutable_data());
    return true;
  }
  absl::Status Finish() override { return Map(stream_->Finish()); }
  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::StreamInput, v1::StreamOutput>> stream_;
};

class GrpcClient : public AccessClient {
 public:
  explicit GrpcClient(const std::string& server) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(64 << 20);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = v1::Access::NewStub(
        grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments));
  }

  absl::StatusOr<std::unique_ptr<ExecStream>> Stream(const v1::StreamStart& start) override {
    auto stream = std::make_unique<GrpcStream>(*stub_);
    if (!stream->Begin(start)) {
      const absl::Status status = stream->Finish();
      return status.ok() ? absl::UnavailableError("the server ended the stream before it began")
                         : status;
    }
    return stream;
  }
  absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest& request) override {
    return Call<v1::StatsResponse>(&v1::Access::Stub::Stats, request);
  }
  absl::StatusOr<v1::ListImagesResponse> ListImages(const v1::ListImagesRequest& request) override {
    return Call<v1::ListImagesResponse>(&v1::Access::Stub::ListImages, request);
  }
  absl::StatusOr<v1::RemoveImageResponse> RemoveImage(
      const v1::RemoveImageRequest& request) override {
    return Call<v1::RemoveImageResponse>(&v1::Access::Stub::RemoveImage, request);
  }
  absl::StatusOr<v1::LoadImageOutput> LoadImage(
      const std::string& node, const std::function<absl::StatusOr<std::string>()>& next) override {
    grpc::ClientContext context;
    auto stream = stub_->LoadImage(&context);
    v1::LoadImageInput input;
    input.set_node(node);
    bool more = stream->Write(input);
    while (more) {
      absl::StatusOr<std::string> piece = next();
      if (!piece.ok()) {
        context.TryCancel();
        stream->Finish();
        return piece.status();
      }
      if (piece->empty()) {
        input.set_end(true);
        stream->Write(input);
        break;
      }
      input.set_data(*std::move(piece));
      more = stream->Write(input);
    }
    v1::LoadImageOutput output;
    stream->Read(&output);
    stream->WritesDone();
    RETURN_IF_ERROR(Map(stream->Finish()));
    return output;
  }

 private:
  template <typename Response, typename Request>
  absl::StatusOr<Response> Call(grpc::Status (v1::Access::Stub::*method)(grpc::ClientContext*,
                                                                         const Request&, Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
    Response response;
    RETURN_IF_ERROR(Map(((*stub_).*method)(&context, request, &response)));
    return response;
  }

  std::unique_ptr<v1::Access::Stub> stub_;
};

}  // namespace

std::unique_ptr<AccessClient> AccessClient::New(const std::string& server) {
  return std::make_unique<GrpcClient>(server);
}

}  // namespace mesh::cli
