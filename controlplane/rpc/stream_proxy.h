// SPDX-License-Identifier: Apache-2.0
// Calls with streams in both directions that meshd passes on to an agent. The first message names
// the pod or the node; neither side outruns the other.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "controlplane/rpc/node_channels.h"
#include "controlplane/rpc/status.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/client_callback.h"
#include "grpcpp/support/server_callback.h"

namespace mesh::controlplane {

// The agent's own errors pass through; that it cannot be reached is said with its name.
grpc::Status NamedStatus(const std::string& node, const grpc::Status& status);

template <typename In, typename Out>
struct StreamRoute {
  // The node, by the first message.
  std::function<absl::StatusOr<NodeChannels::Target>(const In&)> find;
  // Makes the call.
  std::function<void(const NodeChannels::Target&, grpc::ClientContext*,
                     grpc::ClientBidiReactor<In, Out>*)>
      open;
};

// Both directions of one call, each with one message on its way. Begins as the server side; the
// client side exists once the first message has named the node or pod. The server side never
// finishes before the client side is done, and the last to end deletes.
template <typename In, typename Out>
class StreamProxy : public grpc::ServerBidiReactor<In, Out> {
 public:
  explicit StreamProxy(StreamRoute<In, Out> route) : route_(std::move(route)), node_(this) {
    this->StartRead(&input_);
  }

  // ---- from the user
  void OnReadDone(bool ok) override {
    if (!started_) {
      absl::StatusOr<NodeChannels::Target> target =
          ok ? route_.find(input_) : absl::InvalidArgumentError("the call has no first message");
      if (!target.ok()) {
        this->Finish(ToGrpc(target.status()));
        return;
      }
      target_ = *std::move(target);
      // OnCancel looks at started_ under the lock: a cancel before this is caught by Cancelled().
      bool cancelled;
      {
        absl::MutexLock lock(&mutex_);
        started_ = true;
        cancelled = cancelled_;
        route_.open(target_, &context_, &node_);
      }
      // For the writes and reads that this side starts outside of the client's reactions.
      node_.AddHold();
      node_.StartWrite(&input_);
      node_.StartRead(&output_);
      node_.StartCall();
      if (cancelled) context_.TryCancel();
      return;
    }
    {
      // From here to the end of this reaction the client side must not be done.
      absl::MutexLock lock(&mutex_);
      if (input_ended_) return;
      node_.AddHold();
    }
    if (ok) {
      node_.StartWrite(&input_);
    } else {
      node_.StartWritesDone();
      EndInput();
    }
    node_.RemoveHold();
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      node_.StartRead(&output_);
    } else {
      context_.TryCancel();
    }
    node_.RemoveHold();
  }
  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (started_) context_.TryCancel();
  }
  void OnDone() override { delete this; }

 private:
  class Node : public grpc::ClientBidiReactor<In, Out> {
   public:
    explicit Node(StreamProxy* proxy) : proxy_(proxy) {}
    void OnWriteDone(bool ok) override {
      if (ok) {
        proxy_->ReadMoreInput();
      } else {
        proxy_->EndInput();
      }
    }
    void OnReadDone(bool ok) override {
      if (ok) {
        proxy_->ForwardOutput();
      } else {
        // The command has ended: no more input is taken, whatever the user still types.
        proxy_->EndInput();
      }
    }
    void OnDone(const grpc::Status& status) override { proxy_->NodeDone(status); }

   private:
    StreamProxy* proxy_;
  };

  void ReadMoreInput() {
    {
      absl::MutexLock lock(&mutex_);
      if (input_ended_) return;
    }
    this->StartRead(&input_);
  }
  void ForwardOutput() {
    node_.AddHold();
    this->StartWrite(&output_);
  }
  // The input's hold on the client side, given back once.
  void EndInput() {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(input_ended_, true)) return;
    }
    node_.RemoveHold();
  }
  void NodeDone(const grpc::Status& status) { this->Finish(NamedStatus(target_.node, status)); }

  const StreamRoute<In, Out> route_;
  NodeChannels::Target target_;
  grpc::ClientContext context_;
  In input_;
  Out output_;
  Node node_;
  absl::Mutex mutex_;
  bool started_ = false;  // written under the lock, by the only reader in flight
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool input_ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mesh::controlplane
