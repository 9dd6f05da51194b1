// SPDX-License-Identifier: Apache-2.0
// What every Store promises, as tests over a factory. Each implementation instantiates the suite:
//   struct Factory { std::unique_ptr<Store> Make(Revision keep_revisions); };
//   INSTANTIATE_TYPED_TEST_SUITE_P(Name, StoreContract, Factory);
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "controlplane/store/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {

inline Operation PutOp(std::string key, std::string value, LeaseId lease = 0) {
  return {.type = Operation::Type::kPut,
          .key = std::move(key),
          .value = std::move(value),
          .lease = lease};
}
inline Operation DeleteOp(std::string key) {
  return {.type = Operation::Type::kDelete, .key = std::move(key), .value = {}, .lease = 0};
}

// Collects batches as text: "3:+a=1,-b" is revision 3, a put, b deleted.
class Recorder {
 public:
  std::function<void(const StoreBatch&)> Callback() {
    return [this](const StoreBatch& batch) {
      std::string text = std::to_string(batch.revision) + ":";
      for (const StoreEvent& event : batch.events) {
        if (text.back() != ':') text += ",";
        const bool put = event.type == StoreEvent::Type::kPut;
        text += (put ? "+" : "-") + event.kv.key + (put ? "=" + event.kv.value : "");
        if (event.previous) text += "(" + event.previous->value + ")";
      }
      absl::MutexLock lock(&mutex_);
      seen_.push_back(std::move(text));
    };
  }
  // What was seen, once it is at least `count` batches; all there is after 10 s.
  std::vector<std::string> Wait(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count] { return seen_.size() >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(10));
    return seen_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> seen_;
};

template <typename Factory>
class StoreContract : public ::testing::Test {
 protected:
  std::unique_ptr<Store> Make(Revision keep_revisions = 10'000) {
    return factory_.Make(keep_revisions);
  }
  static Revision Put(Store& store, const std::string& key, const std::string& value,
                      LeaseId lease = 0) {
    auto result = store.Commit({.compares = {}, .operations = {PutOp(key, value, lease)}});
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->revision : 0;
  }
  static std::vector<std::string> Keys(Store& store, const std::string& prefix) {
    std::vector<std::string> out;
    const auto range = store.Range(prefix);
    EXPECT_TRUE(range.ok()) << range.status();
    for (const KeyValue& kv : range->items) out.push_back(kv.key + "=" + kv.value);
    return out;
  }
  Factory factory_;
};

TYPED_TEST_SUITE_P(StoreContract);

TYPED_TEST_P(StoreContract, CountsOneRevisionPerTransactionThatWrites) {
  auto store = this->Make();

  EXPECT_EQ(store->CurrentRevision(), 0);
  EXPECT_EQ(this->Put(*store, "a", "1"), 1);
  auto both = store->Commit({.compares = {}, .operations = {PutOp("a", "2"), PutOp("b", "3")}});
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->revision, 2);
  auto nothing = store->Commit({.compares = {}, .operations = {DeleteOp("absent")}});
  ASSERT_TRUE(nothing.ok());
  EXPECT_TRUE(nothing->succeeded);
  EXPECT_EQ(store->CurrentRevision(), 2);
}

TYPED_TEST_P(StoreContract, KeepsCreateRevisionAndVersionOfAKey) {
  auto store = this->Make();
  this->Put(*store, "x", "0");
  this->Put(*store, "a", "1");
  this->Put(*store, "a", "2");

  const auto range = store->Range("a");

  ASSERT_TRUE(range.ok());
  ASSERT_EQ(range->items.size(), 1u);
  EXPECT_EQ(range->items[0].create_revision, 2);
  EXPECT_EQ(range->items[0].mod_revision, 3);
  EXPECT_EQ(range->items[0].version, 2);
  EXPECT_EQ(range->revision, 3);
}

TYPED_TEST_P(StoreContract, RangesByPrefixInOrderOfKeys) {
  auto store = this->Make();
  for (const char* key : {"/p/b", "/p/a", "/p/a/1", "/pa", "/q", "/p0"}) {
    this->Put(*store, key, "v");
  }

  EXPECT_THAT(this->Keys(*store, "/p/"), ::testing::ElementsAre("/p/a=v", "/p/a/1=v", "/p/b=v"));
  EXPECT_EQ(this->Keys(*store, "").size(), 6u);
  EXPECT_TRUE(this->Keys(*store, "/z").empty());
}

