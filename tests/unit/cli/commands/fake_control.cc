// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/cli/commands/fake_control.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/time/clock.h"
#include "api/schema/schema.h"
#include "api/schema/selector.h"
#include "common/check.h"

namespace mesh::cli {
namespace {

grpc::Status NotFound(const v1::ObjectName& name) {
  return {grpc::StatusCode::NOT_FOUND,
          schema::PluralWithGroup(name.kind()) + " \"" + name.name() + "\" not found"};
}

}  // namespace

FakeControl::FakeControl() {
  char path[] = "/tmp/mesh-cli-test-XXXXXX";
  MESH_CHECK(mkdtemp(path) != nullptr) << "no directory for the socket";
  directory_ = path;
  Start();
}

FakeControl::~FakeControl() {
  Stop();
  std::filesystem::remove_all(directory_);
}

void FakeControl::Start() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = false;
  }
  grpc::ServerBuilder builder;
  builder.AddListeningPort("unix:" + directory_ + "/meshd.sock", grpc::InsecureServerCredentials());
  builder.RegisterService(this);
  builder.RegisterService(&access);
  server_ = builder.BuildAndStart();
  MESH_CHECK(server_ != nullptr) << "cannot listen on " << address();
}

void FakeControl::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
  }
  if (server_) server_->Shutdown(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
  server_.reset();
}

void FakeControl::Record(v1::WatchEvent::Type type, const v1::Resource& object) {
  v1::WatchEvent event;
  event.set_type(type);
  *event.mutable_resource() = object;
  event.set_revision(revision_);
  history_.push_back(std::move(event));
  changed_.SignalAll();
}

void FakeControl::Put(const v1::Resource& object) {
  absl::MutexLock lock(&mutex_);
  const v1::ObjectMeta& meta = schema::MetaOf(object);
  const Key key{schema::KindOf(object), meta.namespace_(), meta.name()};
  const bool known = objects_.contains(key);
  ++revision_;
  v1::Resource& stored = objects_[key] = object;
  schema::MutableMetaOf(&stored)->set_resource_version(std::to_string(revision_));
  Record(known ? v1::WatchEvent::MODIFIED : v1::WatchEvent::ADDED, stored);
}

void FakeControl::Remove(v1::Kind kind, const std::string& ns, const std::string& name) {
  absl::MutexLock lock(&mutex_);
  auto it = objects_.find({kind, ns, name});
  MESH_CHECK(it != objects_.end()) << "no " << name;
  ++revision_;
  const v1::Resource last = it->second;
  objects_.erase(it);
  Record(v1::WatchEvent::DELETED, last);
}

void FakeControl::OnWatch(std::function<void()> step) {
  absl::MutexLock lock(&mutex_);
  steps_.push_back(std::move(step));
}

void FakeControl::EndWatches(grpc::Status status) {
  absl::MutexLock lock(&mutex_);
  end_watches_ = std::make_unique<grpc::Status>(std::move(status));
}

void FakeControl::FailNextWatch(grpc::Status status) {
  absl::MutexLock lock(&mutex_);
  fail_next_ = std::make_unique<grpc::Status>(std::move(status));
}

grpc::Status FakeControl::Apply(grpc::ServerContext*, const v1::ApplyRequest* request,
                                v1::ApplyResponse* response) {
  apply_request = *request;
  for (const v1::Resource& resource : request->resources()) {
    v1::ApplyResult* result = response->add_results();
    result->set_outcome(v1::ApplyResult::CREATED);
    *result->mutable_resource() = resource;
  }
  return apply_status;
}

grpc::Status FakeControl::Get(grpc::ServerContext*, const v1::GetRequest* request,
                              v1::Resource* response) {
  absl::MutexLock lock(&mutex_);
  const v1::ObjectName& name = request->name();
  auto it = objects_.find({name.kind(), name.namespace_(), name.name()});
  if (it == objects_.end()) return NotFound(name);
  *response = it->second;
  return grpc::Status::OK;
}

