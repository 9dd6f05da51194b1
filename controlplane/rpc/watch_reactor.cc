// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/watch_reactor.h"

#include <utility>

#include "controlplane/rpc/status.h"
#include "fmt/format.h"

namespace mesh::controlplane {

void WatchReactor::Start(const v1::WatchRequest& request) {
  absl::StatusOr<WatchFilter> filter = WatchFilter::From(request);
  if (!filter.ok()) return Close(filter.status());
  filter_ = *std::move(filter);

  if (request.from_revision() == 0) {
    for (const auto& resource : cache_.List(filter_.kind(), filter_.ns()).items) {
      if (!filter_.Matches(*resource)) continue;
      v1::WatchEvent event;
      event.set_type(v1::WatchEvent::ADDED);
      event.set_revision(cache_.revision());
      *event.mutable_resource() = *resource;
      queue_.push_back(std::move(event));
    }
  } else {
    const auto missed = cache_.ChangesAfter(request.from_revision());
    if (!missed.ok()) return Close(missed.status());
    for (const auto& batch : *missed) OnChanges(*batch);
  }
  Bookmark();
  subscription_ = cache_.Subscribe([this](const ChangeBatch& batch) { OnChanges(batch); });
  BookmarkLater();
}

void WatchReactor::Close(const absl::Status& status) {
  if (std::exchange(finished_, true)) return;
  subscription_.Reset();
  loop_.Cancel(bookmark_timer_);
  // gRPC may still read the one being written.
  queue_.resize(writing_ ? 1 : 0);
  Finish(ToGrpc(status));
}

void WatchReactor::OnChanges(const ChangeBatch& batch) {
  if (finished_) return;
  for (const Change& change : batch.changes) {
    if (auto event = filter_.EventFor(change, batch.revision)) Enqueue(*std::move(event));
  }
}

void WatchReactor::Enqueue(v1::WatchEvent event) {
  if (finished_) return;
  if (queue_.size() >= kQueueMax) {
    return Close(absl::ResourceExhaustedError(
        fmt::format("watch is {} events behind; resume from revision {}", queue_.size(), told_)));
  }
  queue_.push_back(std::move(event));
  WriteNext();
}

void WatchReactor::Bookmark() {
  v1::WatchEvent event;
  event.set_type(v1::WatchEvent::BOOKMARK);
  event.set_revision(cache_.revision());
  Enqueue(std::move(event));
}

void WatchReactor::BookmarkLater() {
  bookmark_timer_ = loop_.RunAfter(kBookmarkEvery, [this] {
    if (queue_.empty() && told_ < cache_.revision()) Bookmark();
    BookmarkLater();
  });
}

void WatchReactor::WriteNext() {
  if (writing_ || finished_ || queue_.empty()) return;
  writing_ = true;
  StartWrite(&queue_.front());
}

void WatchReactor::OnWriteDone(bool ok) {
  loop_.Post([this, ok] {
    writing_ = false;
    if (finished_) return;
    if (!ok) return Close(absl::CancelledError("the client is gone"));
    told_ = queue_.front().revision();
    queue_.pop_front();
    WriteNext();
  });
}

void WatchReactor::OnCancel() {
  loop_.Post([this] { Close(absl::CancelledError("the client is gone")); });
}

void WatchReactor::OnDone() {
  loop_.Post([this] {
    subscription_.Reset();
    loop_.Cancel(bookmark_timer_);
    if (on_gone_) on_gone_();
    delete this;
  });
}

}  // namespace mesh::controlplane
