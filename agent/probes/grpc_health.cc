// SPDX-License-Identifier: Apache-2.0
#include "agent/probes/grpc_health.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/probes/health_v1.grpc.pb.h"

namespace mesh::agent {
namespace {

namespace health = ::grpc::health::v1;

struct Call {
  grpc::ClientContext context;
  health::HealthCheckRequest request;
  health::HealthCheckResponse response;
  std::unique_ptr<health::Health::Stub> stub;
  bool over = false;
};

// kubelet's words.
ProbeAnswer ToAnswer(const grpc::Status& status, const health::HealthCheckResponse& response,
                     const std::string& address, absl::Duration timeout) {
  const std::string limit = absl::FormatDuration(timeout);
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      if (response.status() == health::HealthCheckResponse::SERVING) return {.ok = true};
      return {.text =
                  fmt::format("service unhealthy (responded with \"{}\")",
                              health::HealthCheckResponse::ServingStatus_Name(response.status()))};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {.text = fmt::format("this server does not implement the grpc health protocol "
                                  "(grpc.health.v1.Health): {}",
                                  status.error_message())};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {.text = fmt::format("timeout: health rpc of \"{}\" did not complete within {}",
                                  address, limit)};
    case grpc::StatusCode::UNAVAILABLE:
      return {.text = fmt::format("failed to connect service \"{}\": {}", address,
                                  status.error_message())};
    default:
      return {.text = fmt::format("health rpc probe failed: {}", status.error_message())};
  }
}

}  // namespace

struct GrpcHealth::Shared {
  absl::Mutex mutex;
  std::list<std::unique_ptr<Call>> calls ABSL_GUARDED_BY(mutex);
  int running ABSL_GUARDED_BY(mutex) = 0;
};

GrpcHealth::GrpcHealth() : shared_(std::make_shared<Shared>()) {}

GrpcHealth::~GrpcHealth() {
  {
    absl::MutexLock lock(&shared_->mutex);
    for (const auto& call : shared_->calls) call->context.TryCancel();
    shared_->mutex.Await(absl::Condition(
        +[](int* running) { return *running == 0; }, &shared_->running));
  }
  Sweep();
}

void GrpcHealth::Sweep() {
  std::list<std::unique_ptr<Call>> over;  // freed after the lock
  absl::MutexLock lock(&shared_->mutex);
  for (auto it = shared_->calls.begin(); it != shared_->calls.end();) {
    const auto next = std::next(it);
    if ((*it)->over) over.splice(over.end(), shared_->calls, it);
    it = next;
  }
}

void GrpcHealth::Check(const std::string& address, const std::string& service,
                       absl::Duration timeout, ProbeClient::Done done) {
  Sweep();
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto owned = std::make_unique<Call>();
  Call* call = owned.get();
  call->stub = health::Health::NewStub(
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args));
  call->request.set_service(service);
  call->context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  {
    absl::MutexLock lock(&shared_->mutex);
    shared_->calls.push_back(std::move(owned));
    ++shared_->running;
  }
  call->stub->async()->Check(
      &call->context, &call->request, &call->response,
      [shared = shared_, call, address, timeout, done = std::move(done)](grpc::Status status) {
        done(ToAnswer(status, call->response, address, timeout));
        absl::MutexLock lock(&shared->mutex);
        call->over = true;
        --shared->running;
      });
}

}  // namespace mesh::agent
