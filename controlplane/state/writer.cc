// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/writer.h"

#include <algorithm>
#include <utility>

#include "api/schema/defaults.h"
#include "api/schema/schema.h"
#include "common/check.h"
#include "common/status.h"
#include "controlplane/state/claims.h"
#include "controlplane/state/object_rules.h"
#include "controlplane/store/keys.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

constexpr absl::Duration kEventSweep = absl::Minutes(1);
// Repetitions of one event within this time become one write.
constexpr absl::Duration kEventWindow = absl::Seconds(5);

Revision RevisionOf(const v1::Resource& resource) {
  const std::string& text = MetaOf(resource).resource_version();
  return text.empty() ? 0 : std::strtoll(text.c_str(), nullptr, 10);
}

std::string EncodeValue(v1::Resource resource) {
  MutableMetaOf(&resource)->clear_resource_version();
  return resource.SerializeAsString();
}

// OK when `given` was computed from `current`; an empty resource_version asks for no more than the
// same uid.
absl::Status SameVersion(const v1::Resource& given, const v1::Resource& current) {
  const v1::ObjectMeta& wanted = MetaOf(given);
  const v1::ObjectMeta& present = MetaOf(current);
  const bool same = (wanted.resource_version().empty() ||
                     wanted.resource_version() == present.resource_version()) &&
                    (wanted.uid().empty() || wanted.uid() == present.uid());
  return same ? absl::OkStatus() : ConflictFor(KindOf(current), present.name());
}

Intent Put(v1::Resource resource) {
  return {.type = Intent::Type::kPut, .resource = std::move(resource), .others = {}};
}
Intent RemoveIt() { return {.type = Intent::Type::kRemove, .resource = {}, .others = {}}; }

Intent IntentOf(Deletion deletion) {
  if (deletion.remove) return RemoveIt();
  return deletion.changed ? Put(std::move(deletion.marked)) : Intent{};
}

// Objects of the owner's namespace without their reference to it.
template <typename T, typename Wrap>
void Orphan(const ObjectMap<T>& objects, const v1::ObjectMeta& owner, Wrap wrap,
            std::vector<v1::Resource>* out) {
  for (const auto& [key, object] : objects) {
    if (key.ns != owner.namespace_()) continue;
    const auto& references = object->metadata().owner_references();
    if (std::none_of(references.begin(), references.end(),
                     [&](const auto& reference) { return reference.uid() == owner.uid(); })) {
      continue;
    }
    v1::Resource resource;
    *wrap(&resource) = *object;
    auto* kept = MutableMetaOf(&resource)->mutable_owner_references();
    kept->erase(std::remove_if(kept->begin(), kept->end(),
                               [&](const auto& r) { return r.uid() == owner.uid(); }),
                kept->end());
    out->push_back(std::move(resource));
  }
}

std::vector<v1::Resource> OrphanedBy(const ClusterState& state, const v1::Resource& owner) {
  std::vector<v1::Resource> out;
  const v1::ObjectMeta& meta = MetaOf(owner);
  Orphan(
      state.pods, meta, [](v1::Resource* r) { return r->mutable_pod(); }, &out);
  Orphan(
      state.replica_sets, meta, [](v1::Resource* r) { return r->mutable_replica_set(); }, &out);
  Orphan(
      state.endpoint_slices, meta, [](v1::Resource* r) { return r->mutable_endpoint_slice(); },
      &out);
  return out;
}

v1::Resource DefaultStorageClass() {
  v1::Resource out;
  v1::StorageClass* type = out.mutable_storage_class();
  type->mutable_metadata()->set_name(kDefaultClassName);
  (*type->mutable_metadata()->mutable_annotations())[kDefaultClassAnnotation] = "true";
  type->set_provisioner(kLocalPathProvisioner);
  type->set_reclaim_policy("Delete");
  type->set_volume_binding_mode("WaitForFirstConsumer");
  return out;
}

