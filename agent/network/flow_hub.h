// SPDX-License-Identifier: Apache-2.0
// Flow events of the node for any number of readers. A thread ("flows") reads what the programs
// tell; each reader has a queue of its own, and one that is too slow loses events, never the
// others.
//
// Of drops the programs always tell, up to some hundreds a second: the newest are kept, so that
// somebody who asks afterwards is told. Of flows only while somebody follows.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/network/port_watch.h"
#include "dataplane/flow_events.h"

namespace mesh::agent {

// Thread-safe.
class FlowHub {
 public:
  // 160 bytes each.
  static constexpr size_t kQueue = 8192;  // of one reader: 1.3 MB
  static constexpr size_t kRecent = 1024;
  // Between the first event and the reading of it and all that came meanwhile.
  static constexpr absl::Duration kGather = absl::Milliseconds(20);

  struct Losses {
    uint64_t ring = 0, suppressed = 0, queue = 0;
    bool any() const { return ring + suppressed + queue > 0; }
  };
  struct Batch {
    std::vector<dataplane::FlowEvent> events;
    Losses lost;         // since the batch before
    absl::Status ended;  // not OK: nothing more will come
  };

  // Of one reader; used by one thread. Must not outlive the hub.
  class Reader {
   public:
    Reader(FlowHub* hub, dataplane::FlowLoss loss) : hub_(hub), loss_(loss) {}
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;
    // What has come since; waits for something until `deadline`.
    Batch Next(absl::Time deadline);

   private:
    friend class FlowHub;
    bool Due() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(hub_->mutex_);

    FlowHub* const hub_;
    std::vector<dataplane::FlowEvent> queue_ ABSL_GUARDED_BY(hub_->mutex_);
    uint64_t overflow_ ABSL_GUARDED_BY(hub_->mutex_) = 0;
    dataplane::FlowLoss loss_;  // of the source, as told last
  };

  explicit FlowHub(std::unique_ptr<dataplane::FlowEvents> source);
  // REQUIRES: no reader is left.
  ~FlowHub();

  absl::StatusOr<std::unique_ptr<Reader>> Follow();
  // Newest last.
  std::vector<dataplane::FlowEvent> RecentDrops() const;
  // Of all drops since the last call.
  std::map<PortRefusal, dataplane::FlowEvent> ReleasePortRefusals();
  // Whose flows were refused for their number (MESH_REASON_QUOTA) since the last call: who sent the
  // packets, at most kRecent of them.
  std::set<IpAddress> ReleaseQuotaRefusals();

 private:
  void Run();
  void Take(const dataplane::FlowEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Leave(Reader* reader);

  const std::unique_ptr<dataplane::FlowEvents> source_;
  mutable absl::Mutex mutex_;
  std::vector<Reader*> readers_ ABSL_GUARDED_BY(mutex_);
  std::deque<dataplane::FlowEvent> recent_ ABSL_GUARDED_BY(mutex_);
  PortRefusals port_refusals_ ABSL_GUARDED_BY(mutex_);
  std::set<IpAddress> quota_refusals_ ABSL_GUARDED_BY(mutex_);
  absl::Status ended_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mesh::agent
