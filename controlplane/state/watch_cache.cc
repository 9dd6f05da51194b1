// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/watch_cache.h"

#include <algorithm>
#include <utility>

#include "common/check.h"
#include "common/status.h"
#include "controlplane/store/keys.h"
#include "fmt/format.h"

namespace mesh::controlplane {

WatchCache::Subscription& WatchCache::Subscription::operator=(Subscription&& other) noexcept {
  if (this != &other) {
    Reset();
    cache_ = std::exchange(other.cache_, nullptr);
    id_ = other.id_;
  }
  return *this;
}

void WatchCache::Subscription::Reset() {
  if (cache_ != nullptr) std::exchange(cache_, nullptr)->subscribers_.erase(id_);
}

WatchCache::WatchCache(EventLoop& loop, Store& store) : WatchCache(loop, store, Options()) {}

WatchCache::WatchCache(EventLoop& loop, Store& store, Options options)
    : loop_(loop), store_(store), options_(options), self_(std::make_shared<WatchCache*>(this)) {}

WatchCache::~WatchCache() {
  watch_.reset();
  *self_ = nullptr;
}

absl::StatusOr<std::shared_ptr<const v1::Resource>> WatchCache::Decode(const KeyValue& kv) const {
  auto resource = std::make_shared<v1::Resource>();
  if (!resource->ParseFromString(kv.value) || resource->kind_case() == v1::Resource::KIND_NOT_SET) {
    return absl::DataLossError(fmt::format("value of key \"{}\" at revision {} is not a resource",
                                           kv.key, kv.mod_revision));
  }
  MutableMetaOf(resource.get())->set_resource_version(std::to_string(kv.mod_revision));
  return resource;
}

absl::Status WatchCache::Start() {
  MESH_CHECK(watch_ == nullptr) << "started twice";
  ASSIGN_OR_RETURN(RangeResult range, store_.Range(kRootPrefix));
  {
    absl::MutexLock lock(&mutex_);
    for (KeyValue& kv : range.items) {
      const std::optional<StoreKey> key = DecodeKey(kv.key);
      if (!key) continue;  // of a kind that a newer version knows
      ASSIGN_OR_RETURN(std::shared_ptr<const v1::Resource> resource, Decode(kv));
      kv = {};
      objects_[{key->kind, key->object}] = resource;
      state_.Put(std::move(resource));
    }
    state_.revision = range.revision;
  }
  revision_ = range.revision;
  started_ = range.revision;
  // All keys, so that revision() passes the revisions of others' keys too.
  const auto follow = [&](Revision after) -> absl::Status {
    revision_past_ = after;
    ring_floor_ = after;
    ASSIGN_OR_RETURN(
        watch_, store_.Watch("", after, [&loop = loop_, self = self_](const StoreBatch& batch) {
          loop.Post([self, batch] {
            if (*self != nullptr) (*self)->OnBatch(batch);
          });
        }));
    return absl::OkStatus();
  };
  const auto past = static_cast<Revision>(options_.past_revisions);
  const absl::Status status = follow(std::max<Revision>(0, started_ - past));
  // The history is a convenience: without it clients list again.
  return absl::IsOutOfRange(status) ? follow(started_) : status;
}

void WatchCache::NoteHeard(const std::string& node) {
  absl::MutexLock lock(&mutex_);
  state_.heard[node] = loop_.Now();
}

void WatchCache::NoteStandstill(absl::Duration lost) {
  absl::MutexLock lock(&mutex_);
  for (auto& [node, at] : state_.heard) at = std::min(at + lost, loop_.Now());
}

std::shared_ptr<const v1::Resource> WatchCache::Find(v1::Kind kind, const ObjectKey& key) const {
  auto it = objects_.find({kind, key});
  return it == objects_.end() ? nullptr : it->second;
}

std::shared_ptr<const v1::Resource> WatchCache::Load(v1::Kind kind, const ObjectKey& key) const {
  absl::ReaderMutexLock lock(&mutex_);
  return Find(kind, key);
}

WatchCache::Listing WatchCache::List(v1::Kind kind, const std::string& ns) const {
  absl::ReaderMutexLock lock(&mutex_);
  Listing out{.revision = state_.revision, .items = {}};
  for (auto it = objects_.lower_bound({kind, ObjectKey{.ns = ns, .name = {}}});
       it != objects_.end() && it->first.first == kind && (ns.empty() || it->first.second.ns == ns);
       ++it) {
    out.items.push_back(it->second);
  }
  return out;
}

void WatchCache::OnPastBatch(const StoreBatch& batch) {
  const auto decoded = [this](const KeyValue& kv) -> std::shared_ptr<const v1::Resource> {
    absl::StatusOr<std::shared_ptr<const v1::Resource>> resource = Decode(kv);
    return resource.ok() ? *resource : nullptr;
  };
  auto changes = std::make_shared<ChangeBatch>();
  changes->revision = batch.revision;
  bool readable = true;
  for (const StoreEvent& event : batch.events) {
    if (!DecodeKey(event.kv.key)) continue;
    mesh::controlplane::Change change;
    if (event.previous) {
      change.before = decoded(*event.previous);
      readable &= change.before != nullptr;
    }
    if (event.type == StoreEvent::Type::kPut) {
      change.after = decoded(event.kv);
      readable &= change.after != nullptr;
    }
    changes->changes.push_back(std::move(change));
  }
  revision_past_ = batch.revision;
  Remember(std::move(changes), batch);
  if (readable) return;
  // Of a version that wrote otherwise: nothing up to here can be told.
  ring_.clear();
  ring_bytes_ = 0;
  ring_floor_ = batch.revision;
}

void WatchCache::Remember(std::shared_ptr<const ChangeBatch> changes, const StoreBatch& batch) {
  size_t bytes = 0;
  for (const StoreEvent& event : batch.events) {
    // What a put replaces is another revision's, mostly.
    const bool put = event.type == StoreEvent::Type::kPut;
    bytes += put ? event.kv.value.size() : event.previous ? event.previous->value.size() : 0;
  }
  ring_.push_back({std::move(changes), bytes});
  ring_bytes_ += bytes;
  while (ring_.size() > options_.ring_revisions || ring_bytes_ > options_.ring_bytes) {
    ring_floor_ = ring_.front().changes->revision;
    ring_bytes_ -= ring_.front().bytes;
    ring_.pop_front();
  }
}

void WatchCache::OnBatch(const StoreBatch& batch) {
  if (batch.revision <= started_) return OnPastBatch(batch);
  MESH_CHECK(batch.revision > revision_) << "revision " << batch.revision << " after " << revision_;
  auto changes = std::make_shared<ChangeBatch>();
  changes->revision = batch.revision;
  {
    absl::MutexLock lock(&mutex_);
    for (const StoreEvent& event : batch.events) {
      const std::optional<StoreKey> key = DecodeKey(event.kv.key);
      if (!key) continue;
      auto it = objects_.find({key->kind, key->object});
      mesh::controlplane::Change change;
      if (it != objects_.end()) change.before = it->second;
      if (event.type == StoreEvent::Type::kDelete) {
        if (it == objects_.end()) continue;
        objects_.erase(it);
        state_.Remove(key->kind, key->object);
        if (key->kind == v1::KIND_NODE) state_.heard.erase(key->object.name);
      } else {
        // Only this process writes here, and it wrote a Resource: anything else is a bug.
        absl::StatusOr<std::shared_ptr<const v1::Resource>> resource = Decode(event.kv);
        MESH_CHECK(resource.ok()) << resource.status().ToString();
        change.after = *resource;
        objects_[{key->kind, key->object}] = *resource;
        state_.Put(*std::move(resource));
      }
      changes->changes.push_back(std::move(change));
    }
    state_.revision = batch.revision;
  }
  revision_.store(batch.revision, std::memory_order_release);

  Remember(changes, batch);
  // A subscriber may change the set while we walk it.
  std::vector<uint64_t> ids;
  for (const auto& [id, subscriber] : subscribers_) ids.push_back(id);
  for (const uint64_t id : ids) {
    auto it = subscribers_.find(id);
    if (it == subscribers_.end()) continue;
    const std::shared_ptr<Subscriber> subscriber = it->second;
    (*subscriber)(*changes);
  }
  while (!waiting_.empty() && waiting_.begin()->first <= batch.revision) {
    loop_.Post(std::move(waiting_.begin()->second));
    waiting_.erase(waiting_.begin());
  }
}

WatchCache::Subscription WatchCache::Subscribe(Subscriber subscriber) {
  const uint64_t id = next_subscriber_++;
  subscribers_[id] = std::make_shared<Subscriber>(std::move(subscriber));
  return Subscription(this, id);
}

absl::StatusOr<std::vector<std::shared_ptr<const ChangeBatch>>> WatchCache::ChangesAfter(
    Revision after) const {
  if (after < floor()) {
    return absl::OutOfRangeError(
        fmt::format("changes after revision {} are no longer kept (oldest: {}); list again", after,
                    floor() + 1));
  }
  std::vector<std::shared_ptr<const ChangeBatch>> out;
  for (auto it = ring_.rbegin(); it != ring_.rend() && it->changes->revision > after; ++it) {
    out.push_back(it->changes);
  }
  return std::vector<std::shared_ptr<const ChangeBatch>>(out.rbegin(), out.rend());
}

void WatchCache::WhenAtLeast(Revision revision, Task task) {
  if (revision_ >= revision) {
    loop_.Post(std::move(task));
  } else {
    waiting_.emplace(revision, std::move(task));
  }
}

}  // namespace mesh::controlplane
