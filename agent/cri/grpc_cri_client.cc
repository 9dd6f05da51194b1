// SPDX-License-Identifier: Apache-2.0
#include "agent/cri/grpc_cri_client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>

#include <set>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/cri/containerd_events.grpc.pb.h"
#include "agent/cri/containerd_task_events.pb.h"
#include "agent/cri/containerd_tasks.grpc.pb.h"
#include "agent/cri/runtime_v1.grpc.pb.h"

namespace mesh::agent {
namespace {

namespace events = ::containerd::services::events::v1;
namespace tasks = ::containerd::services::tasks::v1;

// What the CRI plugin calls its part of containerd.
constexpr char kContainerdNamespace[] = "k8s.io";

// How long the runtime may take. Creation covers the CNI plugin and the kernel under load.
constexpr absl::Duration kReadTimeout = absl::Seconds(10);
constexpr absl::Duration kWriteTimeout = absl::Minutes(2);
constexpr absl::Duration kTaskTimeout = absl::Seconds(10);
constexpr absl::Duration kPullTimeout = absl::Minutes(30);
constexpr absl::Duration kStopMargin = absl::Seconds(30);

absl::Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::Status IgnoreNotFound(absl::Status status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

// Calls in flight, so that the destructor of the client can cancel them and wait until they are
// freed: a context holds the channel, and gRPC joins its callback threads when the last channel
// ends, which must not happen on one of them.
class InFlight {
 public:
  void Add(grpc::ClientContext* context) {
    absl::MutexLock lock(&mutex_);
    contexts_.insert(context);
    ++count_;
    if (closed_) context->TryCancel();
  }
  // Before it is freed: from here on nobody cancels it.
  void Leave(grpc::ClientContext* context) {
    absl::MutexLock lock(&mutex_);
    contexts_.erase(context);
  }
  void Freed() {
    absl::MutexLock lock(&mutex_);
    --count_;
  }
  void CancelAllAndWait() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    for (grpc::ClientContext* context : contexts_) context->TryCancel();
    mutex_.Await(absl::Condition(
        +[](int* count) { return *count == 0; }, &count_));
  }

 private:
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);  // that may be cancelled
  int count_ ABSL_GUARDED_BY(mutex_) = 0;                            // not freed yet
};

// A T with a `context`, counted in `in_flight` from here until it is freed.
template <typename T>
std::shared_ptr<T> Tracked(const std::shared_ptr<InFlight>& in_flight, std::unique_ptr<T> call) {
  in_flight->Add(&call->context);
  return std::shared_ptr<T>(call.release(), [in_flight](T* freed) {
    in_flight->Leave(&freed->context);
    delete freed;
    in_flight->Freed();
  });
}

template <typename Request, typename Response>
struct Call {
  grpc::ClientContext context;
  Request request;
  Response response;
};

class EventReader : public grpc::ClientReadReactor<events::Envelope> {
 public:
  EventReader(std::function<void(const RuntimeEvent&)> on_event, CriClient::DoneStatus ended)
      : on_event_(std::move(on_event)), ended_(std::move(ended)) {
    context.AddMetadata("containerd-namespace", kContainerdNamespace);
    request_.add_filters(R"(namespace==k8s.io,topic=="/tasks/exit")");
    request_.add_filters(R"(namespace==k8s.io,topic=="/tasks/oom")");
  }

  // `self` keeps the reactor alive until OnDone.
  void Begin(events::Events::Stub* stub, std::shared_ptr<EventReader> self) {
    self_ = std::move(self);
    stub->async()->Subscribe(&context, &request_, this);
    StartRead(&envelope_);
    StartCall();
  }
  void Cancel() { context.TryCancel(); }

  grpc::ClientContext context;

  void OnReadDone(bool ok) override {
    if (!ok) return;
    Decode();
    StartRead(&envelope_);
  }
  void OnDone(const grpc::Status& status) override {
    ended_(status.ok() ? absl::UnavailableError("the runtime ended its event stream")
                       : ToStatus(status));
    auto self = std::move(self_);
  }

