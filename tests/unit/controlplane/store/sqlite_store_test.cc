// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/sqlite_store.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "controlplane/store/sqlite_db.h"
#include "tests/unit/controlplane/store/store_contract.h"

namespace mesh::controlplane {
namespace {

class TempDir {
 public:
  TempDir() {
    std::string pattern = std::filesystem::temp_directory_path() / "mesh-store-XXXXXX";
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct SqliteFactory {
  TempDir dir;
  std::unique_ptr<Store> Make(Revision keep_revisions) {
    auto store = SqliteStore::Open({.data_dir = dir.path(), .keep_revisions = keep_revisions});
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Sqlite, StoreContract, SqliteFactory);

std::unique_ptr<SqliteStore> Opened(const std::string& dir) {
  auto store = SqliteStore::Open({.data_dir = dir});
  EXPECT_TRUE(store.ok()) << store.status();
  return store.ok() ? *std::move(store) : nullptr;
}

TEST(SqliteStore, ContinuesWhereItEnded) {
  TempDir dir;
  {
    auto store = Opened(dir.path());
    ASSERT_TRUE(store->Commit({.compares = {}, .operations = {PutOp("a", "1")}}).ok());
    ASSERT_TRUE(store->Commit({.compares = {}, .operations = {PutOp("a", "2")}}).ok());
  }
  auto store = Opened(dir.path());
  Recorder recorder;
  auto watch = store->Watch("", 1, recorder.Callback());

  EXPECT_EQ(store->CurrentRevision(), 2);
  EXPECT_EQ(store->Range("a")->items[0].value, "2");
  EXPECT_THAT(recorder.Wait(1), ::testing::ElementsAre("2:+a=2(1)"));
}

TEST(SqliteStore, GivesLeasesTheirWholeTimeAfterARestart) {
  TempDir dir;
  LeaseId lease;
  {
    auto store = Opened(dir.path());
    lease = *store->Grant(absl::Milliseconds(50));
    ASSERT_TRUE(store->Commit({.compares = {}, .operations = {PutOp("a", "1", lease)}}).ok());
  }
  auto store = Opened(dir.path());
  Recorder recorder;
  auto watch = store->Watch("", 1, recorder.Callback());

  EXPECT_THAT(recorder.Wait(1), ::testing::ElementsAre("2:-a(1)"));
  EXPECT_NE(*store->Grant(absl::Hours(1)), lease);
}

TEST(SqliteStore, RefusesADirectoryInUse) {
  TempDir dir;
  auto first = Opened(dir.path());

  auto second = SqliteStore::Open({.data_dir = dir.path()});

  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), ::testing::HasSubstr(dir.path()));
}

TEST(SqliteStore, NamesTheFileThatIsNoDatabase) {
  TempDir dir;
  std::ofstream(dir.path() + "/mesh.db") << std::string(8192, 'x');

  auto store = SqliteStore::Open({.data_dir = dir.path()});

  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr("/mesh.db"));
}

TEST(SqliteStore, FindsDamageInsideTheFile) {
  TempDir dir;
  {
    auto store = Opened(dir.path());
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(
          store
              ->Commit({.compares = {},
                        .operations = {PutOp("k" + std::to_string(i), std::string(500, 'v'))}})
              .ok());
    }
  }
  {
    std::fstream file(dir.path() + "/mesh.db", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 2);
    for (int i = 0; i < 20; ++i) file << std::string(4096, '\x5a');
  }

  auto store = SqliteStore::Open({.data_dir = dir.path()});

  EXPECT_EQ(store.status().code(), absl::StatusCode::kDataLoss) << store.status();
}

TEST(SqliteStore, RefusesADatabaseOfANewerVersion) {
  TempDir dir;
  Opened(dir.path()).reset();
  {
    auto db = SqliteDb::Open(dir.path() + "/mesh.db");
    ASSERT_TRUE(db->Execute("PRAGMA user_version=2").ok());
  }

  auto store = SqliteStore::Open({.data_dir = dir.path()});

  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(store.status().message()), ::testing::HasSubstr("schema version is 2"));
}

// A child commits and says so on a pipe; it is killed at a moment of its own choosing. Whatever it
// acknowledged must be there.
TEST(SqliteStore, HasEveryAcknowledgedCommitAfterKill) {
  TempDir dir;
  int acked_total = 0;
  for (int round = 0; round < 5; ++round) {
    int pipe_fds[2];
    ASSERT_EQ(::pipe(pipe_fds), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(pipe_fds[0]);
      auto store = SqliteStore::Open({.data_dir = dir.path()});
      for (int i = acked_total; store.ok(); ++i) {
        const std::string key = "k" + std::to_string(i);
        auto results = (*store)->CommitAll({{.compares = {}, .operations = {PutOp(key, "v")}},
                                            {.compares = {}, .operations = {PutOp("last", key)}}});
        if (!results[0].ok() || !results[1].ok() || ::write(pipe_fds[1], "x", 1) != 1) break;
      }
      ::_exit(1);
    }
    ::close(pipe_fds[1]);
    char buffer[1];
    int acked = 0;
    while (acked < 10 + round * 7 && ::read(pipe_fds[0], buffer, 1) == 1) ++acked;
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    while (::read(pipe_fds[0], buffer, 1) == 1) ++acked;
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    ::close(pipe_fds[0]);
    acked_total += acked;

    auto store = Opened(dir.path());
    ASSERT_NE(store, nullptr);
    const auto keys = store->Range("k");
    ASSERT_GE(static_cast<int>(keys->items.size()), acked_total);
    acked_total = static_cast<int>(keys->items.size());
    EXPECT_EQ(store->Range("last")->items[0].value, "k" + std::to_string(acked_total - 1));
    EXPECT_EQ(store->CurrentRevision(), 2 * acked_total);
  }
}

}  // namespace
}  // namespace mesh::controlplane
