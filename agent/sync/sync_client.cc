// SPDX-License-Identifier: Apache-2.0
#include "agent/sync/sync_client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <utility>

#include "absl/synchronization/notification.h"
#include "common/check.h"
#include "common/log.h"
#include "mesh/v1/node_sync.grpc.pb.h"

namespace mesh::agent {
namespace {

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server, absl::Duration keepalive) {
  grpc::ChannelArguments args;
  const int ms = static_cast<int>(absl::ToInt64Milliseconds(keepalive));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, ms);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, ms);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // The back-off is ours, so no connection state is shared between tries.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetMaxReceiveMessageSize(64 << 20);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

// One try. Reactions only post; everything that starts an operation runs on the loop, under a hold
// that lives until Close().
class SyncClient::Stream : public grpc::ClientBidiReactor<v1::AgentMessage, v1::ControlMessage>,
                           public std::enable_shared_from_this<Stream> {
 public:
  Stream(SyncClient* client, EventLoop* loop, const std::string& server, absl::Duration keepalive)
      : client_(client),
        loop_(loop),
        stub_(v1::NodeSync::NewStub(MakeChannel(server, keepalive))) {}

  void Begin() {
    self_ = shared_from_this();
    stub_->async()->Sync(&context_, this);
    AddHold();
    StartRead(&in_);
    StartCall();
  }
  // Nothing happens once closed: OnEnded() follows.
  void Write(v1::AgentMessage message) {
    if (closed_) return;
    out_ = std::move(message);
    StartWrite(&out_);
  }
  // No operation may be started afterwards. Idempotent.
  void Close() {
    if (std::exchange(closed_, true)) return;
    context_.TryCancel();
    RemoveHold();
  }
  // The owner goes away: nothing is reported any more.
  void Detach() {
    client_ = nullptr;
    Close();
  }
  void AwaitDone() { done_->WaitForNotification(); }

  void OnReadDone(bool ok) override {
    auto self = shared_from_this();
    if (!ok) return loop_->Post([self] { self->Close(); });
    loop_->Post([self] {
      if (self->client_ == nullptr || self->closed_) return;
      self->client_->OnMessage(self->in_);
      if (!self->closed_) self->StartRead(&self->in_);
    });
  }
  void OnWriteDone(bool ok) override {
    auto self = shared_from_this();
    loop_->Post([self, ok] {
      if (!ok) return self->Close();
      if (self->client_ != nullptr && !self->closed_) self->client_->OnWritten();
    });
  }
  void OnDone(const grpc::Status& status) override {
    const absl::Status out = status.ok()
                                 ? absl::UnavailableError("the server ended the stream")
                                 : absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                                                status.error_message());
    // The last reference goes on the loop: the channel ends with it, and gRPC joins its callback
    // threads when the last channel ends, which must not happen on one of them.
    auto done = done_;
    loop_->Post([self = std::move(self_), out] {
      if (self->client_ != nullptr) self->client_->OnEnded(out);
    });
    done->Notify();
  }

 private:
  SyncClient* client_;  // loop only
  EventLoop* const loop_;
  const std::unique_ptr<v1::NodeSync::Stub> stub_;
  grpc::ClientContext context_;
  v1::ControlMessage in_;
  v1::AgentMessage out_;
  bool closed_ = false;  // loop only
  std::shared_ptr<Stream> self_;
  const std::shared_ptr<absl::Notification> done_ = std::make_shared<absl::Notification>();
};

SyncClient::SyncClient(EventLoop* loop, SyncOptions options, Hooks hooks, Random random)
    : loop_(loop),
      options_(std::move(options)),
      hooks_(std::move(hooks)),
      random_(random),
      backoff_(options_.backoff),
      heartbeat_(options_.heartbeat) {
  MESH_CHECK(!options_.servers.empty()) << "no server to talk to";
}

SyncClient::~SyncClient() {
  loop_->Cancel(heartbeat_timer_);
  loop_->Cancel(reconnect_timer_);
  if (stream_ == nullptr) return;
  stream_->Detach();
  stream_->AwaitDone();
}

void SyncClient::Start() {
  Heartbeat();
  Connect();
}

void SyncClient::Connect() {
  server_ = options_.servers[next_server_++ % options_.servers.size()];
  welcomed_ = false;
  hello_due_ = true;
  writing_ = false;
  stream_ = std::make_shared<Stream>(this, loop_, server_, options_.keepalive);
  stream_->Begin();
  Pump();
}

