// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/sqlite_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "controlplane/store/lease_table.h"
#include "controlplane/store/memory_store.h"
#include "controlplane/store/sqlite_db.h"
#include "controlplane/store/store_thread.h"
#include "controlplane/store/watch_hub.h"
#include "fmt/format.h"

namespace mesh::controlplane {
namespace {

// PRAGMA application_id and user_version of our files.
constexpr int64_t kApplicationId = 0x6d657368;  // "mesh"
constexpr int64_t kSchemaVersion = 1;
// Rows of history that one maintenance step deletes: a few milliseconds under the lock.
constexpr int kCompactRows = 2'000;

constexpr const char* kPragmas =
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"
    "PRAGMA cache_size=-4096;"              // KiB
    "PRAGMA journal_size_limit=16777216;";  // the log shrinks back to this

constexpr const char* kSchema =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE state(id INTEGER PRIMARY KEY CHECK(id=1), revision INTEGER NOT NULL,"
    "  compacted INTEGER NOT NULL);"
    "INSERT INTO state VALUES(1, 0, 0);"
    "CREATE TABLE kv(key TEXT PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,"
    "  mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER NOT NULL)"
    "  WITHOUT ROWID;"
    // One row per change; prev_* is the key before it, NULL when it did not exist.
    "CREATE TABLE history(revision INTEGER NOT NULL, position INTEGER NOT NULL, key TEXT NOT NULL,"
    "  deleted INTEGER NOT NULL, value BLOB NOT NULL, create_revision INTEGER NOT NULL,"
    "  version INTEGER NOT NULL, lease INTEGER NOT NULL, prev_value BLOB,"
    "  prev_create_revision INTEGER, prev_mod_revision INTEGER, prev_version INTEGER,"
    "  prev_lease INTEGER, PRIMARY KEY(revision, position)) WITHOUT ROWID;"
    "CREATE TABLE lease(id INTEGER PRIMARY KEY AUTOINCREMENT, ttl_ms INTEGER NOT NULL);"
    "PRAGMA application_id=1835365224;"
    "PRAGMA user_version=1;"
    "COMMIT;";

// The smallest string greater than every string that starts with `prefix`.
std::string PrefixEnd(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

absl::StatusOr<UniqueFd> LockDirectory(const std::string& data_dir) {
  std::error_code error;
  if (std::filesystem::create_directories(data_dir, error)) ::chmod(data_dir.c_str(), 0700);
  if (error) return ErrnoStatus(error.value(), fmt::format("data directory {}", data_dir));
  const std::string path = data_dir + "/lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return ErrnoStatus(errno, path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(fmt::format(
        "data directory {} is in use by another meshd; stop it or choose another --data-dir",
        data_dir));
  }
  return fd;
}

}  // namespace

class SqliteStore::Impl {
 public:
  Impl(Options options, UniqueFd lock, SqliteDb db)
      : options_(std::move(options)), lock_(std::move(lock)), db_(std::move(db)) {}
  ~Impl() { thread_.Stop(); }

  absl::Status Init(const std::string& path);
  std::vector<absl::StatusOr<CommitResult>> CommitAll(const std::vector<Transaction>& transactions);
  absl::StatusOr<RangeResult> Range(std::string_view prefix);
  absl::StatusOr<std::unique_ptr<StoreWatch>> Watch(
      std::string_view prefix, Revision after, std::function<void(const StoreBatch&)> on_batch);
  absl::Status Compact(Revision revision);
  absl::StatusOr<LeaseId> Grant(absl::Duration ttl);
  absl::Status KeepAlive(LeaseId lease);
  absl::Status Revoke(LeaseId lease);
  Revision CurrentRevision() {
    absl::MutexLock lock(&mutex_);
    return revision_;
  }

 private:
  // What a commit does beyond the database, done once it is on disk.
  struct Effects {
    Revision revision;
    std::vector<SharedBatch> batches;
    std::vector<std::pair<std::string, LeaseId>> attachments;
  };