 private:
  void Decode() {
    const std::string& type = envelope_.event().type_url();
    RuntimeEvent event;
    if (type.ends_with("containerd.events.TaskExit")) {
      containerd::events::TaskExit exit;
      if (!exit.ParseFromString(envelope_.event().value())) return;
      if (exit.id() != exit.container_id()) return;  // a process that exec started
      event.kind = RuntimeEvent::Kind::kExit;
      event.container_id = exit.container_id();
      event.exit_code = static_cast<int>(exit.exit_status());
      event.exited_at = absl::FromUnixSeconds(exit.exited_at().seconds()) +
                        absl::Nanoseconds(exit.exited_at().nanos());
    } else if (type.ends_with("containerd.events.TaskOOM")) {
      containerd::events::TaskOOM oom;
      if (!oom.ParseFromString(envelope_.event().value())) return;
      event.kind = RuntimeEvent::Kind::kOom;
      event.container_id = oom.container_id();
    } else {
      return;
    }
    on_event_(event);
  }

  const std::function<void(const RuntimeEvent&)> on_event_;
  const CriClient::DoneStatus ended_;
  events::SubscribeRequest request_;
  events::Envelope envelope_;
  std::shared_ptr<EventReader> self_;
};

class GrpcCriClient : public CriClient {
 public:
  explicit GrpcCriClient(const std::string& socket_path) {
    grpc::ChannelArguments args;
    args.SetMaxReceiveMessageSize(16 << 20);
    // A restarted runtime answers within 0.15 s: look for it that often.
    args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    // This one is how long a connection may take to be made: a loaded machine is slow to greet.
    args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
    args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    // Go servers refuse the authority that gRPC makes from a socket path.
    args.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    auto channel = grpc::CreateCustomChannel("unix://" + socket_path,
                                             grpc::InsecureChannelCredentials(), args);
    runtime_ = cri::RuntimeService::NewStub(channel);
    images_ = cri::ImageService::NewStub(channel);
    events_ = events::Events::NewStub(channel);
    tasks_ = tasks::Tasks::NewStub(channel);
  }
  ~GrpcCriClient() override { in_flight_->CancelAllAndWait(); }

  void Version(Done<cri::VersionResponse> done) override {
    Runtime(&cri::RuntimeService::Stub::async_interface::Version, cri::VersionRequest(),
            kReadTimeout, Whole<cri::VersionResponse>(std::move(done)));
  }
  void VerboseStatus(Done<cri::StatusResponse> done) override {
    cri::StatusRequest request;
    request.set_verbose(true);
    Runtime(&cri::RuntimeService::Stub::async_interface::Status, request, kReadTimeout,
            Whole<cri::StatusResponse>(std::move(done)));
  }
  void Status(Done<cri::StatusResponse> done) override {
    Runtime(&cri::RuntimeService::Stub::async_interface::Status, cri::StatusRequest(), kReadTimeout,
            Whole<cri::StatusResponse>(std::move(done)));
  }

  void ListSandboxes(const std::string& pod_uid, Done<std::vector<cri::PodSandbox>> done) override {
    cri::ListPodSandboxRequest request;
    if (!pod_uid.empty())
      (*request.mutable_filter()->mutable_label_selector())[kPodUidLabel] = pod_uid;
    Runtime(&cri::RuntimeService::Stub::async_interface::ListPodSandbox, request, kReadTimeout,
            [done](absl::Status status, cri::ListPodSandboxResponse& response) {
              if (!status.ok()) return done(status);
              done(std::vector<cri::PodSandbox>(response.items().begin(), response.items().end()));
            });
  }
  void ListContainers(const std::string& pod_uid, Done<std::vector<cri::Container>> done) override {
    cri::ListContainersRequest request;
    if (!pod_uid.empty())
      (*request.mutable_filter()->mutable_label_selector())[kPodUidLabel] = pod_uid;
    Runtime(&cri::RuntimeService::Stub::async_interface::ListContainers, request, kReadTimeout,
            [done](absl::Status status, cri::ListContainersResponse& response) {
              if (!status.ok()) return done(status);
              done(std::vector<cri::Container>(response.containers().begin(),
                                               response.containers().end()));
            });
  }
  void SandboxStatus(const std::string& id, Done<cri::PodSandboxStatus> done) override {
    cri::PodSandboxStatusRequest request;
    request.set_pod_sandbox_id(id);
    Runtime(&cri::RuntimeService::Stub::async_interface::PodSandboxStatus, request, kReadTimeout,
            [done](absl::Status status, cri::PodSandboxStatusResponse& response) {
              if (!status.ok()) return done(status);
              done(std::move(*response.mutable_status()));
            });
  }
  void ContainerStatus(const std::string& id, Done<cri::ContainerStatus> done) override {
    cri::ContainerStatusRequest request;
    request.set_container_id(id);
    Runtime(&cri::RuntimeService::Stub::async_interface::ContainerStatus, request, kReadTimeout,
            [done](absl::Status status, cri::ContainerStatusResponse& response) {
              if (!status.ok()) return done(status);
              done(std::move(*response.mutable_status()));
            });
  }

