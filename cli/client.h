// SPDX-License-Identifier: Apache-2.0
// meshctl's side of the API: one blocking call per method, no gRPC in the header.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "mesh/v1/control.pb.h"

namespace mesh::cli {

// Where the server is: `flag`, else the environment's MESH_SERVER, else the first of
// /run/mesh/local/meshd.sock and /run/mesh/meshd.sock that exists. UNAVAILABLE when there is none.
// Answers a gRPC target ("unix:/path" or "host:port").
absl::StatusOr<std::string> FindServer(std::string_view flag);
// The same over given facts; pure.
absl::StatusOr<std::string> FindServer(std::string_view flag, std::string_view environment,
                                       const std::function<bool(std::string_view)>& exists);

// A running command in a container. Write and Read may be called from two threads.
class ExecStream {
 public:
  virtual ~ExecStream() = default;
  // False when the stream is over.
  virtual bool Write(const v1::ExecInput& input) = 0;
  // Waits. False when the stream is over: then Finish has the result.
  virtual bool Read(v1::ExecOutput* output) = 0;
  virtual absl::Status Finish() = 0;
  // Ends it from any thread.
  virtual void Cancel() = 0;
};

// Errors of all calls: ServerError (command.h) with the server's message for what the server
// answered; `The connection to the server X was refused ...` when it cannot be reached.
// INVALID_ARGUMENT and NOT_FOUND carry the payload kValidationPayload when the server sent one.
class ControlClient {
 public:
  virtual ~ControlClient() = default;

  virtual absl::StatusOr<v1::ApplyResponse> Apply(const v1::ApplyRequest& request) = 0;
  virtual absl::StatusOr<v1::Resource> Create(const v1::CreateRequest& request) = 0;
  virtual absl::StatusOr<v1::Resource> Get(const v1::GetRequest& request) = 0;
  virtual absl::StatusOr<v1::ListResponse> List(const v1::ListRequest& request) = 0;
  virtual absl::StatusOr<v1::Resource> Update(const v1::UpdateRequest& request) = 0;
  // All of them at once, so that the server writes them together and not one after the other.
  // Answers in the order of the requests.
  virtual std::vector<absl::StatusOr<v1::Resource>> DeleteAll(
      const std::vector<v1::DeleteRequest>& requests) = 0;
  virtual absl::StatusOr<v1::Resource> Scale(const v1::ScaleRequest& request) = 0;
  virtual absl::StatusOr<v1::ListDataplaneResponse> ListDataplane(
      const v1::ListDataplaneRequest& request) = 0;
  virtual absl::StatusOr<v1::TraceHopResponse> TraceHop(const v1::TraceHopRequest& request) = 0;
  virtual absl::StatusOr<v1::WhyResponse> Why(const v1::WhyRequest& request) = 0;
  // Thread-safe.
  virtual absl::StatusOr<v1::ProbeResponse> Probe(const v1::ProbeRequest& request) = 0;
  virtual absl::StatusOr<v1::VersionResponse> Version() = 0;

  // Calls `visit` for each event until it returns false (OK), `deadline` passes
  // (DEADLINE_EXCEEDED) or the server ends the stream. A stream that breaks is taken up again at
  // the last revision seen, until the deadline.
  virtual absl::Status Watch(const v1::WatchRequest& request, absl::Time deadline,
                             const std::function<bool(const v1::WatchEvent&)>& visit) = 0;
  // Calls `visit` for each chunk until it returns false or the log ends.
  virtual absl::Status Logs(const v1::LogsRequest& request,
                            const std::function<bool(std::string_view)>& visit) = 0;
  // Calls `visit` for each chunk until it returns false or the server ends the stream.
  virtual absl::Status Flows(const v1::FlowsRequest& request,
                             const std::function<bool(const v1::FlowsChunk&)>& visit) = 0;
  virtual absl::StatusOr<std::unique_ptr<ExecStream>> Exec() = 0;

  // The target, as messages name it.
  virtual std::string server() const = 0;
};

// What a connection to `target` that failed is told as. `error` is the errno of opening its socket,
// 0 when that is not what went wrong.
absl::Status Refusal(const std::string& target, int error);

// Connects within `timeout`. UNAVAILABLE when nothing listens there.
absl::StatusOr<std::shared_ptr<ControlClient>> Connect(const std::string& target,
                                                       absl::Duration timeout);

}  // namespace mesh::cli
