// SPDX-License-Identifier: Apache-2.0
#include "controlplane/store/memory_store.h"

#include "api/schema/schema.h"
#include "common/sim_loop.h"
#include "controlplane/store/keys.h"
#include "tests/unit/controlplane/store/store_contract.h"

namespace mesh::controlplane {
namespace {

struct MemoryFactory {
  std::unique_ptr<Store> Make(Revision keep_revisions) {
    return std::make_unique<MemoryStore>(
        MemoryStore::Options{.loop = nullptr, .keep_revisions = keep_revisions});
  }
};
INSTANTIATE_TYPED_TEST_SUITE_P(Memory, StoreContract, MemoryFactory);

TEST(MemoryStoreOnALoop, DeliversOnlyWhenTheLoopRuns) {
  SimLoop loop;
  MemoryStore store({.loop = &loop});
  int seen = 0;
  auto watch = store.Watch("", 0, [&](const StoreBatch&) { ++seen; });

  ASSERT_TRUE(store.Commit({.compares = {}, .operations = {PutOp("a", "1")}}).ok());
  EXPECT_EQ(seen, 0);
  loop.RunFor(absl::ZeroDuration());

  EXPECT_EQ(seen, 1);
}

TEST(MemoryStoreOnALoop, EndsLeasesInVirtualTime) {
  SimLoop loop;
  MemoryStore store({.loop = &loop});
  const auto lease = store.Grant(absl::Seconds(10));
  ASSERT_TRUE(store.Commit({.compares = {}, .operations = {PutOp("a", "1", *lease)}}).ok());

  loop.RunFor(absl::Seconds(9));
  ASSERT_TRUE(store.KeepAlive(*lease).ok());
  loop.RunFor(absl::Seconds(9));
  EXPECT_EQ(store.Range("a")->items.size(), 1u);
  loop.RunFor(absl::Seconds(2));

  EXPECT_EQ(store.Range("a")->items.size(), 0u);
}

TEST(Keys, RoundTripForEveryKind) {
  for (const schema::KindInfo& info : schema::AllKinds()) {
    const StoreKey key{.kind = info.kind,
                       .object = {.ns = info.namespaced ? "shop" : "", .name = "web.1"}};
    EXPECT_EQ(DecodeKey(EncodeKey(key.kind, key.object)), key) << info.name;
  }
  EXPECT_EQ(EncodeKey(v1::KIND_POD, {"shop", "web"}), "/mesh/pods/shop/web");
  EXPECT_EQ(EncodeKey(v1::KIND_NODE, {"", "n1"}), "/mesh/nodes/n1");
}

TEST(Keys, RefuseWhatIsNoObject) {
  for (const char* key : {"", "/mesh/", "/mesh/pods/", "/mesh/pods/web", "/mesh/pods/a/b/c",
                          "/mesh/podsx/a/b", "/mesh/nodes/", "/other/pods/a/b", "/mesh/pods//b"}) {
    EXPECT_EQ(DecodeKey(key), std::nullopt) << key;
  }
}

}  // namespace
}  // namespace mesh::controlplane