void SyncClient::Reconnect() {
  if (stream_ != nullptr) stream_->Close();
}

void SyncClient::OnEnded(const absl::Status& status) {
  stream_ = nullptr;
  writing_ = false;
  welcomed_ = false;
  hooks_.connection(server_, status);
  reconnect_timer_ = loop_->RunAfter(backoff_.Next(random_), [this] { Connect(); });
}

void SyncClient::OnMessage(const v1::ControlMessage& message) {
  if (message.has_welcome()) {
    backoff_.Reset();
    if (message.welcome().heartbeat_interval_ms() > 0) {
      heartbeat_ = absl::Milliseconds(message.welcome().heartbeat_interval_ms());
    }
    // It comes again when what it says of the node has changed.
    if (!std::exchange(welcomed_, true)) {
      // The server may be another one: it learns everything again.
      heartbeat_due_ = true;
      for (const auto& [uid, report] : reports_) reports_due_.insert(uid);
      for (const auto& [name, report] : volumes_) volumes_due_.insert(name);
      hooks_.connection(server_, absl::OkStatus());
    }
    hooks_.welcome(message.welcome());
  } else if (message.has_update()) {
    hooks_.update(message.update());
  }
  Pump();
}

void SyncClient::OnWritten() {
  writing_ = false;
  Pump();
}

void SyncClient::Pump() {
  if (stream_ == nullptr || writing_) return;
  v1::AgentMessage message;
  if (!NextMessage(&message)) return;
  writing_ = true;
  stream_->Write(std::move(message));
}

// Acknowledgements first: rollouts wait for them.
bool SyncClient::NextMessage(v1::AgentMessage* out) {
  if (hello_due_) {
    hello_due_ = false;
    *out->mutable_hello() = hooks_.hello();
    return true;
  }
  if (!welcomed_) return false;
  if (ack_due_) {
    ack_due_ = false;
    *out->mutable_ack() = ack_;
    return true;
  }
  if (heartbeat_due_) {
    heartbeat_due_ = false;
    for (const v1::Condition& condition : conditions_) {
      *out->mutable_heartbeat()->add_conditions() = condition;
    }
    out->mutable_heartbeat();
    return true;
  }
  if (!reports_due_.empty()) {
    auto it = reports_.find(*reports_due_.begin());
    reports_due_.erase(reports_due_.begin());
    *out->mutable_pod() = it->second;
    return true;
  }
  if (!volumes_due_.empty()) {
    auto it = volumes_.find(*volumes_due_.begin());
    volumes_due_.erase(volumes_due_.begin());
    *out->mutable_volume() = it->second;
    return true;
  }
  if (!events_.empty()) {
    *out->mutable_event() = std::move(events_.front());
    events_.pop_front();
    return true;
  }
  return false;
}

void SyncClient::Heartbeat() {
  heartbeat_timer_ = loop_->RunAfter(heartbeat_, [this] { Heartbeat(); });
  heartbeat_due_ = true;
  Pump();
}

void SyncClient::ReportPod(const v1::PodReport& report) {
  reports_[report.uid()] = report;
  reports_due_.insert(report.uid());
  Pump();
}

void SyncClient::ForgetPod(const std::string& uid) {
  reports_.erase(uid);
  reports_due_.erase(uid);
}

void SyncClient::ReportVolume(const v1::VolumeReport& report) {
  volumes_[report.name()] = report;
  volumes_due_.insert(report.name());
  Pump();
}

void SyncClient::ForgetVolume(const std::string& name) {
  volumes_.erase(name);
  volumes_due_.erase(name);
}

void SyncClient::Acknowledge(int64_t revision, const std::string& error) {
  ack_.set_revision(revision);
  ack_.set_error(error);
  ack_due_ = true;
  Pump();
}

void SyncClient::SendEvent(const v1::NodeEvent& event) {
  if (events_.size() >= kEventQueueMax) events_.pop_front();
  events_.push_back(event);
  Pump();
}

void SyncClient::SetConditions(std::vector<v1::Condition> conditions) {
  const auto same = [](const v1::Condition& a, const v1::Condition& b) {
    return a.type() == b.type() && a.status() == b.status() && a.reason() == b.reason() &&
           a.message() == b.message();
  };
  const bool changed = !std::equal(conditions.begin(), conditions.end(), conditions_.begin(),
                                   conditions_.end(), same);
  conditions_ = std::move(conditions);
  if (!changed) return;
  heartbeat_due_ = true;
  Pump();
}

}  // namespace mesh::agent
