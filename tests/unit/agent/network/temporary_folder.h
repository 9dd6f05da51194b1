// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>

namespace mesh::agent {

// Removed with all it holds.
class TemporaryFolder {
 public:
  TemporaryFolder() { ::mkdtemp(path_); }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/mesh-test-XXXXXX";
};

}  // namespace mesh::agent