TYPED_TEST_P(StoreContract, KeepsEveryByteOfAValue) {
  auto store = this->Make();
  std::string bytes;
  for (int i = 0; i < 512; ++i) bytes.push_back(static_cast<char>(i));

  this->Put(*store, "binary", bytes);
  this->Put(*store, "empty", "");

  EXPECT_EQ(store->Range("binary")->items[0].value, bytes);
  EXPECT_EQ(store->Range("empty")->items[0].value, "");
}

TYPED_TEST_P(StoreContract, CommitsAllOperationsOrNoneWhenACompareFails) {
  auto store = this->Make();
  this->Put(*store, "a", "1");

  auto stale =
      store->Commit({.compares = {{.key = "a", .mod_revision = 1}, {.key = "b", .mod_revision = 7}},
                     .operations = {PutOp("a", "2"), PutOp("c", "3")}});
  ASSERT_TRUE(stale.ok());
  EXPECT_FALSE(stale->succeeded);
  EXPECT_EQ(stale->revision, 1);
  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("a=1"));

  auto fresh =
      store->Commit({.compares = {{.key = "a", .mod_revision = 1}, {.key = "c", .mod_revision = 0}},
                     .operations = {DeleteOp("a"), PutOp("c", "3")}});
  ASSERT_TRUE(fresh.ok());
  EXPECT_TRUE(fresh->succeeded);
  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("c=3"));
}

TYPED_TEST_P(StoreContract, LetsOneOfManyRacingWritersWinEachRound) {
  auto store = this->Make();
  this->Put(*store, "counter", "0");
  std::vector<std::thread> writers;

  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&store] {
      for (int done = 0; done < 25;) {
        const KeyValue now = store->Range("counter")->items[0];
        auto result = store->Commit(
            {.compares = {{.key = "counter", .mod_revision = now.mod_revision}},
             .operations = {PutOp("counter", std::to_string(std::stoi(now.value) + 1))}});
        ASSERT_TRUE(result.ok()) << result.status();
        if (result->succeeded) ++done;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();

  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("counter=100"));
  EXPECT_EQ(store->CurrentRevision(), 101);
}

TYPED_TEST_P(StoreContract, RefusesAKeyInTwoOperationsAndNothingElse) {
  auto store = this->Make();

  auto results = store->CommitAll({{.compares = {}, .operations = {PutOp("a", "1")}},
                                   {.compares = {}, .operations = {PutOp("b", "1"), DeleteOp("b")}},
                                   {.compares = {}, .operations = {PutOp("c", "1")}}});

  ASSERT_EQ(results.size(), 3u);
  EXPECT_EQ(results[0]->revision, 1);
  EXPECT_EQ(results[1].status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(results[2]->revision, 2);
  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("a=1", "c=1"));
}

TYPED_TEST_P(StoreContract, SeesEarlierTransactionsOfTheSameBatch) {
  auto store = this->Make();

  auto results = store->CommitAll(
      {{.compares = {{.key = "a", .mod_revision = 0}}, .operations = {PutOp("a", "1")}},
       {.compares = {{.key = "a", .mod_revision = 0}}, .operations = {PutOp("a", "2")}},
       {.compares = {{.key = "a", .mod_revision = 1}}, .operations = {PutOp("a", "3")}}});

  EXPECT_TRUE(results[0]->succeeded);
  EXPECT_FALSE(results[1]->succeeded);
  EXPECT_TRUE(results[2]->succeeded);
  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("a=3"));
}

TYPED_TEST_P(StoreContract, DeliversOldAndNewRevisionsToAWatchWithoutGap) {
  auto store = this->Make();
  this->Put(*store, "/w/a", "1");
  this->Put(*store, "/w/b", "2");
  this->Put(*store, "/other", "x");
  Recorder recorder;

  auto watch = store->Watch("/w/", 1, recorder.Callback());
  ASSERT_TRUE(watch.ok()) << watch.status();
  this->Put(*store, "/w/a", "3");
  ASSERT_TRUE(
      store->Commit({.compares = {}, .operations = {DeleteOp("/w/b"), PutOp("/other", "y")}}).ok());

  EXPECT_THAT(recorder.Wait(3), ::testing::ElementsAre("2:+/w/b=2", "4:+/w/a=3(1)", "5:-/w/b(2)"));
}

