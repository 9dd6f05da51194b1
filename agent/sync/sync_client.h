// SPDX-License-Identifier: Apache-2.0
// The agent's end of the node-sync stream: reconnects, greets, hands on what meshd sends, and keeps
// what meshd must know until it has been told.
//
// Pod reports are latest-wins per pod and are repeated after a reconnect until ForgetPod(). Events
// wait in a queue of kEventQueueMax; the oldest goes when it is full. Acknowledgements and
// conditions are the newest only.
//
// Thread: the loop's. Several servers are tried in turn.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/backoff.h"
#include "common/event_loop.h"
#include "common/random.h"
#include "mesh/v1/node_sync.pb.h"

namespace mesh::agent {

struct SyncOptions {
  std::vector<std::string> servers;  // "host:port" or "unix:///path"
  // Until a Welcome names another.
  absl::Duration heartbeat = absl::Milliseconds(500);
  // A peer that is silent on the transport that long is dead.
  absl::Duration keepalive = absl::Seconds(2);
  BackoffPolicy backoff{.first = absl::Milliseconds(50), .cap = absl::Seconds(2)};
};

class SyncClient {
 public:
  static constexpr size_t kEventQueueMax = 1000;

  struct Hooks {
    std::function<v1::Hello()> hello;  // asked at each connect
    std::function<void(const v1::Welcome&)> welcome;
    std::function<void(const v1::NodeUpdate&)> update;
    // OK: the server has welcomed this node. Otherwise why the stream ended.
    std::function<void(const std::string& server, absl::Status)> connection;
  };

  SyncClient(EventLoop* loop, SyncOptions options, Hooks hooks, Random random);
  // Ends the stream and waits for it.
  ~SyncClient();

  void Start();
  // Greets anew: what Hello tells has changed.
  void Reconnect();
  bool connected() const { return welcomed_; }

  void ReportPod(const v1::PodReport& report);
  void ForgetPod(const std::string& uid);
  // Repeated after a reconnect like a pod's, until ForgetVolume().
  void ReportVolume(const v1::VolumeReport& report);
  void ForgetVolume(const std::string& name);
  void Acknowledge(int64_t revision, const std::string& error);
  void SendEvent(const v1::NodeEvent& event);
  // Sent with each heartbeat, and at once when they change.
  void SetConditions(std::vector<v1::Condition> conditions);

 private:
  class Stream;

  void Connect();
  void OnMessage(const v1::ControlMessage& message);
  void OnEnded(const absl::Status& status);
  void OnWritten();
  void Pump();
  bool NextMessage(v1::AgentMessage* out);
  void Heartbeat();

  EventLoop* const loop_;
  const SyncOptions options_;
  const Hooks hooks_;
  Random random_;
  Backoff backoff_;
  size_t next_server_ = 0;
  std::string server_;
  absl::Duration heartbeat_;
  TimerId heartbeat_timer_ = 0;
  TimerId reconnect_timer_ = 0;

  std::shared_ptr<Stream> stream_;
  bool welcomed_ = false;
  bool writing_ = false;
  bool hello_due_ = false;
  bool heartbeat_due_ = false;
  bool ack_due_ = false;
  v1::Ack ack_;
  std::map<std::string, v1::PodReport> reports_;  // by uid
  std::set<std::string> reports_due_;
  std::map<std::string, v1::VolumeReport> volumes_;  // by name
  std::set<std::string> volumes_due_;
  std::deque<v1::NodeEvent> events_;
  std::vector<v1::Condition> conditions_;
};

}  // namespace mesh::agent
