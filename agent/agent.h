// SPDX-License-Identifier: Apache-2.0
// Joins the parts of the node: the stream to meshd, the network and the pods.
//
// A state from meshd goes to the network first; when the maps hold it, it is acknowledged and the
// pods follow. So a pod's peers and identity are programmed before its first packet, and an
// endpoint that drains gets no new flow here before its container is told to stop.
//
// Thread: the loop's.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "agent/cri/cri_client.h"
#include "agent/network/network.h"
#include "agent/pods/pod_reconciler.h"
#include "agent/state/checkpoint_writer.h"
#include "agent/state/node_state.h"
#include "agent/sync/sync_client.h"
#include "common/event_loop.h"

namespace mesh::agent {

struct AgentOptions {
  std::string node_name;
  std::vector<std::string> node_ips;  // IPv4 first
  std::string agent_endpoint;         // "host:port" of the NodeService
  std::map<std::string, std::string> labels;
  // What is wrong with the node's addresses, with the way out; empty: nothing. Null: not asked.
  std::function<std::string(bool dual_stack)> address_trouble;
  std::string containerd_socket;
  SyncOptions sync;
  PodReconcilerOptions pods;
};

class Agent {
 public:
  // All pointers outlive this. `initial`: the checkpoint, or an empty state.
  Agent(EventLoop* loop, Network* network, CriClient* cri, CheckpointWriter* checkpoint,
        AgentOptions options, NodeStatePtr initial);
  ~Agent();

  void Start();
  const PodReconciler& pods() const { return *pods_; }

 private:
  void OnWelcome(const v1::Welcome& welcome);
  void OnUpdate(const v1::NodeUpdate& update);
  // Gives the network the present state.
  void Program();
  void OnApplied(int64_t revision, const absl::Status& status);
  void OnConnection(const std::string& server, const absl::Status& status);
  void OnRuntime(const absl::StatusOr<std::string>& version);
  void StartSync();
  void CheckHealth();
  void WarnOfRuntime() const;
  // An event of a pod of this node.
  void Warn(const NetworkWarning& warning);
  v1::Hello MakeHello() const;
  const std::string& AddressTrouble();

  EventLoop* const loop_;
  Network* const network_;
  CheckpointWriter* const checkpoint_;
  const AgentOptions options_;

  NodeStatePtr state_;
  std::deque<NodeStatePtr> applying_;  // handed to the network, not yet held by the maps
  std::string not_held_;               // what was logged last: it may stand for many revisions
  std::string runtime_version_;
  absl::Status runtime_status_;
  bool sync_started_ = false;
  bool connected_ = false;
  std::string last_connection_error_;
  TimerId health_timer_ = 0;
  std::string address_trouble_;
  absl::Time next_address_check_ = absl::InfinitePast();
  std::unique_ptr<PodReconciler> pods_;
  std::unique_ptr<SyncClient> sync_;
};

}  // namespace mesh::agent
