// SPDX-License-Identifier: Apache-2.0
#include "agent/state/checkpoint_writer.h"

#include <utility>

#include "common/log.h"

namespace mesh::agent {

CheckpointWriter::CheckpointWriter(std::string path, absl::Duration retry)
    : path_(std::move(path)), retry_(retry), thread_([this] { Run(); }) {}

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

absl::Status CheckpointWriter::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

void CheckpointWriter::Run() {
  NodeStatePtr unsaved;
  while (true) {
    NodeStatePtr state;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &CheckpointWriter::HasWork),
                              unsaved == nullptr ? absl::InfiniteDuration() : retry_);
      state = std::exchange(next_, nullptr);
      if (state == nullptr && ending_) return;
    }
    if (state == nullptr) state = unsaved;
    const absl::Status saved = SaveCheckpoint(*state, path_);
    unsaved = saved.ok() ? nullptr : std::move(state);
    Note(saved);
  }
}

void CheckpointWriter::Note(const absl::Status& saved) {
  absl::MutexLock lock(&mutex_);
  if (saved == status_) return;
  if (saved.ok()) {
    spdlog::info("the node's state is written to {} again", path_);
  } else {
    spdlog::warn("the node will start without this state: {}", std::string(saved.message()));
  }
  status_ = saved;
}

}  // namespace mesh::agent
