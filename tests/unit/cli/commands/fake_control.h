// SPDX-License-Identifier: Apache-2.0
// A Control service in memory, served on a unix socket in a directory of its own: real gRPC, no
// cluster. Objects change only when a test changes them.
#pragma once

#include <grpcpp/grpcpp.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "mesh/v1/access.grpc.pb.h"
#include "mesh/v1/control.grpc.pb.h"

namespace mesh::cli {

class FakeAccess : public v1::Access::Service {
 public:
  std::vector<v1::StreamStart> streams;
  std::vector<v1::StreamOutput> stream_outputs;
  std::map<std::string, v1::StatsResponse> stats;        // by node
  std::map<std::string, v1::ListImagesResponse> images;  // by node; RemoveImage goes by tags
  std::string loaded;                                    // the archive of LoadImage

 private:
  grpc::Status Stream(grpc::ServerContext*,
                      grpc::ServerReaderWriter<v1::StreamOutput, v1::StreamInput>*) override;
  grpc::Status Stats(grpc::ServerContext*, const v1::StatsRequest*, v1::StatsResponse*) override;
  grpc::Status ListImages(grpc::ServerContext*, const v1::ListImagesRequest*,
                          v1::ListImagesResponse*) override;
  grpc::Status RemoveImage(grpc::ServerContext*, const v1::RemoveImageRequest*,
                           v1::RemoveImageResponse*) override;
  grpc::Status LoadImage(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::LoadImageOutput, v1::LoadImageInput>*) override;
};

class FakeControl : public v1::Control::Service {
 public:
  FakeControl();
  ~FakeControl() override;

  // "unix:///tmp/.../meshd.sock".
  std::string address() const { return "unix://" + directory_ + "/meshd.sock"; }
  // Ends all connections; Start listens again.
  void Stop();
  void Start();

  // Stores an object and tells watchers.
  void Put(const v1::Resource& object);
  void Remove(v1::Kind kind, const std::string& ns, const std::string& name);
  // What happens next, each step once a further watch is listening.
  void OnWatch(std::function<void()> step);
  // The next watches end with this after their events.
  void EndWatches(grpc::Status status);

  // The next watch ends at once, after its step.
  void FailNextWatch(grpc::Status status);

  // Requests as they came.
  std::vector<v1::DeleteRequest> deletes;
  int lists = 0;
  std::vector<v1::WatchRequest> watches;
  std::vector<v1::LogsRequest> logs;
  std::vector<v1::ExecInput> exec_inputs;
  v1::ListDataplaneRequest dataplane_request;
  v1::UpdateRequest update_request;
  v1::ApplyRequest apply_request;
  std::vector<v1::TraceHopRequest> hop_requests;
  v1::FlowsRequest flows_request;
  int flows_asked = 0;
  // Answers.
  bool remove_on_delete = true;
  // No Delete is answered before so many have come.
  size_t deletes_together = 0;
  std::map<std::string, std::string> log_texts;  // by pod
  std::vector<v1::ExecOutput> exec_outputs;
  // Exec waits for the end of standard input before it answers.
  bool exec_reads_all = false;
  grpc::Status exec_status;
  // Of Apply, which stores nothing and says that it has created each object.
  grpc::Status apply_status;
  // The next Update is refused with this.
  grpc::Status update_status;
  v1::ListDataplaneResponse dataplane;
  std::map<std::string, v1::TraceHopResponse> hops;  // by node
  std::vector<v1::FlowsChunk> flow_chunks;
  FakeAccess access;  // served beside it

 private:
  using Key = std::tuple<v1::Kind, std::string, std::string>;

  grpc::Status Apply(grpc::ServerContext*, const v1::ApplyRequest*, v1::ApplyResponse*) override;
  grpc::Status Get(grpc::ServerContext*, const v1::GetRequest*, v1::Resource*) override;
  grpc::Status List(grpc::ServerContext*, const v1::ListRequest*, v1::ListResponse*) override;
  grpc::Status Update(grpc::ServerContext*, const v1::UpdateRequest*, v1::Resource*) override;
  grpc::Status Delete(grpc::ServerContext*, const v1::DeleteRequest*, v1::Resource*) override;
  grpc::Status Scale(grpc::ServerContext*, const v1::ScaleRequest*, v1::Resource*) override;
  grpc::Status Watch(grpc::ServerContext*, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::WatchEvent>*) override;
  grpc::Status Logs(grpc::ServerContext*, const v1::LogsRequest*,
                    grpc::ServerWriter<v1::LogsChunk>*) override;
  grpc::Status Exec(grpc::ServerContext*,
                    grpc::ServerReaderWriter<v1::ExecOutput, v1::ExecInput>*) override;
  grpc::Status ListDataplane(grpc::ServerContext*, const v1::ListDataplaneRequest*,
                             v1::ListDataplaneResponse*) override;
  grpc::Status TraceHop(grpc::ServerContext*, const v1::TraceHopRequest*,
                        v1::TraceHopResponse*) override;
  grpc::Status Flows(grpc::ServerContext*, const v1::FlowsRequest*,
                     grpc::ServerWriter<v1::FlowsChunk>*) override;
  grpc::Status Version(grpc::ServerContext*, const v1::VersionRequest*,
                       v1::VersionResponse*) override;

  void Record(v1::WatchEvent::Type type, const v1::Resource& object);

  std::string directory_;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::map<Key, v1::Resource> objects_;
  std::vector<v1::WatchEvent> history_;
  std::deque<std::function<void()>> steps_;
  std::unique_ptr<grpc::Status> end_watches_;
  std::unique_ptr<grpc::Status> fail_next_;
  int64_t revision_ = 0;
  bool stopping_ = false;
};

}  // namespace mesh::cli
