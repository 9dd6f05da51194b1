// SPDX-License-Identifier: Apache-2.0
// What a SimCluster is made of: for its own files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "controlplane/rpc/node_sessions.h"
#include "tests/sim/sim_cluster.h"

namespace mesh::sim {

// Stands between the writer and the store, where the machine can be switched off.
class SimCluster::CrashingCommitQueue : public cp::CommitQueue {
 public:
  CrashingCommitQueue(EventLoop& loop, cp::Store& store)
      : inner_(cp::NewLoopCommitQueue(loop, store)) {}

  void Arm(int commits, bool after, std::function<void()> on_crash) {
    left_ = commits;
    after_ = after;
    on_crash_ = std::move(on_crash);
  }

  void Commit(cp::Transaction transaction, Done done) override {
    if (off_) return;
    if (left_ > 0 && --left_ == 0) {
      off_ = true;
      // The power fails right before the write, or right after it and before anybody knows.
      if (after_) inner_->Commit(std::move(transaction), [](auto) {});
      on_crash_();
      return;
    }
    inner_->Commit(std::move(transaction), std::move(done));
  }

 private:
  std::unique_ptr<cp::CommitQueue> inner_;
  int left_ = 0;
  bool after_ = false;
  bool off_ = false;
  std::function<void()> on_crash_;
};

// One sync stream: both directions keep their order and take their time. When either end dies, the
// other learns of it later; what was under way is lost.
class SimCluster::Stream : public cp::NodeLink, public std::enable_shared_from_this<Stream> {
 public:
  Stream(SimCluster* cluster, Agent* agent) : cluster_(cluster), agent_(agent) {}

  void Send(v1::ControlMessage message) override;
  void Close(const absl::Status&) override;

  SimCluster* const cluster_;
  Agent* const agent_;
  cp::NodeSessions::Id id = 0;
  uint64_t incarnation = 0;  // of the control plane
  uint64_t epoch = 0;        // of the agent
  bool open = true;
  absl::Time last_up, last_down;
};

struct SimCluster::Control {
  std::unique_ptr<cp::WatchCache> cache;
  std::unique_ptr<CrashingCommitQueue> commits;
  std::unique_ptr<cp::Writer> writer;
  std::unique_ptr<cp::NodeSessions> sessions;
  std::unique_ptr<cp::Runtime> runtime;
  std::vector<std::shared_ptr<Stream>> streams;

  ~Control() {
    runtime.reset();
    sessions.reset();
    writer.reset();
    commits.reset();
    cache.reset();
  }
};

struct SimCluster::Agent {
  struct LocalPod {
    v1::Pod pod;
    bool ready = false;
    bool stopping = false;
    bool stopped = false;
    int restarts = 0;
    absl::Time ready_since;
  };
  std::string name;
  int index = 0;
  bool alive = true;
  uint64_t epoch = 0;  // changes with every crash: what was under way is forgotten
  std::shared_ptr<Stream> stream;
  std::map<std::string, LocalPod> pods;              // by uid
  std::map<std::string, v1::ServiceState> services;  // what the datapath would do
  std::map<std::string, uint32_t> identities;        // of other nodes' pods, by address
};

}  // namespace mesh::sim