  absl::Status LoadLeases() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::optional<KeyValue>> Get(const std::string& key)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<CommitResult> Execute(const Transaction& transaction, Effects* effects)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WriteEvent(const StoreEvent& event, Revision revision, int position)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs `body` between BEGIN and COMMIT; rolls back when it or the commit fails.
  template <typename Body>
  absl::Status InTransaction(Body body) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Publish(const Effects& effects) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EndLease(LeaseId lease) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ExpireLeases();
  void ScheduleCompaction() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CompactStep();

  const Options options_;
  UniqueFd lock_;
  absl::Mutex mutex_;
  SqliteDb db_ ABSL_GUARDED_BY(mutex_);
  SqliteStatement get_, put_, remove_, add_history_, set_revision_;
  Revision revision_ ABSL_GUARDED_BY(mutex_) = 0;
  Revision compacted_ ABSL_GUARDED_BY(mutex_) = 0;
  bool compacting_ ABSL_GUARDED_BY(mutex_) = false;
  LeaseTable leases_ ABSL_GUARDED_BY(mutex_);
  TimerId expiry_timer_ = 0;  // store thread only
  StoreThread thread_{nullptr};
  WatchHub hub_{thread_.loop()};
};

absl::Status SqliteStore::Impl::Init(const std::string& path) {
  absl::MutexLock lock(&mutex_);
  RETURN_IF_ERROR(db_.Execute(kPragmas));
  ASSIGN_OR_RETURN(const int64_t tables, db_.QueryInt("SELECT count(*) FROM sqlite_schema"));
  if (tables == 0) {
    RETURN_IF_ERROR(db_.Execute(kSchema));
  } else {
    ASSIGN_OR_RETURN(const int64_t application, db_.QueryInt("PRAGMA application_id"));
    ASSIGN_OR_RETURN(const int64_t version, db_.QueryInt("PRAGMA user_version"));
    if (application != kApplicationId) {
      return absl::FailedPreconditionError(
          "it is the database of another program; choose another --data-dir");
    }
    if (version != kSchemaVersion) {
      return absl::FailedPreconditionError(
          fmt::format("its schema version is {}, this meshd knows {}; run the meshd that wrote it",
                      version, kSchemaVersion));
    }
    ASSIGN_OR_RETURN(const std::string check, db_.QueryText("PRAGMA quick_check(1)"));
    if (check != "ok") {
      return absl::DataLossError(
          fmt::format("it is damaged: {}; restore {} from a backup or move it away", check, path));
    }
  }
  ASSIGN_OR_RETURN(revision_, db_.QueryInt("SELECT revision FROM state"));
  ASSIGN_OR_RETURN(compacted_, db_.QueryInt("SELECT compacted FROM state"));
  ASSIGN_OR_RETURN(get_, db_.Prepare("SELECT value, create_revision, mod_revision, version, lease "
                                     "FROM kv WHERE key=?1"));
  ASSIGN_OR_RETURN(put_, db_.Prepare("INSERT OR REPLACE INTO kv VALUES(?1,?2,?3,?4,?5,?6)"));
  ASSIGN_OR_RETURN(remove_, db_.Prepare("DELETE FROM kv WHERE key=?1"));
  ASSIGN_OR_RETURN(
      add_history_,
      db_.Prepare("INSERT INTO history VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)"));
  ASSIGN_OR_RETURN(set_revision_, db_.Prepare("UPDATE state SET revision=?1"));
  return LoadLeases();
}

absl::Status SqliteStore::Impl::LoadLeases() {
  const absl::Time now = thread_.loop().Now();
  ASSIGN_OR_RETURN(SqliteStatement leases, db_.Prepare("SELECT id, ttl_ms FROM lease"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, leases.Step());
    if (!row) break;
    leases_.Grant(leases.Int(0), absl::Milliseconds(leases.Int(1)), now);
  }
  ASSIGN_OR_RETURN(SqliteStatement keys, db_.Prepare("SELECT key, lease FROM kv WHERE lease<>0"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, keys.Step());
    if (!row) break;
    leases_.Attach(keys.Bytes(0), keys.Int(1));
  }
  if (leases_.NextExpiry()) thread_.loop().Post([this] { ExpireLeases(); });
  return absl::OkStatus();
}