  void RunSandbox(const cri::PodSandboxConfig& config, Done<std::string> done) override {
    cri::RunPodSandboxRequest request;
    *request.mutable_config() = config;
    Runtime(&cri::RuntimeService::Stub::async_interface::RunPodSandbox, request, kWriteTimeout,
            [done](absl::Status status, cri::RunPodSandboxResponse& response) {
              if (!status.ok()) return done(status);
              done(response.pod_sandbox_id());
            });
  }
  void StopSandbox(const std::string& id, DoneStatus done) override {
    cri::StopPodSandboxRequest request;
    request.set_pod_sandbox_id(id);
    Runtime(&cri::RuntimeService::Stub::async_interface::StopPodSandbox, request, kWriteTimeout,
            [done](absl::Status status, cri::StopPodSandboxResponse&) {
              done(IgnoreNotFound(std::move(status)));
            });
  }
  void RemoveSandbox(const std::string& id, DoneStatus done) override {
    cri::RemovePodSandboxRequest request;
    request.set_pod_sandbox_id(id);
    Runtime(&cri::RuntimeService::Stub::async_interface::RemovePodSandbox, request, kWriteTimeout,
            [done](absl::Status status, cri::RemovePodSandboxResponse&) {
              done(IgnoreNotFound(std::move(status)));
            });
  }

  void CreateContainer(const cri::CreateContainerRequest& request,
                       Done<std::string> done) override {
    Runtime(&cri::RuntimeService::Stub::async_interface::CreateContainer, request, kWriteTimeout,
            [done](absl::Status status, cri::CreateContainerResponse& response) {
              if (!status.ok()) return done(status);
              done(response.container_id());
            });
  }
  void StartContainer(const std::string& id, DoneStatus done) override {
    cri::StartContainerRequest request;
    request.set_container_id(id);
    Runtime(&cri::RuntimeService::Stub::async_interface::StartContainer, request, kWriteTimeout,
            [done](absl::Status status, cri::StartContainerResponse&) { done(std::move(status)); });
  }
  void StopContainer(const std::string& id, absl::Duration grace, DoneStatus done) override {
    cri::StopContainerRequest request;
    request.set_container_id(id);
    request.set_timeout(
        std::max<int64_t>(0, absl::ToInt64Seconds(absl::Ceil(grace, absl::Seconds(1)))));
    Runtime(&cri::RuntimeService::Stub::async_interface::StopContainer, request,
            absl::Seconds(request.timeout()) + kStopMargin,
            [done](absl::Status status, cri::StopContainerResponse&) {
              done(IgnoreNotFound(std::move(status)));
            });
  }
  void RemoveContainer(const std::string& id, DoneStatus done) override {
    cri::RemoveContainerRequest request;
    request.set_container_id(id);
    Runtime(&cri::RuntimeService::Stub::async_interface::RemoveContainer, request, kWriteTimeout,
            [done](absl::Status status, cri::RemoveContainerResponse&) {
              done(IgnoreNotFound(std::move(status)));
            });
  }
  void EndTask(const std::string& id, DoneStatus done) override {
    tasks::KillRequest kill;
    kill.set_container_id(id);
    kill.set_signal(SIGKILL);
    kill.set_all(true);
    tasks::WaitRequest wait;
    wait.set_container_id(id);
    tasks::DeleteTaskRequest remove;
    remove.set_container_id(id);
    const auto removed = [done](absl::Status status, tasks::DeleteResponse&) {
      done(IgnoreNotFound(std::move(status)));
    };
    const auto ended = [this, remove, removed, done](absl::Status status, tasks::WaitResponse&) {
      if (!status.ok()) return done(IgnoreNotFound(std::move(status)));
      Task(&tasks::Tasks::Stub::async_interface::Delete, remove, removed);
    };
    const auto killed = [this, wait, ended, done](absl::Status status, google::protobuf::Empty&) {
      // Another runtime: what it has started is its own affair.
      if (absl::IsUnimplemented(status)) return done(absl::OkStatus());
      // NOT_FOUND, FAILED_PRECONDITION: no such task, or one that has ended and is still listed.
      if (absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status)) return done(status);
      Task(&tasks::Tasks::Stub::async_interface::Wait, wait, ended);
    };
    Task(&tasks::Tasks::Stub::async_interface::Kill, kill, killed);
  }

