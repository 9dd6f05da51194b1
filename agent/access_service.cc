// SPDX-License-Identifier: Apache-2.0
#include "agent/access_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <list>
#include <optional>
#include <set>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "agent/container_use.h"
#include "agent/node_images.h"
#include "agent/pod_stream.h"
#include "agent/stream_session.h"
#include "common/status.h"
#include "mesh/v1/access.grpc.pb.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kMeasureMax = absl::Seconds(10);
constexpr absl::Duration kMeasureStep = absl::Milliseconds(100);  // a client may go meanwhile
constexpr char kProc[] = "/proc";
constexpr char kCgroups[] = "/sys/fs/cgroup";

using Session = StreamSession<v1::StreamInput, v1::StreamOutput>;

class Service : public v1::Access::WithCallbackMethod_Stream<v1::Access::Service> {
 public:
  explicit Service(AccessHooks hooks)
      : hooks_(std::move(hooks)), images_(hooks_.cri, hooks_.directory, hooks_.import_images) {}

  grpc::ServerBidiReactor<v1::StreamInput, v1::StreamOutput>* Stream(
      grpc::CallbackServerContext*) override {
    absl::MutexLock lock(&mutex_);
    sessions_.remove_if([](const auto& session) { return session->done(); });
    sessions_.push_back(
        std::make_unique<Session>([this](const v1::StreamInput& first) { return Open(first); }));
    return sessions_.back().get();
  }

  grpc::Status Stats(grpc::ServerContext* context, const v1::StatsRequest* request,
                     v1::StatsResponse* response) override {
    auto answer = Measure(*request, [context] { return context->IsCancelled(); });
    if (answer.ok()) *response = *std::move(answer);
    return ToGrpc(answer.status());
  }

  grpc::Status ListImages(grpc::ServerContext*, const v1::ListImagesRequest*,
                          v1::ListImagesResponse* response) override {
    auto answer = images_.List();
    if (answer.ok()) *response = *std::move(answer);
    return ToGrpc(answer.status());
  }

  grpc::Status RemoveImage(grpc::ServerContext*, const v1::RemoveImageRequest* request,
                           v1::RemoveImageResponse* response) override {
    auto answer = images_.Remove(request->image());
    if (answer.ok()) *response = *std::move(answer);
    return ToGrpc(answer.status());
  }

  grpc::Status LoadImage(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::LoadImageOutput, v1::LoadImageInput>* stream) override {
    v1::LoadImageInput input;
    if (!stream->Read(&input) || input.input_case() != v1::LoadImageInput::kNode) {
      return ToGrpc(absl::InvalidArgumentError("load: the first message must be the node"));
    }
    auto loaded = images_.Load([&]() -> absl::StatusOr<std::optional<std::string>> {
      if (!stream->Read(&input)) return absl::CancelledError("the archive broke off");
      if (input.end()) return std::nullopt;
      return std::move(*input.mutable_data());
    });
    if (loaded.ok()) stream->Write(*loaded);
    return ToGrpc(loaded.status());
  }

 private:
  absl::StatusOr<OpenedStream> Open(const v1::StreamInput& first) {
    if (!first.has_start()) {
      return absl::InvalidArgumentError("stream: the first message must be the start");
    }
    const v1::StreamStart start = first.start();
    return start.port() == 0 ? Attach(start) : Dial(start);
  }

  absl::StatusOr<OpenedStream> Dial(const v1::StreamStart& start) {
    if (start.port() > 65535) {
      return absl::InvalidArgumentError(fmt::format("port {} is not one of TCP", start.port()));
    }
    const auto directory = hooks_.directory();
    const auto it = directory->find(start.namespace_() + "/" + start.pod());
    if (it == directory->end()) {
      return absl::NotFoundError(fmt::format("pods \"{}\" not found", start.pod()));
    }
    ASSIGN_OR_RETURN(UniqueFd fd, hooks_.dial(start.namespace_(), start.pod(), it->second,
                                              static_cast<uint16_t>(start.port())));
    OpenedStream out;
    out.stream = ConnectionStream(std::move(fd));
    out.has_input = true;
    return out;
  }

