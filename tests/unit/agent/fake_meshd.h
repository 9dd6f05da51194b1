// SPDX-License-Identifier: Apache-2.0
// The other end of the node-sync stream, for tests of the agent.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "mesh/v1/node_sync.grpc.pb.h"

namespace mesh::agent {

inline constexpr absl::Duration kMeshdDeadline = absl::Seconds(10);

// Answers each Hello with a Welcome and one full update, and keeps what it hears.
class FakeMeshd : public v1::NodeSync::Service {
 public:
  explicit FakeMeshd(int port = 0) {
    first_update_.set_revision(7);
    first_update_.set_full(true);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeMeshd() override {
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_->Wait();
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int port() const { return port_; }

  // What the next stream begins with; revision 7 with nothing in it at first.
  void SetFirstUpdate(const v1::NodeUpdate& update) {
    absl::MutexLock lock(&mutex_);
    first_update_ = update;
  }

  // On the stream that is open. REQUIRES: a Hello was heard on it.
  void Send(const v1::ControlMessage& message) {
    absl::MutexLock lock(&stream_mutex_);
    ASSERT_NE(stream_, nullptr);
    stream_->Write(message);
  }

  // "hello n1", "ack 7", "pod u1 Running", "event Started", "ready True", in order of arrival.
  bool Heard(const std::string& what, int times = 1) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return std::count(heard_.begin(), heard_.end(), what) >= times;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kMeshdDeadline);
  }
  std::vector<std::string> heard() {
    absl::MutexLock lock(&mutex_);
    return heard_;
  }
  int Count(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    return static_cast<int>(std::count(heard_.begin(), heard_.end(), what));
  }

  grpc::Status Sync(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ControlMessage, v1::AgentMessage>* stream) override {
    v1::AgentMessage message;
    while (stream->Read(&message)) {
      Note(message);
      if (!message.has_hello()) continue;
      v1::ControlMessage welcome;
      welcome.mutable_welcome()->set_node_name(message.hello().node_name());
      welcome.mutable_welcome()->set_heartbeat_interval_ms(20);
      stream->Write(welcome);
      v1::ControlMessage update;
      {
        absl::MutexLock lock(&mutex_);
        *update.mutable_update() = first_update_;
      }
      stream->Write(update);
      absl::MutexLock lock(&stream_mutex_);
      stream_ = stream;
    }
    absl::MutexLock lock(&stream_mutex_);
    if (stream_ == stream) stream_ = nullptr;
    return grpc::Status::OK;
  }

 private:
  void Note(const v1::AgentMessage& message) {
    absl::MutexLock lock(&mutex_);
    if (message.has_hello()) heard_.push_back("hello " + message.hello().node_name());
    if (message.has_ack()) heard_.push_back("ack " + std::to_string(message.ack().revision()));
    if (message.has_pod()) {
      heard_.push_back("pod " + message.pod().uid() + " " + message.pod().status().phase());
    }
    if (message.has_event()) {
      const std::string& service = message.event().service();
      const std::string& policy = message.event().network_policy();
      heard_.push_back("event " + message.event().reason() +
                       (service.empty() ? "" : " service " + service) +
                       (policy.empty() ? "" : " networkpolicy " + policy));
    }
    if (message.has_heartbeat()) {
      heard_.push_back("heartbeat");
      for (const v1::Condition& condition : message.heartbeat().conditions()) {
        heard_.push_back(condition.type() + " " + condition.status());
      }
    }
  }

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  absl::Mutex stream_mutex_;
  grpc::ServerReaderWriter<v1::ControlMessage, v1::AgentMessage>* stream_
      ABSL_GUARDED_BY(stream_mutex_) = nullptr;
  absl::Mutex mutex_;
  std::vector<std::string> heard_ ABSL_GUARDED_BY(mutex_);
  v1::NodeUpdate first_update_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mesh::agent
