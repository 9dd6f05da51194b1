// SPDX-License-Identifier: Apache-2.0
// A container runtime in memory for tests: sandboxes, containers and images with containerd's
// rules. Calls take `latency` of the loop's time; everything else happens at once.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/cri/cri_client.h"
#include "common/event_loop.h"

namespace mesh::agent {

class FakeCri : public CriClient {
 public:
  explicit FakeCri(EventLoop* loop) : loop_(loop) {}

  struct Sandbox {
    cri::PodSandbox info;
    cri::PodSandboxConfig config;
    std::string ip;
  };
  struct Container {
    cri::ContainerStatus status;
    std::string sandbox_id;
    cri::ContainerConfig config;
  };

  // What the test sets up and looks at.
  absl::Duration latency = absl::Milliseconds(5);
  std::set<std::string> images;                // on the node
  std::map<std::string, int64_t> image_users;  // root where there is none
  std::set<std::string> registry;              // can be pulled
  // "user:password" that images of the registry ask for.
  std::map<std::string, std::string> locked_images;
  std::string image_folder = "/";
  std::set<std::string> ignores_sigterm;     // container names that must be killed
  std::map<std::string, int> exits_at_once;  // container name -> exit code
  // How long after the event of an end the CRI still shows the container as running.
  absl::Duration exit_lag = absl::ZeroDuration();
  std::set<std::string> lost_tasks;  // ids of containers that have exited for the CRI only
  // Method name -> error of its next calls (one each).
  std::multimap<std::string, absl::Status> failures;
  std::map<std::string, Sandbox> sandboxes;
  std::map<std::string, Container> containers;
  // Answers commands that are run in a container (by its name): their exit code, and output in
  // `out`; a negative code: not within the time. Null: all succeed.
  std::function<int(const std::string& container, const std::string& command, std::string* out)>
      on_exec;
  std::vector<std::string> calls;  // "RunSandbox web", "StopContainer web/app 30", ...

  // The runtime's process ends and comes back; pods live on.
  void GoDown();
  void ComeUp() { up_ = true; }
  // The container's process ends.
  void Kill(const std::string& container_id, int exit_code, bool oom = false);
  // What containerd makes of a start that is interrupted: exited for the CRI, and running.
  void LoseTask(const std::string& container_id);
  // The sandbox's shim is killed: its containers end with 255.
  void KillSandbox(const std::string& sandbox_id);
  // Newest container of that name, or null.
  Container* Find(const std::string& pod, const std::string& container);
  int CountCalls(const std::string& prefix) const;
  int RunningContainers() const;

  void Version(Done<cri::VersionResponse> done) override;
  void Status(Done<cri::StatusResponse> done) override;
  void ListSandboxes(const std::string& pod_uid, Done<std::vector<cri::PodSandbox>> done) override;
  void ListContainers(const std::string& pod_uid, Done<std::vector<cri::Container>> done) override;
  void SandboxStatus(const std::string& id, Done<cri::PodSandboxStatus> done) override;
  void ContainerStatus(const std::string& id, Done<cri::ContainerStatus> done) override;
  void RunSandbox(const cri::PodSandboxConfig& config, Done<std::string> done) override;
  void StopSandbox(const std::string& id, DoneStatus done) override;
  void RemoveSandbox(const std::string& id, DoneStatus done) override;
  void CreateContainer(const cri::CreateContainerRequest& request, Done<std::string> done) override;
  void StartContainer(const std::string& id, DoneStatus done) override;
  void StopContainer(const std::string& id, absl::Duration grace, DoneStatus done) override;
  void RemoveContainer(const std::string& id, DoneStatus done) override;
  void EndTask(const std::string& id, DoneStatus done) override;
  void ImageStatus(const std::string& image, Done<std::optional<cri::Image>> done) override;
  Cancel PullImage(const std::string& image, const cri::PodSandboxConfig& sandbox,
                   const cri::AuthConfig& auth, Done<std::string> done) override;
  void ExecSync(const std::string& id, const std::vector<std::string>& command,
                absl::Duration timeout, Done<cri::ExecSyncResponse> done) override;
  void ListImages(Done<std::vector<cri::Image>> done) override;
  void RemoveImage(const std::string& id, DoneStatus done) override;
  void ImageFolder(Done<std::string> done) override;
  void Exec(const cri::ExecRequest& request, Done<std::string> done) override;
  void Attach(const cri::AttachRequest& request, Done<std::string> done) override;
  void ReopenLog(const std::string& container_id, DoneStatus done) override;
  Cancel Subscribe(std::function<void(const RuntimeEvent&)> on_event, DoneStatus ended) override;

 private:
  // Runs `answer` after the latency with the status the call is to have.
  void Answer(const std::string& method, std::function<void(absl::Status)> answer);
  absl::Status CheckRemovable(const std::string& container_id) const;
  void End(Container& container, int exit_code, const std::string& reason);
  void Emit(const RuntimeEvent& event);
  int64_t NowNs() const { return absl::ToUnixNanos(loop_->Now()); }

  EventLoop* const loop_;
  bool up_ = true;
  int next_id_ = 1;
  int next_ip_ = 10;
  int next_subscriber_ = 1;
  struct Subscriber {
    std::function<void(const RuntimeEvent&)> on_event;
    DoneStatus ended;
  };
  std::map<int, Subscriber> subscribers_;
};

}  // namespace mesh::agent
