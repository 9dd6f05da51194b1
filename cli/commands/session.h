// SPDX-License-Identifier: Apache-2.0
// A process of a container at the terminal of meshctl: what exec, attach and cp have in common.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/commands/targets.h"
#include "common/unique_fd.h"

namespace mesh::cli {

struct Place {
  v1::Pod pod;
  std::string container;
};

// The pod that `word` names ("web-1", "deployment/web") and its container, `container` or the first
// one; says on context.err which, when there was a choice and not `quiet`.
absl::StatusOr<Place> FindPlace(const std::string& word, const std::string& container, bool quiet,
                                Context& context);
v1::ExecStart StartAt(const Place& place);

// The first message is sent.
absl::StatusOr<std::unique_ptr<ExecStream>> OpenSession(const v1::ExecStart& start,
                                                        ControlClient& client);

// A descriptor that reads when the terminal's size changes. The signal is blocked for the whole
// process: call it before the first thread starts, so before the client connects.
UniqueFd WatchResize();

struct SessionInput {
  bool stdin = false;
  bool tty = false;
  int resized = -1;  // WatchResize()
};
// Passes standard input, output and the terminal's size until the process ends; its exit code.
absl::StatusOr<int> RunSession(ExecStream& stream, const SessionInput& input, Context& context);

}  // namespace mesh::cli