template <typename Body>
absl::Status SqliteStore::Impl::InTransaction(Body body) {
  RETURN_IF_ERROR(db_.Execute("BEGIN IMMEDIATE"));
  absl::Status status = body();
  if (status.ok()) status = db_.Execute("COMMIT");
  // After some failures SQLite has rolled back by itself; a second time is an error to ignore.
  if (!status.ok()) db_.Execute("ROLLBACK").IgnoreError();
  return status;
}

std::vector<absl::StatusOr<CommitResult>> SqliteStore::Impl::CommitAll(
    const std::vector<Transaction>& transactions) {
  absl::MutexLock lock(&mutex_);
  std::vector<absl::StatusOr<CommitResult>> out;
  out.reserve(transactions.size());
  Effects effects{.revision = revision_, .batches = {}, .attachments = {}};
  absl::Status status = InTransaction([&] {
    for (const Transaction& transaction : transactions) {
      absl::Status valid = CheckShape(transaction);
      for (const Operation& operation : transaction.operations) {
        if (operation.lease != 0 && !leases_.Contains(operation.lease)) {
          valid = absl::NotFoundError(fmt::format("lease {} not found", operation.lease));
        }
      }
      if (!valid.ok()) {
        out.push_back(valid);
        continue;
      }
      absl::StatusOr<CommitResult> result = Execute(transaction, &effects);
      if (!result.ok()) return result.status();
      out.push_back(*result);
    }
    if (effects.revision == revision_) return absl::OkStatus();
    return set_revision_.Bind(1, effects.revision).Run();
  });
  if (!status.ok()) {
    status = Annotate(status, fmt::format("store {}", options_.data_dir));
    return std::vector<absl::StatusOr<CommitResult>>(transactions.size(), status);
  }
  Publish(effects);
  return out;
}

absl::StatusOr<std::optional<KeyValue>> SqliteStore::Impl::Get(const std::string& key) {
  ASSIGN_OR_RETURN(const bool row, get_.Bind(1, std::string_view(key)).Step());
  if (!row) return std::nullopt;
  KeyValue out{.key = key,
               .value = get_.Bytes(0),
               .create_revision = get_.Int(1),
               .mod_revision = get_.Int(2),
               .version = get_.Int(3),
               .lease = get_.Int(4)};
  get_.Reset();
  return out;
}

absl::StatusOr<CommitResult> SqliteStore::Impl::Execute(const Transaction& transaction,
                                                        Effects* effects) {
  for (const Compare& compare : transaction.compares) {
    ASSIGN_OR_RETURN(const std::optional<KeyValue> present, Get(compare.key));
    if ((present ? present->mod_revision : 0) != compare.mod_revision) {
      return CommitResult{.succeeded = false, .revision = effects->revision};
    }
  }
  auto batch = std::make_shared<StoreBatch>();
  batch->revision = effects->revision + 1;
  for (const Operation& operation : transaction.operations) {
    StoreEvent event;
    ASSIGN_OR_RETURN(event.previous, Get(operation.key));
    if (operation.type == Operation::Type::kDelete) {
      if (!event.previous) continue;
      event.type = StoreEvent::Type::kDelete;
      event.kv = {.key = operation.key, .value = {}, .mod_revision = batch->revision};
    } else {
      event.kv = {
          .key = operation.key,
          .value = operation.value,
          .create_revision = event.previous ? event.previous->create_revision : batch->revision,
          .mod_revision = batch->revision,
          .version = event.previous ? event.previous->version + 1 : 1,
          .lease = operation.lease};
    }
    RETURN_IF_ERROR(WriteEvent(event, batch->revision, static_cast<int>(batch->events.size())));
    effects->attachments.emplace_back(operation.key, event.kv.lease);
    batch->events.push_back(std::move(event));
  }
  if (!batch->events.empty()) {
    effects->revision = batch->revision;
    effects->batches.push_back(std::move(batch));
  }
  return CommitResult{.succeeded = true, .revision = effects->revision};
}

