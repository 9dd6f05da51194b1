// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/node_sync_service.h"

#include <utility>

#include "controlplane/rpc/status.h"
#include "grpcpp/support/server_callback.h"

namespace mesh::controlplane {
namespace {

// gRPC's reactions only post; every operation starts on the loop. The next message is read when the
// one before has been taken, so a fast agent waits instead of filling our memory.
class SyncReactor : public grpc::ServerBidiReactor<v1::AgentMessage, v1::ControlMessage>,
                    public NodeLink {
 public:
  SyncReactor(EventLoop& loop, NodeSessions& sessions) : loop_(loop), sessions_(sessions) {
    loop_.Post([this] {
      id_ = sessions_.Open(this);
      StartRead(&in_);
    });
  }

  void Send(v1::ControlMessage message) override {
    if (finished_) return;
    out_ = std::move(message);
    StartWrite(&out_);
  }
  void Close(const absl::Status& status) override {
    if (std::exchange(finished_, true)) return;
    Finish(ToGrpc(status));
  }

  void OnReadDone(bool ok) override {
    loop_.Post([this, ok] {
      if (!ok) return Close(absl::OkStatus());
      if (finished_) return;
      sessions_.OnMessage(id_, in_);
      if (!finished_) StartRead(&in_);
    });
  }
  void OnWriteDone(bool ok) override {
    loop_.Post([this, ok] {
      if (!ok) return Close(absl::CancelledError("the agent is gone"));
      sessions_.OnSent(id_);
    });
  }
  void OnCancel() override {
    loop_.Post([this] { Close(absl::CancelledError("the agent is gone")); });
  }
  void OnDone() override {
    loop_.Post([this] {
      sessions_.OnClosed(id_);
      delete this;
    });
  }

 private:
  EventLoop& loop_;
  NodeSessions& sessions_;
  NodeSessions::Id id_ = 0;
  bool finished_ = false;
  v1::AgentMessage in_;
  v1::ControlMessage out_;
};

}  // namespace

grpc::ServerBidiReactor<v1::AgentMessage, v1::ControlMessage>* NodeSyncService::Sync(
    grpc::CallbackServerContext*) {
  return new SyncReactor(loop_, sessions_);
}

}  // namespace mesh::controlplane
