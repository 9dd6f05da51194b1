// SPDX-License-Identifier: Apache-2.0
// The container runtime, as the pod reconciler sees it: the CRI calls it makes and the runtime's
// event stream.
//
// Every call returns at once and reports through `done`, exactly once, on a thread of the
// implementation's choice; callers post to their loop. No call blocks a thread, so a container that
// takes its whole grace period to stop holds up nobody else.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cri/runtime_v1.pb.h"

namespace mesh::agent {

namespace cri = ::runtime::v1;

// Labels that the agent puts on sandboxes and containers: how it finds its pods again.
inline constexpr char kPodNameLabel[] = "io.kubernetes.pod.name";
inline constexpr char kPodNamespaceLabel[] = "io.kubernetes.pod.namespace";
inline constexpr char kPodUidLabel[] = "io.kubernetes.pod.uid";
inline constexpr char kContainerNameLabel[] = "io.kubernetes.container.name";

// On containers: of the spec they were made from.
inline constexpr char kSpecHashAnnotation[] = "io.kubernetes.container.hash";

struct RuntimeEvent {
  enum class Kind : uint8_t { kExit, kOom };
  Kind kind = Kind::kExit;
  std::string container_id;  // or id of a sandbox
  // Of kExit.
  int exit_code = 0;
  absl::Time exited_at;
};

class CriClient {
 public:
  template <typename T>
  using Done = std::function<void(absl::StatusOr<T>)>;
  using DoneStatus = std::function<void(absl::Status)>;
  // Ends what it stands for when called; harmless afterwards.
  using Cancel = std::function<void()>;

  virtual ~CriClient() = default;

  virtual void Version(Done<cri::VersionResponse> done) = 0;
  virtual void Status(Done<cri::StatusResponse> done) = 0;
  // With `info`.
  virtual void VerboseStatus(Done<cri::StatusResponse> done) { Status(std::move(done)); }

  // Empty uid: of all pods.
  virtual void ListSandboxes(const std::string& pod_uid,
                             Done<std::vector<cri::PodSandbox>> done) = 0;
  virtual void ListContainers(const std::string& pod_uid,
                              Done<std::vector<cri::Container>> done) = 0;
  virtual void SandboxStatus(const std::string& id, Done<cri::PodSandboxStatus> done) = 0;
  virtual void ContainerStatus(const std::string& id, Done<cri::ContainerStatus> done) = 0;

  virtual void RunSandbox(const cri::PodSandboxConfig& config, Done<std::string> done) = 0;
  // Idempotent; NOT_FOUND is success.
  virtual void StopSandbox(const std::string& id, DoneStatus done) = 0;
  virtual void RemoveSandbox(const std::string& id, DoneStatus done) = 0;

  virtual void CreateContainer(const cri::CreateContainerRequest& request,
                               Done<std::string> done) = 0;
  virtual void StartContainer(const std::string& id, DoneStatus done) = 0;
  // The stop signal, then a kill after `grace` (whole seconds, rounded up). NOT_FOUND is success.
  virtual void StopContainer(const std::string& id, absl::Duration grace, DoneStatus done) = 0;
  virtual void RemoveContainer(const std::string& id, DoneStatus done) = 0;

  // Kills what runs of a container that the CRI takes for exited, and waits until it is gone: after
  // a start that was interrupted it may run on, and neither stop nor removal can end it (containerd
  // 1.6). OK when there is nothing; not part of the CRI.
  virtual void EndTask(const std::string& id, DoneStatus done) = 0;

  // nullopt: not on this node.
  virtual void ImageStatus(const std::string& image, Done<std::optional<cri::Image>> done) = 0;
  // Whether it is here or not. `auth` with no username: as nobody.
  virtual Cancel PullImage(const std::string& image, const cri::PodSandboxConfig& sandbox,
                           const cri::AuthConfig& auth, Done<std::string> done) = 0;

  // Runs a command in a container to its end. DEADLINE_EXCEEDED when it takes longer than
  // `timeout` (whole seconds, rounded up); it is killed then.
  virtual void ExecSync(const std::string& id, const std::vector<std::string>& command,
                        absl::Duration timeout, Done<cri::ExecSyncResponse> done) = 0;

  virtual void ListImages(Done<std::vector<cri::Image>> done) = 0;
  // All names of it. NOT_FOUND is success.
  virtual void RemoveImage(const std::string& id, DoneStatus done) = 0;
  // Folder of the file system that holds the images.
  virtual void ImageFolder(Done<std::string> done) = 0;

  // URL of the runtime's streaming server for this command.
  virtual void Exec(const cri::ExecRequest& request, Done<std::string> done) = 0;
  // The same for the container's own process.
  virtual void Attach(const cri::AttachRequest& request, Done<std::string> done) = 0;
  // The container's log goes on in a new file at the path of the old one, which was renamed.
  virtual void ReopenLog(const std::string& container_id, DoneStatus done) = 0;

  // Events until `ended`, which is called once with the reason. No event is repeated; what happened
  // before the subscription is not told, so callers list after subscribing.
  virtual Cancel Subscribe(std::function<void(const RuntimeEvent&)> on_event, DoneStatus ended) = 0;
};

}  // namespace mesh::agent
