// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/probes/grpc_health.h"
#include "agent/probes/probe_client.h"
#include "common/unique_fd.h"

struct ssl_ctx_st;

namespace mesh::agent {

// All HTTP and TCP questions on one thread of its own, over epoll; gRPC ones on gRPC's threads.
// HTTPS is OpenSSL, which gRPC brings anyway: a library for HTTP would cost an idle agent several
// megabytes for one request without a body.
// The destructor drops what is under way: its `done` may be called before it returns, never after.
class NetProbeClient : public ProbeClient {
 public:
  NetProbeClient();
  ~NetProbeClient() override;
  NetProbeClient(const NetProbeClient&) = delete;
  NetProbeClient& operator=(const NetProbeClient&) = delete;

  void Http(const HttpQuestion& question, absl::Duration timeout, Done done) override;
  void Tcp(const std::string& host, uint16_t port, absl::Duration timeout, Done done) override;
  void Grpc(const std::string& host, uint16_t port, const std::string& service,
            absl::Duration timeout, Done done) override;

 private:
  class Session;

  void Post(std::function<void()> task);
  void Run();
  void Begin(std::unique_ptr<Session> session);
  // Goes on with a session as far as it gets without waiting; ends it when it has an answer.
  void Advance(uint64_t id);
  int TimeoutMs() const;

  UniqueFd epoll_, wake_;
  ssl_ctx_st* tls_ = nullptr;  // made with the first question that needs it
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<Session>> sessions_;
  GrpcHealth health_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::function<void()>> posted_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace mesh::agent