TYPED_TEST_P(StoreContract, DeliversNothingAfterAWatchIsDestroyed) {
  auto store = this->Make();
  Recorder gone;
  Recorder stays;
  auto first = store->Watch("", 0, gone.Callback());
  auto second = store->Watch("", 0, stays.Callback());
  this->Put(*store, "a", "1");
  gone.Wait(1);

  first->reset();
  this->Put(*store, "b", "2");

  EXPECT_EQ(stays.Wait(2).size(), 2u);
  EXPECT_EQ(gone.Wait(0).size(), 1u);
}

TYPED_TEST_P(StoreContract, RefusesAWatchFromACompactedRevision) {
  auto store = this->Make();
  for (int i = 0; i < 5; ++i) this->Put(*store, "a", std::to_string(i));
  Recorder recorder;

  ASSERT_TRUE(store->Compact(3).ok());

  EXPECT_EQ(store->Watch("", 2, recorder.Callback()).status().code(),
            absl::StatusCode::kOutOfRange);
  auto watch = store->Watch("", 3, recorder.Callback());
  ASSERT_TRUE(watch.ok());
  EXPECT_THAT(recorder.Wait(2), ::testing::ElementsAre("4:+a=3(2)", "5:+a=4(3)"));
  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("a=4"));
  EXPECT_EQ(store->Compact(9).code(), absl::StatusCode::kOutOfRange);
}

TYPED_TEST_P(StoreContract, CompactsByItself) {
  auto store = this->Make(/*keep_revisions=*/10);
  Recorder recorder;
  for (int i = 0; i < 40; ++i) this->Put(*store, "a", std::to_string(i));

  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  absl::StatusCode code = absl::StatusCode::kOk;
  while (code == absl::StatusCode::kOk && absl::Now() < deadline) {
    code = store->Watch("", 20, [](const StoreBatch&) {}).status().code();
    std::this_thread::yield();
  }

  EXPECT_EQ(code, absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(store->Watch("", 30, recorder.Callback()).ok());
}

TYPED_TEST_P(StoreContract, DeletesTheKeysOfALeaseInOneRevisionWhenItIsRevoked) {
  auto store = this->Make();
  const auto lease = store->Grant(absl::Hours(1));
  ASSERT_TRUE(lease.ok());
  this->Put(*store, "a", "1", *lease);
  this->Put(*store, "b", "2", *lease);
  this->Put(*store, "c", "3", *lease);
  this->Put(*store, "c", "4");  // taken off the lease

  ASSERT_TRUE(store->Revoke(*lease).ok());

  EXPECT_THAT(this->Keys(*store, ""), ::testing::ElementsAre("c=4"));
  EXPECT_EQ(store->CurrentRevision(), 5);
  EXPECT_EQ(store->Revoke(*lease).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store->KeepAlive(*lease).code(), absl::StatusCode::kNotFound);
  auto late = store->Commit({.compares = {}, .operations = {PutOp("d", "1", *lease)}});
  EXPECT_EQ(late.status().code(), absl::StatusCode::kNotFound);
}

TYPED_TEST_P(StoreContract, EndsALeaseThatIsNotKeptAlive) {
  auto store = this->Make();
  Recorder recorder;
  auto watch = store->Watch("", 0, recorder.Callback());
  const auto brief = store->Grant(absl::Milliseconds(30));
  const auto lasting = store->Grant(absl::Hours(1));
  this->Put(*store, "a", "1", *brief);
  this->Put(*store, "b", "1", *lasting);

  EXPECT_THAT(recorder.Wait(3), ::testing::ElementsAre("1:+a=1", "2:+b=1", "3:-a(1)"));
  EXPECT_TRUE(store->KeepAlive(*lasting).ok());
}

REGISTER_TYPED_TEST_SUITE_P(
    StoreContract, CountsOneRevisionPerTransactionThatWrites, KeepsCreateRevisionAndVersionOfAKey,
    RangesByPrefixInOrderOfKeys, KeepsEveryByteOfAValue,
    CommitsAllOperationsOrNoneWhenACompareFails, LetsOneOfManyRacingWritersWinEachRound,
    RefusesAKeyInTwoOperationsAndNothingElse, SeesEarlierTransactionsOfTheSameBatch,
    DeliversOldAndNewRevisionsToAWatchWithoutGap, DeliversNothingAfterAWatchIsDestroyed,
    RefusesAWatchFromACompactedRevision, CompactsByItself,
    DeletesTheKeysOfALeaseInOneRevisionWhenItIsRevoked, EndsALeaseThatIsNotKeptAlive);

}  // namespace mesh::controlplane