absl::Status SqliteStore::Impl::WriteEvent(const StoreEvent& event, Revision revision,
                                           int position) {
  const KeyValue& kv = event.kv;
  const bool deleted = event.type == StoreEvent::Type::kDelete;
  if (deleted) {
    RETURN_IF_ERROR(remove_.Bind(1, std::string_view(kv.key)).Run());
  } else {
    put_.Bind(1, std::string_view(kv.key)).BindBlob(2, kv.value).Bind(3, kv.create_revision);
    put_.Bind(4, kv.mod_revision).Bind(5, kv.version).Bind(6, kv.lease);
    RETURN_IF_ERROR(put_.Run());
  }
  add_history_.Bind(1, revision).Bind(2, int64_t{position}).Bind(3, std::string_view(kv.key));
  add_history_.Bind(4, int64_t{deleted}).BindBlob(5, kv.value).Bind(6, kv.create_revision);
  add_history_.Bind(7, kv.version).Bind(8, kv.lease);
  if (event.previous) {
    const KeyValue& previous = *event.previous;
    add_history_.BindBlob(9, previous.value).Bind(10, previous.create_revision);
    add_history_.Bind(11, previous.mod_revision).Bind(12, previous.version);
    add_history_.Bind(13, previous.lease);
  }
  return add_history_.Run();
}

void SqliteStore::Impl::Publish(const Effects& effects) {
  revision_ = effects.revision;
  for (const auto& [key, lease] : effects.attachments) leases_.Attach(key, lease);
  for (const SharedBatch& batch : effects.batches) hub_.Publish(batch);
  ScheduleCompaction();
}

absl::StatusOr<RangeResult> SqliteStore::Impl::Range(std::string_view prefix) {
  absl::MutexLock lock(&mutex_);
  RangeResult out{.items = {}, .revision = revision_};
  const std::string end = PrefixEnd(prefix);
  ASSIGN_OR_RETURN(
      SqliteStatement rows,
      db_.Prepare(end.empty() ? "SELECT key, value, create_revision, mod_revision, version, lease "
                                "FROM kv WHERE key>=?1 ORDER BY key"
                              : "SELECT key, value, create_revision, mod_revision, version, lease "
                                "FROM kv WHERE key>=?1 AND key<?2 ORDER BY key"));
  rows.Bind(1, prefix);
  if (!end.empty()) rows.Bind(2, std::string_view(end));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) return out;
    out.items.push_back({.key = rows.Bytes(0),
                         .value = rows.Bytes(1),
                         .create_revision = rows.Int(2),
                         .mod_revision = rows.Int(3),
                         .version = rows.Int(4),
                         .lease = rows.Int(5)});
  }
}

