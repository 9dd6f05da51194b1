// SPDX-License-Identifier: Apache-2.0
#include "controlplane/state/watch_cache.h"

#include <thread>

#include "absl/synchronization/notification.h"
#include "common/real_loop.h"
#include "controlplane/store/keys.h"
#include "tests/unit/controlplane/state/world.h"

namespace mesh::controlplane {
namespace {

std::string Describe(const ChangeBatch& batch) {
  std::string out = std::to_string(batch.revision) + ":";
  for (const Change& change : batch.changes) {
    out += (change.before ? "x" : "-");
    out += (change.after ? "x" : "-");
    out += KeyOf(change.after ? *change.after : *change.before).ToString();
  }
  return out;
}

TEST(WatchCache, TellsEveryChangeWithBeforeAndAfterInOrder) {
  World world;
  const Revision start = world.cache.revision();
  std::vector<std::string> seen;
  auto subscription =
      world.cache.Subscribe([&](const ChangeBatch& batch) { seen.push_back(Describe(batch)); });

  v1::Resource pod = *world.Create(APod("web"))->resource;
  (*MutableMetaOf(&pod)->mutable_labels())["a"] = "b";
  ASSERT_TRUE(world.Submit({Write::Type::kUpdate, pod, {}}).ok());
  ASSERT_TRUE(world.Delete(v1::KIND_POD, {"default", "web"}).ok());

  EXPECT_THAT(seen, ::testing::ElementsAre(std::to_string(start + 1) + ":-xdefault/web",
                                           std::to_string(start + 2) + ":xxdefault/web",
                                           std::to_string(start + 3) + ":x-default/web"));
  EXPECT_TRUE(world.cache.state().pods.empty());
}

TEST(WatchCache, StartsFromWhatTheStoreHas) {
  World world;
  ASSERT_TRUE(world.Create(APod("web")).ok());

  WatchCache second(world.loop, world.store);
  ASSERT_TRUE(second.Start().ok());

  EXPECT_EQ(second.revision(), world.cache.revision());
  const auto pod = second.Find(v1::KIND_POD, {"default", "web"});
  ASSERT_NE(pod, nullptr);
  EXPECT_EQ(MetaOf(*pod).resource_version(),
            MetaOf(*world.cache.Find(v1::KIND_POD, {"default", "web"})).resource_version());
}

TEST(WatchCache, RefusesAStoreWithGarbage) {
  SimLoop loop;
  MemoryStore store({.loop = &loop});
  ASSERT_TRUE(store
                  .Commit({.compares = {},
                           .operations = {{.key = "/mesh/pods/default/web", .value = "\xff\xff"}}})
                  .ok());

  WatchCache cache(loop, store);

  EXPECT_EQ(cache.Start().code(), absl::StatusCode::kDataLoss);
}

TEST(WatchCache, ResumesFromItsRingAndSaysWhenThatIsTooOld) {
  World world;
  WatchCache cache(world.loop, world.store, {.ring_revisions = 3});
  ASSERT_TRUE(cache.Start().ok());
  const Revision start = cache.revision();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(world.Create(APod("p" + std::to_string(i))).ok());
  world.Settle();

  const auto recent = cache.ChangesAfter(start + 3);
  ASSERT_TRUE(recent.ok());
  ASSERT_EQ(recent->size(), 2u);
  EXPECT_EQ(recent->front()->revision, start + 4);
  EXPECT_TRUE(cache.ChangesAfter(start + 2).ok());
  EXPECT_TRUE(cache.ChangesAfter(start + 5)->empty());
  EXPECT_EQ(cache.ChangesAfter(start + 1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(WatchCache, KeepsFewerOfLargeChanges) {
  World world;
  v1::Resource pod = APod("large");
  (*MutableMetaOf(&pod)->mutable_annotations())["text"] = std::string(1'000, 'x');
  WatchCache cache(world.loop, world.store, {.ring_bytes = 3'500});
  ASSERT_TRUE(cache.Start().ok());
  world.Settle();
  const Revision start = cache.revision();
  for (int i = 0; i < 5; ++i) {
    MutableMetaOf(&pod)->set_name("p" + std::to_string(i));
    ASSERT_TRUE(world.Create(pod).ok());
  }
  world.Settle();

  EXPECT_EQ(cache.ChangesAfter(start).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(cache.ChangesAfter(start + 3).ok());
}

TEST(WatchCache, ResumesAcrossARestart) {
  World world;
  v1::Resource pod = *world.Create(APod("web"))->resource;
  const Revision seen = world.cache.revision();
  (*MutableMetaOf(&pod)->mutable_labels())["a"] = "b";
  ASSERT_TRUE(world.Submit({Write::Type::kUpdate, pod, {}}).ok());
  ASSERT_TRUE(world.Delete(v1::KIND_POD, {"default", "web"}).ok());

  WatchCache second(world.loop, world.store);
  ASSERT_TRUE(second.Start().ok());
  EXPECT_EQ(second.ChangesAfter(seen).status().code(), absl::StatusCode::kOutOfRange);  // not yet
  EXPECT_TRUE(second.ChangesAfter(seen + 2).ok());
  world.Settle();
  ASSERT_TRUE(world.Create(APod("next")).ok());
  world.Settle();

  const auto missed = second.ChangesAfter(seen);
  ASSERT_TRUE(missed.ok()) << missed.status();
  std::vector<std::string> texts;
  for (const auto& batch : *missed) texts.push_back(Describe(*batch));
  EXPECT_THAT(texts, ::testing::ElementsAre(std::to_string(seen + 1) + ":xxdefault/web",
                                            std::to_string(seen + 2) + ":x-default/web",
                                            std::to_string(seen + 3) + ":-xdefault/next"));
  EXPECT_TRUE(second.state().pods.contains({"default", "next"}));
  EXPECT_FALSE(second.state().pods.contains({"default", "web"}));
}

TEST(WatchCache, StartsWithoutAHistoryThatIsCompacted) {
  World world;
  ASSERT_TRUE(world.Create(APod("web")).ok());
  const Revision start = world.cache.revision();
  ASSERT_TRUE(world.store.Compact(start - 1).ok());

  WatchCache second(world.loop, world.store);
  ASSERT_TRUE(second.Start().ok());
  ASSERT_TRUE(world.Create(APod("next")).ok());
  world.Settle();

  EXPECT_EQ(second.ChangesAfter(start - 1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(second.ChangesAfter(start)->size(), 1u);
}

TEST(WatchCache, ForgetsSubscribersThatLeaveInsideACall) {
  World world;
  int first = 0;
  int second = 0;
  WatchCache::Subscription other;
  auto leaving = world.cache.Subscribe([&](const ChangeBatch&) {
    ++first;
    other.Reset();
  });
  other = world.cache.Subscribe([&](const ChangeBatch&) { ++second; });

  ASSERT_TRUE(world.Create(APod("a")).ok());
  ASSERT_TRUE(world.Create(APod("b")).ok());

  EXPECT_EQ(first, 2);
  EXPECT_EQ(second, 0);
}

TEST(WatchCache, PassesRevisionsOfKeysThatAreNoObjects) {
  World world;
  const Revision before = world.cache.revision();
  ASSERT_TRUE(
      world.store.Commit({.compares = {}, .operations = {{.key = "/other", .value = "1"}}}).ok());
  bool reached = false;

  world.cache.WhenAtLeast(before + 1, [&] { reached = true; });
  world.Settle();

  EXPECT_TRUE(reached);
}

TEST(WatchCache, ListsOneNamespaceOrAllFromAnyThread) {
  World world;
  ASSERT_TRUE(world.Create(ANamespace("shop")).ok());
  ASSERT_TRUE(world.Create(APod("a", "", "shop")).ok());
  ASSERT_TRUE(world.Create(APod("b")).ok());
  size_t in_shop = 0;
  size_t all = 0;

  std::thread reader([&] {
    in_shop = world.cache.List(v1::KIND_POD, "shop").items.size();
    all = world.cache.List(v1::KIND_POD, "").items.size();
  });
  reader.join();

  EXPECT_EQ(in_shop, 1u);
  EXPECT_EQ(all, 2u);
}

// The production set-up: a loop on its own thread, commits on another, many writers.
TEST(WatchCacheWithThreads, HasEveryWriteWhenItIsReportedDone) {
  RealLoop loop;
  MemoryStore store;
  WatchCache cache(loop, store);
  ASSERT_TRUE(cache.Start().ok());
  auto commits = NewThreadCommitQueue(loop, store);
  Writer writer(loop, cache, *commits, Random(1), {});
  std::thread thread([&] { loop.Run(); });
  absl::Notification base;
  loop.Post([&] { writer.EnsureBaseObjects([&] { base.Notify(); }); });
  base.WaitForNotification();

  constexpr int kWrites = 500;
  absl::Notification done;
  int left = kWrites;
  int missing = 0;
  loop.Post([&] {
    for (int i = 0; i < kWrites; ++i) {
      const std::string name = "p" + std::to_string(i);
      writer.Create(APod(name), [&, name](const absl::StatusOr<Written>& written) {
        missing += !written.ok() || cache.Find(v1::KIND_POD, {"default", name}) == nullptr;
        if (--left == 0) done.Notify();
      });
    }
  });
  const bool finished = done.WaitForNotificationWithTimeout(absl::Seconds(20));
  loop.Stop();
  thread.join();

  EXPECT_TRUE(finished);
  EXPECT_EQ(missing, 0);
}

}  // namespace
}  // namespace mesh::controlplane
