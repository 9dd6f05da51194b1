// SPDX-License-Identifier: Apache-2.0
#include "agent/network/flow_hub.h"

#include <pthread.h>

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/log.h"
#include "common/status.h"
#include "mesh/shared/drop_reason.h"

namespace mesh::agent {

using dataplane::FlowEvent;

FlowHub::FlowHub(std::unique_ptr<dataplane::FlowEvents> source) : source_(std::move(source)) {
  const absl::Status listening = source_->Listen(/*drops=*/true, /*flows=*/false);
  if (!listening.ok()) spdlog::warn("flows: {}", std::string(listening.message()));
  thread_ = std::thread([this] {
    ::pthread_setname_np(::pthread_self(), "flows");
    Run();
  });
}

FlowHub::~FlowHub() {
  {
    absl::MutexLock lock(&mutex_);
    MESH_CHECK(readers_.empty()) << "a reader would outlive the hub";
    stopping_ = true;
  }
  source_->Wake();
  thread_.join();
}

void FlowHub::Run() {
  std::vector<FlowEvent> some;
  while (true) {
    some.clear();
    absl::Status status =
        source_->Read(kGather, [&](const FlowEvent& event) { some.push_back(event); });
    absl::MutexLock lock(&mutex_);
    for (const FlowEvent& event : some) Take(event);
    if (stopping_) return;
    if (status.ok()) continue;
    spdlog::error("flows: {}", std::string(status.message()));
    ended_ = std::move(status);
    return;
  }
}

void FlowHub::Take(const FlowEvent& event) {
  if (event.kind == FlowEvent::Kind::kDropped || event.kind == FlowEvent::Kind::kRefused) {
    if (recent_.size() == kRecent) recent_.pop_front();
    recent_.push_back(event);
    port_refusals_.Take(event);
    if (event.reason == MESH_REASON_QUOTA && quota_refusals_.size() < kRecent)
      quota_refusals_.insert(event.source);
  }
  for (Reader* reader : readers_) {
    if (reader->queue_.size() < kQueue) {
      reader->queue_.push_back(event);
    } else {
      ++reader->overflow_;
    }
  }
}

absl::StatusOr<std::unique_ptr<FlowHub::Reader>> FlowHub::Follow() {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(ended_);
  ASSIGN_OR_RETURN(const dataplane::FlowLoss loss, source_->Loss());
  if (readers_.empty()) RETURN_IF_ERROR(source_->Listen(/*drops=*/true, /*flows=*/true));
  auto reader = std::make_unique<Reader>(this, loss);
  readers_.push_back(reader.get());
  return reader;
}

std::vector<FlowEvent> FlowHub::RecentDrops() const {
  absl::MutexLock lock(&mutex_);
  return {recent_.begin(), recent_.end()};
}

std::map<PortRefusal, FlowEvent> FlowHub::ReleasePortRefusals() {
  absl::MutexLock lock(&mutex_);
  return port_refusals_.Release();
}

std::set<IpAddress> FlowHub::ReleaseQuotaRefusals() {
  absl::MutexLock lock(&mutex_);
  return std::exchange(quota_refusals_, {});
}

void FlowHub::Leave(Reader* reader) {
  absl::MutexLock lock(&mutex_);
  std::erase(readers_, reader);
  if (!readers_.empty()) return;
  const absl::Status quiet = source_->Listen(/*drops=*/true, /*flows=*/false);
  if (!quiet.ok()) spdlog::warn("flows: {}", std::string(quiet.message()));
}

FlowHub::Reader::~Reader() { hub_->Leave(this); }

bool FlowHub::Reader::Due() const { return !queue_.empty() || !hub_->ended_.ok(); }

FlowHub::Batch FlowHub::Reader::Next(absl::Time deadline) {
  Batch out;
  {
    absl::MutexLock lock(&hub_->mutex_);
    hub_->mutex_.AwaitWithDeadline(absl::Condition(this, &Reader::Due), deadline);
    out.events = std::exchange(queue_, {});
    out.lost.queue = std::exchange(overflow_, 0);
    if (out.events.empty()) out.ended = hub_->ended_;
  }
  const absl::StatusOr<dataplane::FlowLoss> now = hub_->source_->Loss();
  if (!now.ok()) return out;
  out.lost.ring = now->ring - loss_.ring;
  out.lost.suppressed = now->suppressed - loss_.suppressed;
  loss_ = *now;
  return out;
}

}  // namespace mesh::agent
