// SPDX-License-Identifier: Apache-2.0
#include "agent/state/checkpoint_writer.h"

#include <utility>

#include "common/log.h"

namespace mesh::agent {

CheckpointWriter::CheckpointWriter(std::string path)
    : path_(std::move(path)), thread_([this] { Run(); }) {}

CheckpointWriter::~CheckpointWriter() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

void CheckpointWriter::Save(NodeStatePtr state) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(state);
}

void CheckpointWriter::Run() {
  while (true) {
    NodeStatePtr state;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &CheckpointWriter::HasWork));
      state = std::exchange(next_, nullptr);
    }
    if (state == nullptr) return;
    if (absl::Status saved = SaveCheckpoint(*state, path_); !saved.ok()) {
      spdlog::warn("the node will start without this state: {}", std::string(saved.message()));
    }
  }
}

}  // namespace mesh::agent