absl::StatusOr<std::unique_ptr<StoreWatch>> SqliteStore::Impl::Watch(
    std::string_view prefix, Revision after, std::function<void(const StoreBatch&)> on_batch) {
  absl::MutexLock lock(&mutex_);
  if (after < compacted_) {
    return absl::OutOfRangeError(
        fmt::format("watch after revision {}: history up to revision {} is compacted; list again",
                    after, compacted_));
  }
  ASSIGN_OR_RETURN(
      SqliteStatement rows,
      db_.Prepare("SELECT revision, key, deleted, value, create_revision, version, lease, "
                  "prev_value, prev_create_revision, prev_mod_revision, prev_version, prev_lease "
                  "FROM history WHERE revision>?1 ORDER BY revision, position"));
  rows.Bind(1, after);
  std::vector<SharedBatch> backlog;
  std::shared_ptr<StoreBatch> batch;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, rows.Step());
    if (!row) break;
    if (batch == nullptr || batch->revision != rows.Int(0)) {
      batch = std::make_shared<StoreBatch>();
      batch->revision = rows.Int(0);
      backlog.push_back(batch);
    }
    StoreEvent event;
    event.type = rows.Int(2) != 0 ? StoreEvent::Type::kDelete : StoreEvent::Type::kPut;
    event.kv = {.key = rows.Bytes(1),
                .value = rows.Bytes(3),
                .create_revision = rows.Int(4),
                .mod_revision = batch->revision,
                .version = rows.Int(5),
                .lease = rows.Int(6)};
    if (!rows.IsNull(8)) {
      event.previous = KeyValue{.key = event.kv.key,
                                .value = rows.Bytes(7),
                                .create_revision = rows.Int(8),
                                .mod_revision = rows.Int(9),
                                .version = rows.Int(10),
                                .lease = rows.Int(11)};
    }
    batch->events.push_back(std::move(event));
  }
  return hub_.Add(prefix, backlog, std::move(on_batch));
}

absl::Status SqliteStore::Impl::Compact(Revision revision) {
  absl::MutexLock lock(&mutex_);
  if (revision > revision_) {
    return absl::OutOfRangeError(
        fmt::format("compact revision {}: the store is at {}", revision, revision_));
  }
  if (revision <= compacted_) return absl::OkStatus();
  const absl::Status status = InTransaction([&]() -> absl::Status {
    ASSIGN_OR_RETURN(SqliteStatement mark, db_.Prepare("UPDATE state SET compacted=?1"));
    RETURN_IF_ERROR(mark.Bind(1, revision).Run());
    ASSIGN_OR_RETURN(SqliteStatement trim, db_.Prepare("DELETE FROM history WHERE revision<=?1"));
    return trim.Bind(1, revision).Run();
  });
  RETURN_IF_ERROR(status);
  compacted_ = revision;
  return absl::OkStatus();
}

// Lets a tenth more than keep_revisions gather, then trims them in steps on the store's thread.
void SqliteStore::Impl::ScheduleCompaction() {
  if (compacting_ || revision_ - compacted_ < options_.keep_revisions * 11 / 10 + 1) return;
  compacting_ = true;
  thread_.loop().Post([this] { CompactStep(); });
}

void SqliteStore::Impl::CompactStep() {
  Revision target;
  bool more;
  {
    absl::MutexLock lock(&mutex_);
    target = std::min(revision_ - options_.keep_revisions, compacted_ + kCompactRows);
    more = target < revision_ - options_.keep_revisions;
    if (!more) compacting_ = false;
  }
  // A disk that refuses this will refuse the next commit too, and say so there.
  Compact(target).IgnoreError();
  if (more) thread_.loop().Post([this] { CompactStep(); });
}

absl::StatusOr<LeaseId> SqliteStore::Impl::Grant(absl::Duration ttl) {
  LeaseId lease = 0;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Status status = InTransaction([&]() -> absl::Status {
      ASSIGN_OR_RETURN(SqliteStatement insert,
                       db_.Prepare("INSERT INTO lease(ttl_ms) VALUES(?1) RETURNING id"));
      ASSIGN_OR_RETURN(const bool row, insert.Bind(1, absl::ToInt64Milliseconds(ttl)).Step());
      if (!row) return absl::InternalError("lease insert returned no id");
      lease = insert.Int(0);
      insert.Reset();
      return absl::OkStatus();
    });
    RETURN_IF_ERROR(status);
    leases_.Grant(lease, ttl, thread_.loop().Now());
  }
  thread_.loop().Post([this] { ExpireLeases(); });
  return lease;
}

absl::Status SqliteStore::Impl::KeepAlive(LeaseId lease) {
  absl::MutexLock lock(&mutex_);
  if (leases_.KeepAlive(lease, thread_.loop().Now())) return absl::OkStatus();
  return absl::NotFoundError(fmt::format("lease {} not found", lease));
}

