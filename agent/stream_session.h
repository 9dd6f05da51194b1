// SPDX-License-Identifier: Apache-2.0
// One call that connects a client with a pod, both ways.
//
// Two threads per call, one for each direction. Input is queued one message at a time: the next one
// is read when the pod has taken the one before.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/pod_stream.h"
#include "common/status.h"
#include "mesh/v1/access.pb.h"

namespace mesh::agent {

inline grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

// What a message of either service says.
inline const v1::ExecInput& DataOf(const v1::ExecInput& message) { return message; }
inline const v1::ExecInput& DataOf(const v1::StreamInput& message) { return message.data(); }
inline void Put(v1::StreamOutput from, v1::ExecOutput* to) {
  *to = std::move(*from.mutable_data());
}
inline void Put(v1::StreamOutput from, v1::StreamOutput* to) { *to = std::move(from); }

struct OpenedStream {
  std::unique_ptr<PodStream> stream;
  bool has_input = false;
  std::optional<v1::TerminalSize> size;
};

template <typename In, typename Out>
class StreamSession : public grpc::ServerBidiReactor<In, Out> {
 public:
  // `open` is given the first message, and blocks.
  using Open = std::function<absl::StatusOr<OpenedStream>(const In& first)>;

  explicit StreamSession(Open open) : open_(std::move(open)) {
    this->StartRead(&in_);
    output_thread_ = std::thread([this] { this->Finish(ToGrpc(Run())); });
  }
  ~StreamSession() override {
    output_thread_.join();
    if (input_thread_.joinable()) input_thread_.join();
  }

  bool done() const {
    absl::MutexLock lock(&mutex_);
    return done_;
  }

  void OnReadDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    if (ok) {
      input_ready_ = true;
    } else {
      input_ended_ = true;
    }
  }
  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
  }
  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (stream_ != nullptr) stream_->Abort();
  }
  void OnDone() override {
    absl::MutexLock lock(&mutex_);
    done_ = true;
  }

 private:
  // On the output thread.
  absl::Status Run() {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &StreamSession::HasInputLocked));
      if (!input_ready_) return absl::InvalidArgumentError("exec: no start message");
    }
    ASSIGN_OR_RETURN(OpenedStream opened, open_(in_));
    PodStream* const stream = opened.stream.get();
    {
      absl::MutexLock lock(&mutex_);
      stream_ = std::move(opened.stream);
      input_ready_ = false;
      if (cancelled_) stream->Abort();
    }
    if (opened.size) stream->Resize(*opened.size).IgnoreError();  // cosmetic
    this->StartRead(&in_);
    input_thread_ = std::thread([this, stream, input = opened.has_input] { Feed(stream, input); });
    absl::Status status = Drain(stream);
    {
      absl::MutexLock lock(&mutex_);
      finished_ = true;
    }
    stream->Abort();
    return status;
  }

  absl::Status Drain(PodStream* stream) {
    while (true) {
      ASSIGN_OR_RETURN(v1::StreamOutput out, stream->Read());
      const bool last = out.data().has_exit_code();
      if (!Send(std::move(out))) return absl::CancelledError("the client went away");
      if (last) return absl::OkStatus();
    }
  }

  bool Send(v1::StreamOutput message) {
    {
      absl::MutexLock lock(&mutex_);
      if (cancelled_) return false;
      writing_ = true;
    }
    Put(std::move(message), &out_);
    this->StartWrite(&out_);
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](bool* writing) { return !*writing; }, &writing_));
    return !cancelled_;
  }

  // On the input thread.
  void Feed(PodStream* stream, bool has_input) {
    bool open = has_input;
    while (true) {
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(this, &StreamSession::HasInputLocked));
        if (finished_ || cancelled_) return;
        if (!input_ready_) break;  // the client has nothing more to send
        input_ready_ = false;
      }
      const v1::ExecInput& input = DataOf(in_);
      absl::Status status;
      if (open && input.has_stdin()) {
        status = stream->WriteStdin(input.stdin());
      } else if (open && input.has_stdin_closed()) {
        status = stream->CloseStdin();
        open = false;
      } else if (input.has_resize()) {
        status = stream->Resize(input.resize());
      }
      if (!status.ok()) return;  // the output side tells why
      {
        absl::MutexLock lock(&mutex_);
        if (finished_ || cancelled_) return;
        this->StartRead(&in_);
      }
    }
    if (open) stream->CloseStdin().IgnoreError();  // the process may have ended
  }

  bool HasInputLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return input_ready_ || input_ended_ || finished_ || cancelled_;
  }

  const Open open_;
  std::thread output_thread_, input_thread_;
  In in_;
  Out out_;
  mutable absl::Mutex mutex_;
  bool input_ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool input_ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<PodStream> stream_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mesh::agent