// 64-bit FNV-1a.
uint64_t Hash(std::initializer_list<std::string_view> parts) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const std::string_view part : parts) {
    for (const char c : part) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    hash = (hash ^ 0xff) * 0x100000001b3;
  }
  return hash;
}

ObjectKey EventKey(const EventNote& note) {
  const v1::ObjectReference& object = note.object;
  return {.ns = object.namespace_().empty() ? "default" : object.namespace_(),
          .name = fmt::format(
              "{}.{:016x}", object.name(),
              Hash({object.kind(), object.uid(), note.type, note.reason, note.message}))};
}

}  // namespace

struct Writer::Job {
  uint64_t id;
  v1::Kind kind;
  ObjectKey key;
  Decide decide;
  Done done;
  int tries = 0;
};

Writer::Writer(EventLoop& loop, WatchCache& cache, CommitQueue& commits, Random random,
               Options options)
    : loop_(loop),
      cache_(cache),
      commits_(commits),
      random_(random),
      options_(std::move(options)),
      admission_(options_.admission) {
  expire_timer_ = loop_.RunAfter(kEventSweep, [this] { ExpireEvents(); });
}

Writer::~Writer() {
  *alive_ = false;
  loop_.Cancel(expire_timer_);
}

// RFC 4122, version 4.
std::string Writer::NewUid() {
  const uint64_t high = (random_.Next() & ~0xf000ull) | 0x4000ull;
  const uint64_t low = (random_.Next() & ~(3ull << 62)) | (2ull << 62);
  return fmt::format("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xffff, low >> 48, low & 0xffffffffffff);
}

void Writer::Change(v1::Kind kind, const ObjectKey& key, Decide decide, Done done) {
  Run(std::make_shared<Job>(Job{.id = next_job_++,
                                .kind = kind,
                                .key = key,
                                .decide = std::move(decide),
                                .done = std::move(done)}));
}

void Writer::Run(std::shared_ptr<Job> job) {
  const std::shared_ptr<const v1::Resource> current = cache_.Find(job->kind, job->key);
  absl::StatusOr<Intent> intent = job->decide(cache_.state(), current);
  if (!intent.ok()) return Finish(job, intent.status());
  if (intent->type == Intent::Type::kNothing) return Finish(job, Written{.resource = current});

  const std::string key = EncodeKey(job->kind, job->key);
  Transaction transaction;
  transaction.compares.push_back(
      {.key = key, .mod_revision = current == nullptr ? 0 : RevisionOf(*current)});
  auto written = std::make_shared<Written>();
  written->changed = true;
  auto next = std::make_shared<v1::Resource>();
  if (intent->type == Intent::Type::kPut) {
    *next = std::move(intent->resource);
    MESH_CHECK(KindOf(*next) == job->kind && KeyOf(*next) == job->key) << KeyOf(*next).ToString();
    if (current == nullptr) InitNew(next.get(), NewUid(), loop_.Now());
    if (absl::Status status = admission_.Admit(cache_.state(), job->id, current.get(), next.get());
        !status.ok()) {
      return Finish(job, status);
    }
    RecordManager(current.get(), intent->manager, TimestampOf(loop_.Now()), next.get());
    if (current != nullptr && intent->others.empty() && EqualObjects(*current, *next)) {
      return Finish(job, Written{.resource = current});
    }
    written->created = current == nullptr;
  }
  written->removed =
      intent->type == Intent::Type::kRemove || (current != nullptr && HeldByNothing(*next));
  if (written->removed) {
    if (current == nullptr) return Finish(job, Written{});
    if (intent->type == Intent::Type::kRemove) *next = *current;
    transaction.operations.push_back({.type = Operation::Type::kDelete, .key = key});
  } else {
    transaction.operations.push_back({.key = key, .value = EncodeValue(*next)});
  }
  for (const v1::Resource& other : intent->others) {
    const std::string other_key = EncodeKey(KindOf(other), KeyOf(other));
    transaction.compares.push_back({.key = other_key, .mod_revision = RevisionOf(other)});
    transaction.operations.push_back({.key = other_key, .value = EncodeValue(other)});
  }

  commits_.Commit(std::move(transaction), [this, alive = alive_, job, next,
                                           written](absl::StatusOr<CommitResult> result) {
    if (!*alive) return;
    if (!result.ok()) return Finish(job, result.status());
    const Revision revision = result->revision;
    if (!result->succeeded && ++job->tries >= options_.max_tries) {
      return Finish(job, ConflictFor(job->kind, job->key.name));
    }
    if (result->succeeded) {
      MutableMetaOf(next.get())->set_resource_version(std::to_string(revision));
      written->resource = next;
    }
    cache_.WhenAtLeast(revision, [this, alive, job, written, won = result->succeeded] {
      if (!*alive) return;
      if (won) {
        Finish(job, *written);
      } else {
        Run(job);
      }
    });
  });
}

void Writer::Finish(const std::shared_ptr<Job>& job, absl::StatusOr<Written> result) {
  admission_.Release(job->id);
  if (job->done) job->done(std::move(result));
}

void Writer::Submit(Write write, Done done) {
  const v1::Kind kind = KindOf(write.resource);
  const ObjectKey key = KeyOf(write.resource);
  if (write.type == Write::Type::kCreate) schema::ApplyDefaults(&write.resource);
  auto given = std::make_shared<const Write>(std::move(write));
  Change(
      kind, key,
      [this, given, kind, key](
          const ClusterState&,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        const v1::Resource& wanted = given->resource;
        if (given->type == Write::Type::kCreate) {
          return current == nullptr ? Put(wanted) : Intent{};
        }
        if (current == nullptr) {
          const bool gone_is_done =
              given->type == Write::Type::kDelete || given->type == Write::Type::kRemove;
          if (gone_is_done) return Intent{};
          return NotFoundFor(kind, key.name);
        }
        RETURN_IF_ERROR(SameVersion(wanted, *current));
        switch (given->type) {
          case Write::Type::kUpdate: {
            v1::Resource next = wanted;
            CarryIntoUpdate(*current, &next);
            return Put(std::move(next));
          }
          case Write::Type::kUpdateStatus:
            return Put(WithStatusOf(*current, wanted));
          case Write::Type::kDelete:
            return IntentOf(Deleted(*current, given->grace_period_seconds, loop_.Now()));
          case Write::Type::kRemove:
            return RemoveIt();
          case Write::Type::kBind: {
            ASSIGN_OR_RETURN(v1::Resource bound, Bound(*current, wanted, loop_.Now()));
            return Put(std::move(bound));
          }
          case Write::Type::kCreate:
            break;
        }
        return absl::InternalError("unknown type of write");
      },
      std::move(done));
}

void Writer::Create(v1::Resource resource, Done done) {
  const v1::Kind kind = KindOf(resource);
  const ObjectKey key = KeyOf(resource);
  Change(
      kind, key,
      [resource = std::move(resource), kind, key](
          const ClusterState&,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        if (current != nullptr) return AlreadyExistsFor(kind, key.name);
        return Put(resource);
      },
      std::move(done));
}

void Writer::Delete(v1::Kind kind, const ObjectKey& key, DeleteOptions options, Done done) {
  Change(
      kind, key,
      [this, options = std::move(options), kind, key](
          const ClusterState& state,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        if (current == nullptr) return NotFoundFor(kind, key.name);
        if (!options.uid.empty() && options.uid != MetaOf(*current).uid()) {
          return absl::AbortedError(fmt::format(
              "Operation cannot be fulfilled on {} \"{}\": the UID in the precondition ({}) does "
              "not match the UID in record ({})",
              schema::PluralWithGroup(kind), key.name, options.uid, MetaOf(*current).uid()));
        }
        Intent intent = IntentOf(Deleted(*current, options.grace_period_seconds, loop_.Now()));
        if (options.orphan && intent.type != Intent::Type::kNothing) {
          intent.others = OrphanedBy(state, *current);
        }
        return intent;
      },
      std::move(done));
}

void Writer::EnsureBaseObjects(Task done) {
  auto left = std::make_shared<int>(3);
  const auto made = [left, done](const absl::StatusOr<Written>& written) {
    // The store refused: meshd cannot serve, and each later write will say why.
    MESH_CHECK(written.ok() || absl::IsAlreadyExists(written.status()))
        << written.status().ToString();
    if (--*left == 0 && done) done();
  };
  const auto create = [this](const char* name, Done then) {
    v1::Resource resource;
    resource.mutable_namespace_()->mutable_metadata()->set_name(name);
    Create(std::move(resource), std::move(then));
  };
  create("kube-system", made);
  create("default", [this, alive = alive_, made](const absl::StatusOr<Written>& written) {
    made(written);
    // Once in a cluster's life: who deletes the class, or makes another the default, has decided.
    if (!*alive) return;
    if (written.ok()) return Create(DefaultStorageClass(), made);
    made(Written{});
  });
}

void Writer::Note(const EventNote& note) {
  const ObjectKey key = EventKey(note);
  PendingNote& pending = notes_[key];
  pending.note = note;
  ++pending.count;
  if (!pending.writing) FlushNote(key);
}

void Writer::FlushNote(const ObjectKey& key) {
  PendingNote& pending = notes_[key];
  pending.writing = true;
  const int count = std::exchange(pending.count, 0);
  Change(
      v1::KIND_EVENT, key,
      [this, key, count, note = pending.note](
          const ClusterState&,
          const std::shared_ptr<const v1::Resource>& current) -> absl::StatusOr<Intent> {
        v1::Resource next;
        if (current != nullptr) next = *current;
        v1::Event* event = next.mutable_event();
        if (current == nullptr) {
          event->mutable_metadata()->set_namespace_(key.ns);
          event->mutable_metadata()->set_name(key.name);
          *event->mutable_involved_object() = note.object;
          event->set_type(note.type);
          event->set_reason(note.reason);
          event->set_message(note.message);
          *event->mutable_first_timestamp() = TimestampOf(loop_.Now());
          event->mutable_source()->set_component("meshd");
        }
        event->set_count(event->count() + count);
        *event->mutable_last_timestamp() = TimestampOf(loop_.Now());
        return Put(std::move(next));
      },
      [this, alive = alive_, key](const absl::StatusOr<Written>&) {
        // An event that could not be written is lost, as Kubernetes' are; the next one counts on.
        if (!*alive) return;
        loop_.RunAfter(kEventWindow, [this, alive, key] {
          if (!*alive) return;
          auto it = notes_.find(key);
          it->second.writing = false;
          if (it->second.count > 0) {
            FlushNote(key);
          } else {
            notes_.erase(it);
          }
        });
      });
}

void Writer::ExpireEvents() {
  expire_timer_ = loop_.RunAfter(kEventSweep, [this] { ExpireEvents(); });
  const ClusterState& state = cache_.state();
  const int64_t oldest = absl::ToUnixSeconds(loop_.Now() - options_.event_ttl);
  std::vector<std::pair<int64_t, ObjectKey>> by_age;
  for (const auto& [key, event] : state.events) {
    by_age.emplace_back(event->last_timestamp().seconds(), key);
  }
  std::sort(by_age.begin(), by_age.end());
  const size_t surplus =
      by_age.size() > options_.max_events ? by_age.size() - options_.max_events : 0;
  for (size_t i = 0; i < by_age.size() && i < kMaxWritesPerStep; ++i) {
    if (i >= surplus && by_age[i].first > oldest) break;
    Delete(v1::KIND_EVENT, by_age[i].second, {}, {});
  }
}

}  // namespace mesh::controlplane
