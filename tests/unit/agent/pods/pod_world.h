// SPDX-License-Identifier: Apache-2.0
// One pod on one node: the reconciler on a virtual clock against a runtime in memory. The agent can
// be started again: nothing of the one before acts any more.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/cri/fake_cri.h"
#include "agent/pods/pod_reconciler.h"
#include "agent/probes/fake_probe_client.h"
#include "common/sim_loop.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {

// A loop that ends with its process: what was to run on it is forgotten.
class MortalLoop : public EventLoop {
 public:
  explicit MortalLoop(EventLoop* inner) : inner_(inner) {}
  void Die() { alive_ = false; }

  absl::Time Now() const override { return inner_->Now(); }
  void Post(Task task) override { inner_->Post(Guarded(std::move(task))); }
  TimerId RunAt(absl::Time when, Task task) override {
    return inner_->RunAt(when, Guarded(std::move(task)));
  }
  void Cancel(TimerId id) override { inner_->Cancel(id); }
  void WatchReadable(int fd, Task task) override { inner_->WatchReadable(fd, std::move(task)); }
  void Unwatch(int fd) override { inner_->Unwatch(fd); }
  bool InLoop() const override { return inner_->InLoop(); }

 private:
  Task Guarded(Task task) {
    return [this, task = std::move(task)] {
      if (alive_) task();
    };
  }
  EventLoop* const inner_;
  bool alive_ = true;
};

class PodWorld : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-pod-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    cri.images = {"registry.local/app:1", "registry.local/side:1"};
    Restart();
  }
  void TearDown() override {
    agents_.clear();
    std::filesystem::remove_all(folder_);
  }

  // A new agent process on the same node.
  void Restart() {
    if (!loops_.empty()) loops_.back()->Die();
    loops_.push_back(std::make_unique<MortalLoop>(&loop));
    PodReconcilerOptions options;
    options.node_ip = "192.0.2.1";
    options.config.log_root = folder_ + "/logs";
    options.config.files_root = folder_ + "/files";
    options.probe_client = &network;
    PodReconciler::Hooks hooks;
    hooks.report = [this](const v1::PodReport& report) { status = report.status(); };
    hooks.forget = [](const std::string&) {};
    hooks.event = [this](const v1::NodeEvent& event) {
      events.push_back(event.reason() + ": " + event.message());
    };
    hooks.network_ready = [] { return true; };
    hooks.name_server = [] { return ""; };
    hooks.runtime = [](const absl::StatusOr<std::string>&) {};
    agents_.push_back(std::make_unique<PodReconciler>(loops_.back().get(), &cri, std::move(options),
                                                      std::move(hooks)));
    agents_.back()->Start();
  }
  // `wanted` with the status that was reported last, as the control plane has it.
  void Want(const v1::Pod& wanted) {
    v1::Pod known = wanted;
    if (!status.phase().empty()) *known.mutable_status() = status;
    if (known.status().pod_ip().empty()) known.mutable_status()->set_pod_ip("10.244.1.7");
    auto state = std::make_shared<NodeState>();
    state->complete = true;
    state->pods[known.metadata().uid()] = known;
    agents_.back()->SetDesired(state, /*live=*/true);
  }
  void Delete(absl::Duration grace) {
    v1::Pod ending = pod;
    MarkDeleted(ending, loop.Now() + grace);
    Want(ending);
  }
  bool Eventually(const std::function<bool()>& done, absl::Duration limit = absl::Seconds(5)) {
    return loop.RunUntil(done, limit);
  }
  bool Running(const std::string& container) {
    const FakeCri::Container* found = cri.Find("web", container);
    return found != nullptr && found->status.state() == cri::CONTAINER_RUNNING;
  }
  bool Ready() const {
    return std::any_of(status.conditions().begin(), status.conditions().end(),
                       [](const auto& c) { return c.type() == "Ready" && c.status() == "True"; });
  }
  v1::Container& App() { return *pod.mutable_spec()->mutable_containers(0); }
  // Position of the first call that begins so; past the end: there is none.
  size_t CallAt(const std::string& prefix) const {
    const auto it = std::find_if(cri.calls.begin(), cri.calls.end(),
                                 [&](const std::string& call) { return call.starts_with(prefix); });
    return static_cast<size_t>(it - cri.calls.begin());
  }

  SimLoop loop;
  FakeCri cri{&loop};
  FakeProbeClient network{&loop};
  v1::Pod pod = MakePod();
  v1::PodStatus status;  // reported last
  std::vector<std::string> events;

 private:
  std::string folder_;
  std::vector<std::unique_ptr<MortalLoop>> loops_;
  std::vector<std::unique_ptr<PodReconciler>> agents_;
};

}  // namespace mesh::agent