  void ImageStatus(const std::string& image, Done<std::optional<cri::Image>> done) override {
    cri::ImageStatusRequest request;
    request.mutable_image()->set_image(image);
    Image(&cri::ImageService::Stub::async_interface::ImageStatus, request, kReadTimeout,
          [done](absl::Status status, cri::ImageStatusResponse& response) {
            if (!status.ok()) return done(status);
            if (!response.has_image()) return done(std::optional<cri::Image>());
            done(std::optional<cri::Image>(std::move(*response.mutable_image())));
          });
  }
  Cancel PullImage(const std::string& image, const cri::PodSandboxConfig& sandbox,
                   const cri::AuthConfig& auth, Done<std::string> done) override {
    cri::PullImageRequest request;
    request.mutable_image()->set_image(image);
    if (!auth.username().empty()) *request.mutable_auth() = auth;
    *request.mutable_sandbox_config() = sandbox;
    return Image(&cri::ImageService::Stub::async_interface::PullImage, request, kPullTimeout,
                 [done](absl::Status status, cri::PullImageResponse& response) {
                   if (!status.ok()) return done(status);
                   done(response.image_ref());
                 });
  }

  void ExecSync(const std::string& id, const std::vector<std::string>& command,
                absl::Duration timeout, Done<cri::ExecSyncResponse> done) override {
    cri::ExecSyncRequest request;
    request.set_container_id(id);
    for (const std::string& word : command) request.add_cmd(word);
    request.set_timeout(
        std::max<int64_t>(1, absl::ToInt64Seconds(absl::Ceil(timeout, absl::Seconds(1)))));
    Runtime(&cri::RuntimeService::Stub::async_interface::ExecSync, request,
            absl::Seconds(request.timeout()) + kReadTimeout,
            Whole<cri::ExecSyncResponse>(std::move(done)));
  }

  void Exec(const cri::ExecRequest& request, Done<std::string> done) override {
    Runtime(&cri::RuntimeService::Stub::async_interface::Exec, request, kReadTimeout,
            [done](absl::Status status, cri::ExecResponse& response) {
              if (!status.ok()) return done(status);
              done(response.url());
            });
  }

  void Attach(const cri::AttachRequest& request, Done<std::string> done) override {
    Runtime(&cri::RuntimeService::Stub::async_interface::Attach, request, kReadTimeout,
            [done](absl::Status status, cri::AttachResponse& response) {
              if (!status.ok()) return done(status);
              done(response.url());
            });
  }
  void ReopenLog(const std::string& container_id, DoneStatus done) override {
    cri::ReopenContainerLogRequest request;
    request.set_container_id(container_id);
    Runtime(
        &cri::RuntimeService::Stub::async_interface::ReopenContainerLog, request, kReadTimeout,
        [done](absl::Status status, cri::ReopenContainerLogResponse&) { done(std::move(status)); });
  }

