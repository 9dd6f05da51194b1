// SPDX-License-Identifier: Apache-2.0
// Mounts that nobody makes: a list of what was asked for.
#pragma once

#include <string>
#include <vector>

#include "agent/pods/mounts.h"
#include "fmt/format.h"

namespace mesh::agent {

class FakeMounts : public Mounts {
 public:
  std::vector<std::string> calls;
  absl::Status unmount;  // what UnmountAll answers

  absl::Status Tmpfs(const std::string& folder, int64_t bytes, mode_t mode) override {
    calls.push_back(fmt::format("tmpfs {} {} {:o}", folder, bytes, static_cast<unsigned>(mode)));
    return absl::OkStatus();
  }
  absl::Status BindBelow(const std::string& root, const std::string& source,
                         const std::string& target) override {
    calls.push_back(fmt::format("bind {} {} {}", root, source, target));
    return absl::OkStatus();
  }
  absl::Status UnmountAll(const std::string& folder) override {
    calls.push_back(fmt::format("unmount {}", folder));
    return unmount;
  }
};

}  // namespace mesh::agent