  absl::StatusOr<OpenedStream> Attach(const v1::StreamStart& start) {
    ASSIGN_OR_RETURN(
        const ContainerEntry container,
        FindRunning(*hooks_.directory(), start.namespace_(), start.pod(), start.container()));
    if (start.stdin() && !container.stdin) {
      return absl::InvalidArgumentError(
          fmt::format("container {} of pod {} reads no standard input: it has no `stdin: true`",
                      container.name, start.pod()));
    }
    cri::AttachRequest request;
    request.set_container_id(container.id);
    request.set_tty(container.tty);
    request.set_stdin(start.stdin());
    request.set_stdout(true);
    request.set_stderr(!container.tty);
    absl::Notification answered;
    absl::StatusOr<std::string> url;
    hooks_.cri->Attach(request, [&](absl::StatusOr<std::string> answer) {
      url = std::move(answer);
      answered.Notify();
    });
    answered.WaitForNotification();
    RETURN_IF_ERROR(url.status());
    OpenedStream out;
    ASSIGN_OR_RETURN(out.stream, OpenProcess(*url, container.tty, start.stdin()));
    out.has_input = start.stdin();
    if (container.tty && start.has_size()) out.size = start.size();
    return out;
  }

  // What is used now, and of processors meanwhile.
  absl::StatusOr<v1::StatsResponse> Measure(const v1::StatsRequest& request,
                                            const std::function<bool()>& cancelled) {
    const auto directory = hooks_.directory();
    std::set<std::string> ids;
    for (const auto& [name, pod] : *directory) {
      for (const ContainerEntry& container : pod.containers) {
        if (container.running) ids.insert(container.id);
      }
    }
    const absl::Time begun = absl::Now();
    ASSIGN_OR_RETURN(const NodeUse node_before, ReadNodeUse(kProc));
    const auto before = ReadContainerUse(kCgroups, ids);
    const absl::Time until =
        begun + std::min(absl::Milliseconds(request.measure_ms()), kMeasureMax);
    while (absl::Now() < until && !cancelled())
      absl::SleepFor(std::min(kMeasureStep, until - absl::Now()));
    const absl::Duration between = absl::Now() - begun;
    ASSIGN_OR_RETURN(const NodeUse node, ReadNodeUse(kProc));
    const auto after = ReadContainerUse(kCgroups, ids);
    v1::StatsResponse out;
    out.set_node(request.node());
    out.set_cpu_milli(CpuMilli(node_before.cpu_ns, node.cpu_ns, between));
    out.set_memory_bytes(node.memory_bytes);
    out.set_cpu_capacity_milli(uint64_t{node.cpus} * 1000);
    out.set_memory_capacity_bytes(node.memory_capacity_bytes);
    for (const auto& [name, pod] : *directory) {
      for (const ContainerEntry& container : pod.containers) {
        const auto use = after.find(container.id);
        const auto first = before.find(container.id);
        if (use == after.end() || first == before.end()) continue;
        v1::ContainerUse& row = *out.add_containers();
        row.set_namespace_(name.substr(0, name.find('/')));
        row.set_pod(name.substr(name.find('/') + 1));
        row.set_container(container.name);
        row.set_cpu_milli(CpuMilli(first->second.cpu_ns, use->second.cpu_ns, between));
        row.set_memory_bytes(use->second.memory_bytes);
      }
    }
    return out;
  }

  const AccessHooks hooks_;
  const NodeImages images_;
  absl::Mutex mutex_;
  std::list<std::unique_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<grpc::Service> NewAccessService(AccessHooks hooks) {
  return std::make_unique<Service>(std::move(hooks));
}

}  // namespace mesh::agent