grpc::Status FakeControl::List(grpc::ServerContext*, const v1::ListRequest* request,
                               v1::ListResponse* response) {
  absl::MutexLock lock(&mutex_);
  ++lists;
  auto selector = schema::Selector::Parse(request->label_selector());
  if (!selector.ok()) {
    return {grpc::StatusCode::INVALID_ARGUMENT, std::string(selector.status().message())};
  }
  for (const auto& [key, object] : objects_) {
    if (std::get<0>(key) != request->kind()) continue;
    if (!request->namespace_().empty() && std::get<1>(key) != request->namespace_()) continue;
    if (selector->Matches(schema::MetaOf(object).labels())) *response->add_items() = object;
  }
  response->set_revision(revision_);
  return grpc::Status::OK;
}

grpc::Status FakeControl::Update(grpc::ServerContext*, const v1::UpdateRequest* request,
                                 v1::Resource* response) {
  update_request = *request;
  if (!update_status.ok()) return std::exchange(update_status, grpc::Status::OK);
  *response = request->resource();
  Put(request->resource());
  return grpc::Status::OK;
}

grpc::Status FakeControl::Delete(grpc::ServerContext*, const v1::DeleteRequest* request,
                                 v1::Resource* response) {
  const v1::ObjectName& name = request->name();
  {
    absl::MutexLock lock(&mutex_);
    deletes.push_back(*request);
    changed_.SignalAll();
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (deletes.size() < deletes_together) {
      if (changed_.WaitWithDeadline(&mutex_, deadline)) {
        return {grpc::StatusCode::INTERNAL, "the others do not come"};
      }
    }
    auto it = objects_.find({name.kind(), name.namespace_(), name.name()});
    if (it == objects_.end()) return NotFound(name);
    *response = it->second;
  }
  if (remove_on_delete) Remove(name.kind(), name.namespace_(), name.name());
  return grpc::Status::OK;
}

grpc::Status FakeControl::Scale(grpc::ServerContext*, const v1::ScaleRequest* request,
                                v1::Resource* response) {
  v1::Resource object;
  {
    absl::MutexLock lock(&mutex_);
    const v1::ObjectName& name = request->name();
    auto it = objects_.find({name.kind(), name.namespace_(), name.name()});
    if (it == objects_.end()) return NotFound(name);
    object = it->second;
  }
  if (request->has_current_replicas() &&
      request->current_replicas() != object.deployment().spec().replicas()) {
    return {grpc::StatusCode::ABORTED, "expected replicas to be 7, was 1"};
  }
  object.mutable_deployment()->mutable_spec()->set_replicas(request->replicas());
  Put(object);
  *response = object;
  return grpc::Status::OK;
}

grpc::Status FakeControl::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                grpc::ServerWriter<v1::WatchEvent>* writer) {
  std::function<void()> step;
  {
    absl::MutexLock lock(&mutex_);
    watches.push_back(*request);
    if (!steps_.empty()) {
      step = std::move(steps_.front());
      steps_.pop_front();
    }
  }
  if (step) step();
  size_t next = 0;
  absl::MutexLock lock(&mutex_);
  if (fail_next_) return *std::exchange(fail_next_, nullptr);
  while (!context->IsCancelled() && !stopping_) {
    for (; next < history_.size(); ++next) {
      const v1::WatchEvent& event = history_[next];
      const v1::ObjectMeta& meta = schema::MetaOf(event.resource());
      if (event.revision() <= request->from_revision()) continue;
      if (schema::KindOf(event.resource()) != request->kind()) continue;
      if (!request->namespace_().empty() && meta.namespace_() != request->namespace_()) continue;
      if (!request->name().empty() && meta.name() != request->name()) continue;
      if (!writer->Write(event)) return grpc::Status::OK;
    }
    if (end_watches_) return *end_watches_;
    // Cancellation is not signalled here: look for it now and then.
    changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(20));
  }
  return stopping_ ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "shutting down")
                   : grpc::Status::CANCELLED;
}

grpc::Status FakeControl::Logs(grpc::ServerContext*, const v1::LogsRequest* request,
                               grpc::ServerWriter<v1::LogsChunk>* writer) {
  absl::MutexLock lock(&mutex_);
  logs.push_back(*request);
  v1::LogsChunk chunk;
  chunk.set_data(log_texts[request->pod()]);
  writer->Write(chunk);
  return grpc::Status::OK;
}