  void ListImages(Done<std::vector<cri::Image>> done) override {
    Image(&cri::ImageService::Stub::async_interface::ListImages, cri::ListImagesRequest(),
          kReadTimeout, [done](absl::Status status, cri::ListImagesResponse& response) {
            if (!status.ok()) return done(status);
            done(std::vector<cri::Image>(response.images().begin(), response.images().end()));
          });
  }
  void RemoveImage(const std::string& id, DoneStatus done) override {
    cri::RemoveImageRequest request;
    request.mutable_image()->set_image(id);
    Image(&cri::ImageService::Stub::async_interface::RemoveImage, request, kWriteTimeout,
          [done](absl::Status status, cri::RemoveImageResponse&) {
            done(IgnoreNotFound(std::move(status)));
          });
  }
  void ImageFolder(Done<std::string> done) override {
    Image(&cri::ImageService::Stub::async_interface::ImageFsInfo, cri::ImageFsInfoRequest(),
          kReadTimeout, [done](absl::Status status, cri::ImageFsInfoResponse& response) {
            if (!status.ok()) return done(status);
            if (response.image_filesystems().empty())
              return done(absl::NotFoundError("the runtime does not say where its images are"));
            done(response.image_filesystems(0).fs_id().mountpoint());
          });
  }

  Cancel Subscribe(std::function<void(const RuntimeEvent&)> on_event, DoneStatus ended) override {
    auto reader =
        Tracked(in_flight_, std::make_unique<EventReader>(std::move(on_event), std::move(ended)));
    reader->Begin(events_.get(), reader);
    return [weak = std::weak_ptr<EventReader>(reader)] {
      if (auto alive = weak.lock()) alive->Cancel();
    };
  }

 private:
  template <typename Interface, typename Request, typename Response>
  using Method = void (Interface::*)(grpc::ClientContext*, const Request*, Response*,
                                     std::function<void(grpc::Status)>);

  template <typename Response>
  static std::function<void(absl::Status, Response&)> Whole(Done<Response> done) {
    return [done = std::move(done)](absl::Status status, Response& response) {
      if (!status.ok()) return done(status);
      done(std::move(response));
    };
  }

  template <typename Interface, typename Request, typename Response, typename Then>
  Cancel Start(Interface* target, Method<Interface, Request, Response> method,
               const Request& request, absl::Duration timeout, Then then,
               const char* containerd_namespace = nullptr) {
    auto call = Tracked(in_flight_, std::make_unique<Call<Request, Response>>());
    call->request = request;
    if (containerd_namespace != nullptr) {
      call->context.AddMetadata("containerd-namespace", containerd_namespace);
    }
    call->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    (target->*method)(&call->context, &call->request, &call->response,
                      [call, then = std::move(then)](grpc::Status status) {
                        then(ToStatus(status), call->response);
                      });
    return [weak = std::weak_ptr<Call<Request, Response>>(call)] {
      if (auto alive = weak.lock()) alive->context.TryCancel();
    };
  }
  template <typename Interface, typename Request, typename Response, typename Then>
  Cancel Runtime(Method<Interface, Request, Response> method, const Request& request,
                 absl::Duration timeout, Then then) {
    return Start<Interface, Request, Response>(runtime_->async(), method, request, timeout,
                                               std::move(then));
  }
  template <typename Interface, typename Request, typename Response, typename Then>
  void Task(Method<Interface, Request, Response> method, const Request& request, Then then) {
    Start<Interface, Request, Response>(tasks_->async(), method, request, kTaskTimeout,
                                        std::move(then), kContainerdNamespace);
  }
  template <typename Interface, typename Request, typename Response, typename Then>
  Cancel Image(Method<Interface, Request, Response> method, const Request& request,
               absl::Duration timeout, Then then) {
    return Start<Interface, Request, Response>(images_->async(), method, request, timeout,
                                               std::move(then));
  }

  const std::shared_ptr<InFlight> in_flight_ = std::make_shared<InFlight>();
  std::unique_ptr<cri::RuntimeService::Stub> runtime_;
  std::unique_ptr<cri::ImageService::Stub> images_;
  std::unique_ptr<events::Events::Stub> events_;
  std::unique_ptr<tasks::Tasks::Stub> tasks_;
};

}  // namespace

std::unique_ptr<CriClient> NewGrpcCriClient(const std::string& socket_path) {
  return std::make_unique<GrpcCriClient>(socket_path);
}

}  // namespace mesh::agent
