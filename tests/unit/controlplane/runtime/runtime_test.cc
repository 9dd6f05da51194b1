// SPDX-License-Identifier: Apache-2.0
// All controllers on the real cache, writer and memory store in virtual time, when the control
// plane itself stands still: a machine that is suspended, a process without a processor.
#include "controlplane/runtime/runtime.h"

#include "common/sim_loop.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/store/memory_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class RuntimeTest : public ::testing::Test {
 protected:
  RuntimeTest() {
    EXPECT_TRUE(cache.Start().ok());
    runtime = StartControllers(&loop, &cache, &writer, {.startup_grace = absl::ZeroDuration()});
    for (const char* name : {"a", "b"}) {
      v1::Node node;
      node.mutable_metadata()->set_name(name);
      SetCondition(node.mutable_status()->mutable_conditions(), "Ready", "True", "AgentReady", "",
                   loop.Now());
      writer.Submit({Write::Type::kCreate, Wrap(node), {}},
                    [](const auto& written) { EXPECT_TRUE(written.ok()) << written.status(); });
    }
    Hear({"a", "b"});
    loop.RunFor(absl::Milliseconds(1));
  }
  void Hear(const std::vector<std::string>& nodes) {
    for (const std::string& node : nodes) cache.NoteHeard(node);
  }
  std::vector<std::string> Silent() {
    std::vector<std::string> out;
    for (const auto& [key, node] : cache.state().nodes)
      if (!IsNodeHeard(cache.state(), key.name)) out.push_back(key.name);
    return out;
  }

  SimLoop loop;
  MemoryStore store{{.loop = &loop}};
  WatchCache cache{loop, store};
  std::unique_ptr<CommitQueue> commits = NewLoopCommitQueue(loop, store);
  Writer writer{loop, cache, *commits, Random(1), Writer::Options()};
  std::unique_ptr<Runtime> runtime;
};

TEST_F(RuntimeTest, DoesNotCountAsSilenceWhatItWasNotThereToHear) {
  // Again before the nodes can say anything: as on a machine that crawls.
  for (int i = 0; i < 3; ++i) {
    loop.StandStill(absl::Seconds(4));
    loop.RunFor(absl::Milliseconds(300));
  }
  EXPECT_THAT(Silent(), IsEmpty());

  Hear({"a", "b"});
  loop.RunFor(absl::Milliseconds(2900));
  EXPECT_THAT(Silent(), IsEmpty());
}

TEST_F(RuntimeTest, FindsTheNodeThatStaysSilentAfterAStandstill) {
  loop.StandStill(absl::Minutes(5));
  for (int i = 0; i < 8; ++i) {
    Hear({"b"});
    loop.RunFor(absl::Milliseconds(500));
  }

  EXPECT_THAT(Silent(), ElementsAre("a"));
}

}  // namespace
}  // namespace mesh::controlplane