grpc::Status FakeControl::Exec(grpc::ServerContext*,
                               grpc::ServerReaderWriter<v1::ExecOutput, v1::ExecInput>* stream) {
  v1::ExecInput input;
  while (stream->Read(&input)) {
    exec_inputs.push_back(input);
    if (!exec_reads_all || input.stdin_closed()) break;
  }
  if (!exec_status.ok()) return exec_status;
  for (const v1::ExecOutput& output : exec_outputs) stream->Write(output);
  return grpc::Status::OK;
}

grpc::Status FakeControl::ListDataplane(grpc::ServerContext*,
                                        const v1::ListDataplaneRequest* request,
                                        v1::ListDataplaneResponse* response) {
  dataplane_request = *request;
  *response = dataplane;
  return grpc::Status::OK;
}

grpc::Status FakeControl::TraceHop(grpc::ServerContext*, const v1::TraceHopRequest* request,
                                   v1::TraceHopResponse* response) {
  hop_requests.push_back(*request);
  *response = hops[request->node()];
  return grpc::Status::OK;
}

grpc::Status FakeControl::Flows(grpc::ServerContext*, const v1::FlowsRequest* request,
                                grpc::ServerWriter<v1::FlowsChunk>* writer) {
  flows_request = *request;
  ++flows_asked;
  for (const v1::FlowsChunk& chunk : flow_chunks) writer->Write(chunk);
  return grpc::Status::OK;
}

namespace {

// The node's entry; a node without one does not answer.
template <typename Response>
grpc::Status AnswerOf(const std::map<std::string, Response>& by_node, const std::string& node,
                      Response* response) {
  const auto it = by_node.find(node);
  if (it == by_node.end())
    return grpc::Status(grpc::StatusCode::UNAVAILABLE, "its agent does not answer");
  *response = it->second;
  return grpc::Status::OK;
}

}  // namespace

grpc::Status FakeAccess::Stream(
    grpc::ServerContext*, grpc::ServerReaderWriter<v1::StreamOutput, v1::StreamInput>* stream) {
  v1::StreamInput input;
  if (stream->Read(&input)) streams.push_back(input.start());
  for (const v1::StreamOutput& output : stream_outputs) stream->Write(output);
  return grpc::Status::OK;
}

grpc::Status FakeAccess::Stats(grpc::ServerContext*, const v1::StatsRequest* request,
                               v1::StatsResponse* response) {
  return AnswerOf(stats, request->node(), response);
}

grpc::Status FakeAccess::ListImages(grpc::ServerContext*, const v1::ListImagesRequest* request,
                                    v1::ListImagesResponse* response) {
  return AnswerOf(images, request->node(), response);
}

grpc::Status FakeAccess::RemoveImage(grpc::ServerContext*, const v1::RemoveImageRequest* request,
                                     v1::RemoveImageResponse* response) {
  for (const v1::NodeImage& image : images[request->node()].images()) {
    for (const std::string& tag : image.tags()) {
      if (tag != request->image()) continue;
      *response->mutable_removed() = image.tags();
      return grpc::Status::OK;
    }
  }
  return grpc::Status(grpc::StatusCode::NOT_FOUND, "image not found");
}

grpc::Status FakeAccess::LoadImage(
    grpc::ServerContext*,
    grpc::ServerReaderWriter<v1::LoadImageOutput, v1::LoadImageInput>* stream) {
  v1::LoadImageInput input;
  stream->Read(&input);
  while (stream->Read(&input) && !input.end()) loaded += input.data();
  v1::LoadImageOutput output;
  output.add_images("loaded:v1");
  stream->Write(output);
  return grpc::Status::OK;
}

grpc::Status FakeControl::Version(grpc::ServerContext*, const v1::VersionRequest*,
                                  v1::VersionResponse* response) {
  response->set_version("v9.8.7");
  response->set_revision(revision_);
  return grpc::Status::OK;
}

}  // namespace mesh::cli
