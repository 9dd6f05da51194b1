// SPDX-License-Identifier: Apache-2.0
// The pod's end of what a client is connected to: a process in a container, or a TCP connection.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent/pods/pod_reconciler.h"
#include "common/unique_fd.h"
#include "mesh/v1/access.pb.h"

namespace mesh::agent {

// Read is called by one thread, Write and Close by another; Abort by any.
class PodStream {
 public:
  virtual ~PodStream() = default;
  // Blocks for the next output; the last one has the exit code.
  virtual absl::StatusOr<v1::StreamOutput> Read() = 0;
  virtual absl::Status WriteStdin(std::string_view data) = 0;
  virtual absl::Status CloseStdin() = 0;
  virtual absl::Status Resize(const v1::TerminalSize&) { return absl::OkStatus(); }
  // Makes all blocked calls return.
  virtual void Abort() = 0;
};

// The process behind a URL of the runtime's streaming server.
absl::StatusOr<std::unique_ptr<PodStream>> OpenProcess(const std::string& url, bool tty,
                                                       bool stdin);
// Each direction ends on its own, exit code 0 after both.
std::unique_ptr<PodStream> ConnectionStream(UniqueFd connected);

struct ContainerTarget {
  PodEntry pod;
  ContainerEntry container;
};
// The container that a call means, with kubectl's words when there is none.
absl::StatusOr<ContainerTarget> FindContainer(const PodDirectory& directory, const std::string& ns,
                                              const std::string& pod, const std::string& container);
// INVALID_ARGUMENT when it does not run.
absl::StatusOr<ContainerEntry> FindRunning(const PodDirectory& directory, const std::string& ns,
                                           const std::string& pod, const std::string& container);

}  // namespace mesh::agent