absl::Status SqliteStore::Impl::Revoke(LeaseId lease) {
  absl::MutexLock lock(&mutex_);
  if (!leases_.Contains(lease)) {
    return absl::NotFoundError(fmt::format("lease {} not found", lease));
  }
  return EndLease(lease);
}

absl::Status SqliteStore::Impl::EndLease(LeaseId lease) {
  Transaction transaction;
  for (std::string& key : leases_.KeysOf(lease)) {
    transaction.operations.push_back({.type = Operation::Type::kDelete, .key = std::move(key)});
  }
  Effects effects{.revision = revision_, .batches = {}, .attachments = {}};
  const absl::Status status = InTransaction([&]() -> absl::Status {
    RETURN_IF_ERROR(Execute(transaction, &effects).status());
    RETURN_IF_ERROR(set_revision_.Bind(1, effects.revision).Run());
    ASSIGN_OR_RETURN(SqliteStatement drop, db_.Prepare("DELETE FROM lease WHERE id=?1"));
    return drop.Bind(1, lease).Run();
  });
  RETURN_IF_ERROR(status);
  leases_.Remove(lease);
  Publish(effects);
  return absl::OkStatus();
}

// One timer at a time, for the lease that ends first; a lease kept alive since then only moves it.
void SqliteStore::Impl::ExpireLeases() {
  EventLoop& loop = thread_.loop();
  std::optional<absl::Time> next;
  {
    absl::MutexLock lock(&mutex_);
    for (const LeaseId lease : leases_.Expired(loop.Now())) {
      // Tried again a second later when the disk refused.
      if (!EndLease(lease).ok()) next = loop.Now() + absl::Seconds(1);
    }
    if (!next) next = leases_.NextExpiry();
  }
  loop.Cancel(expiry_timer_);
  if (next) expiry_timer_ = loop.RunAt(*next, [this] { ExpireLeases(); });
}

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(Options options) {
  ASSIGN_OR_RETURN(UniqueFd lock, LockDirectory(options.data_dir));
  const std::string path = options.data_dir + "/mesh.db";
  const auto annotated = [&path](const absl::Status& status) {
    absl::Status out = Annotate(status, fmt::format("database {}", path));
    if (!absl::IsDataLoss(out) || out.message().find("backup") != out.message().npos) return out;
    return absl::DataLossError(std::string(out.message()) +
                               "; restore it from a backup or move it away");
  };
  absl::StatusOr<SqliteDb> db = SqliteDb::Open(path);
  if (!db.ok()) return annotated(db.status());
  auto impl = std::make_unique<Impl>(std::move(options), std::move(lock), *std::move(db));
  if (absl::Status status = impl->Init(path); !status.ok()) return annotated(status);
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(impl)));
}

SqliteStore::SqliteStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
SqliteStore::~SqliteStore() = default;

std::vector<absl::StatusOr<CommitResult>> SqliteStore::CommitAll(
    const std::vector<Transaction>& transactions) {
  return impl_->CommitAll(transactions);
}
absl::StatusOr<RangeResult> SqliteStore::Range(std::string_view prefix) const {
  return impl_->Range(prefix);
}
absl::StatusOr<std::unique_ptr<StoreWatch>> SqliteStore::Watch(
    std::string_view prefix, Revision after, std::function<void(const StoreBatch&)> on_batch) {
  return impl_->Watch(prefix, after, std::move(on_batch));
}
absl::Status SqliteStore::Compact(Revision revision) { return impl_->Compact(revision); }
absl::StatusOr<LeaseId> SqliteStore::Grant(absl::Duration ttl) { return impl_->Grant(ttl); }
absl::Status SqliteStore::KeepAlive(LeaseId lease) { return impl_->KeepAlive(lease); }
absl::Status SqliteStore::Revoke(LeaseId lease) { return impl_->Revoke(lease); }
Revision SqliteStore::CurrentRevision() const { return impl_->CurrentRevision(); }

}  // namespace mesh::controlplane
