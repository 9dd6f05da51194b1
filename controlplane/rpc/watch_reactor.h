// SPDX-License-Identifier: Apache-2.0
// One Watch call. gRPC's reactions only post; everything else runs on the loop. Deletes itself when
// the call is over.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "common/event_loop.h"
#include "controlplane/rpc/watch_filter.h"
#include "controlplane/state/watch_cache.h"
#include "grpcpp/support/server_callback.h"
#include "mesh/v1/control.pb.h"

namespace mesh::controlplane {

class WatchReactor : public grpc::ServerWriteReactor<v1::WatchEvent> {
 public:
  WatchReactor(EventLoop& loop, WatchCache& cache) : loop_(loop), cache_(cache) {}

  // Loop only, as all but the reactions.
  void Start(const v1::WatchRequest& request);
  void Close(const absl::Status& status);
  // Called once, on the loop, before this is deleted.
  void OnGone(Task task) { on_gone_ = std::move(task); }

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

 private:
  // Events a slow client may lag behind before it has to resume by revision.
  static constexpr size_t kQueueMax = 100'000;
  static constexpr absl::Duration kBookmarkEvery = absl::Seconds(5);

  void OnChanges(const ChangeBatch& batch);
  void Enqueue(v1::WatchEvent event);
  void Bookmark();
  void BookmarkLater();
  void WriteNext();

  EventLoop& loop_;
  WatchCache& cache_;
  WatchFilter filter_;
  WatchCache::Subscription subscription_;
  std::deque<v1::WatchEvent> queue_;
  Revision told_ = 0;  // newest revision the client has heard of
  TimerId bookmark_timer_ = 0;
  bool writing_ = false;
  bool finished_ = false;
  Task on_gone_;
};

}  // namespace mesh::controlplane
