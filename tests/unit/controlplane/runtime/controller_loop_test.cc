// SPDX-License-Identifier: Apache-2.0
// A controller that does what the test says, on the real cache, writer and memory store in virtual
// time.
#include "controlplane/runtime/controller_loop.h"

#include <functional>

#include "common/sim_loop.h"
#include "controlplane/controllers/objects.h"
#include "controlplane/store/memory_store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mesh::controlplane {
namespace {

using ::testing::ElementsAre;

class ScriptedController : public Controller {
 public:
  std::string_view name() const override { return "scripted"; }
  std::vector<ObjectKey> Affected(const ClusterState&, const Change&) const override {
    return {{"", "k"}};
  }
  ReconcileResult Reconcile(const ClusterState& state, const ObjectKey& key,
                            absl::Time now) const override {
    seen.push_back(key.name);
    return act ? act(state, now) : ReconcileResult();
  }
  mutable std::vector<std::string> seen;
  std::function<ReconcileResult(const ClusterState&, absl::Time)> act;
};

// A loop whose clock may run on while it stands still.
class StallingLoop : public SimLoop {
 public:
  absl::Time Now() const override { return SimLoop::Now() + stalled; }
  absl::Duration stalled;
};

class ControllerLoopTest : public ::testing::Test {
 protected:
  ControllerLoopTest() {
    EXPECT_TRUE(cache.Start().ok());
    controllers = std::make_unique<ControllerLoop>(loop, cache, writer, controller, Random(1),
                                                   ControllerLoopOptions());
  }
  // Lets everything happen that is due now.
  void Run() { loop.RunFor(absl::ZeroDuration()); }
  static v1::Resource NamedNode(const std::string& name) {
    v1::Node node;
    node.mutable_metadata()->set_name(name);
    return Wrap(node);
  }
  static Write WriteOf(Write::Type type, v1::Resource resource) {
    return {type, std::move(resource), {}};
  }

  StallingLoop loop;
  MemoryStore store{{.loop = &loop}};
  WatchCache cache{loop, store};
  std::unique_ptr<CommitQueue> commits = NewLoopCommitQueue(loop, store);
  Writer writer{loop, cache, *commits, Random(1), Writer::Options()};
  ScriptedController controller;
  std::unique_ptr<ControllerLoop> controllers;
};

TEST_F(ControllerLoopTest, ReconcilesAKeyOnceHoweverOftenItWasMarked) {
  for (int i = 0; i < 5; ++i) controllers->MarkDirty({"", "a"});
  controllers->MarkDirty({"", "b"});

  Run();

  EXPECT_THAT(controller.seen, ElementsAre("a", "b"));
  EXPECT_TRUE(controllers->idle());
}

TEST_F(ControllerLoopTest, LooksAgainAtTheTimeThatWasAskedFor) {
  controller.act = [start = loop.Now()](const ClusterState&, absl::Time now) {
    ReconcileResult out;
    if (now < start + absl::Seconds(3)) out.requeue_at = start + absl::Seconds(3);
    return out;
  };
  controllers->MarkDirty({"", "a"});

  loop.RunFor(absl::Milliseconds(2999));
  EXPECT_EQ(controller.seen.size(), 1u);
  loop.RunFor(absl::Milliseconds(1));
  EXPECT_EQ(controller.seen.size(), 2u);
  loop.RunFor(absl::Minutes(1));
  EXPECT_EQ(controller.seen.size(), 2u);
}

TEST_F(ControllerLoopTest, LetsOthersCatchUpBeforeItJudgesByTheClockAfterAStall) {
  controller.act = [this](const ClusterState&, absl::Time now) {
    ReconcileResult out;
    if (controller.seen.size() == 1) out.requeue_at = now + absl::Seconds(3);
    return out;
  };
  controllers->MarkDirty({"", "a"});
  Run();

  loop.stalled = absl::Seconds(2);  // all of this loop's tasks come two seconds late
  loop.RunFor(absl::Milliseconds(3500));
  EXPECT_EQ(controller.seen.size(), 1u);
  loop.stalled = absl::ZeroDuration();
  loop.RunFor(absl::Seconds(5));
  EXPECT_EQ(controller.seen.size(), 2u);
}

TEST_F(ControllerLoopTest, LooksOnceAtWhatChangesWhileItsTurnIsAwaited) {
  ControllerLoopOptions options;
  options.running_max = 1;
  controllers =
      std::make_unique<ControllerLoop>(loop, cache, writer, controller, Random(1), options);
  controller.act = [this](const ClusterState&, absl::Time) {
    ReconcileResult out;
    if (controller.seen.back() != "a") return out;
    out.writes.push_back(WriteOf(Write::Type::kCreate, NamedNode("n")));
    loop.Post([this] { controllers->MarkDirty({"", "b"}); });
    return out;
  };
  for (const char* name : {"a", "b", "c"}) controllers->MarkDirty({"", name});

  Run();

  EXPECT_THAT(controller.seen, ElementsAre("a", "b", "c"));
  EXPECT_TRUE(controllers->idle());
}

TEST_F(ControllerLoopTest, SeesItsOwnWritesInTheNextStep) {
  controller.act = [](const ClusterState& state, absl::Time now) {
    ReconcileResult out;
    if (state.nodes.empty()) {
      out.writes.push_back(WriteOf(Write::Type::kCreate, NamedNode("n")));
      out.requeue_at = now;
    }
    return out;
  };
  controllers->MarkDirty({"", "a"});

  Run();

  EXPECT_EQ(cache.state().nodes.size(), 1u);
  EXPECT_EQ(controller.seen.size(), 2u);
  EXPECT_EQ(controllers->stats().writes, 1);
}

TEST_F(ControllerLoopTest, RunsOneStepOfAKeyAtATime) {
  controller.act = [this](const ClusterState& state, absl::Time) {
    ReconcileResult out;
    if (!state.nodes.empty()) return out;
    out.writes.push_back(WriteOf(Write::Type::kCreate, NamedNode("n")));
    // A change that comes while the write is on its way.
    loop.Post([this] { controllers->MarkDirty({"", "a"}); });
    return out;
  };
  controllers->MarkDirty({"", "a"});

  Run();

  EXPECT_EQ(controllers->stats().writes, 1);
  EXPECT_EQ(controller.seen.size(), 2u);
}

TEST_F(ControllerLoopTest, TriesAgainLaterAfterAStaleWrite) {
  writer.Create(NamedNode("n"), {});
  Run();
  bool first = true;
  controller.act = [&first](const ClusterState& state, absl::Time) {
    ReconcileResult out;
    v1::Node node = *state.nodes.begin()->second;
    if (node.status().agent_endpoint() == "here") return out;
    if (std::exchange(first, false)) node.mutable_metadata()->set_resource_version("999");
    node.mutable_status()->set_agent_endpoint("here");
    out.writes.push_back(WriteOf(Write::Type::kUpdateStatus, Wrap(node)));
    out.events.push_back({ReferenceTo("v1", "Node", node.metadata()), "Normal", "Done", "done"});
    return out;
  };
  controllers->MarkDirty({"", "a"});

  Run();
  EXPECT_EQ(controllers->stats().failed_steps, 1);
  EXPECT_TRUE(cache.state().events.empty()) << "a step that failed has nothing to tell";
  loop.RunFor(absl::Seconds(1));

  EXPECT_EQ(cache.state().nodes.begin()->second->status().agent_endpoint(), "here");
  EXPECT_EQ(cache.state().events.size(), 1u);
}

TEST_F(ControllerLoopTest, BacksOffFurtherWithEveryFailure) {
  controller.act = [](const ClusterState&, absl::Time) {
    ReconcileResult out;
    out.writes.push_back(WriteOf(Write::Type::kUpdate, NamedNode("absent")));
    return out;
  };
  controllers->MarkDirty({"", "a"});

  loop.RunFor(absl::Seconds(60));

  // 20 ms doubled up to 5 s: about 8 + 60 / 5 tries, not thousands.
  EXPECT_GE(controller.seen.size(), 10u);
  EXPECT_LE(controller.seen.size(), 30u);
}

TEST_F(ControllerLoopTest, WritesStatusOnlyAfterEverythingElseSucceeded) {
  writer.Create(NamedNode("n"), {});
  Run();
  bool fail = true;
  controller.act = [&fail](const ClusterState& state, absl::Time) {
    ReconcileResult out;
    v1::Node node = *state.nodes.at({"", "n"});
    if (node.status().agent_endpoint() == "here") return out;
    node.mutable_status()->set_agent_endpoint("here");
    out.writes.push_back(WriteOf(Write::Type::kUpdateStatus, Wrap(node)));
    out.writes.push_back(
        WriteOf(fail ? Write::Type::kUpdate : Write::Type::kCreate, NamedNode("second")));
    return out;
  };
  controllers->MarkDirty({"", "a"});

  loop.RunFor(absl::Seconds(1));
  EXPECT_EQ(cache.state().nodes.at({"", "n"})->status().agent_endpoint(), "");

  fail = false;
  loop.RunFor(absl::Seconds(10));
  EXPECT_EQ(cache.state().nodes.at({"", "n"})->status().agent_endpoint(), "here");
}

TEST_F(ControllerLoopTest, LetsOthersRunBetweenItsTurns) {
  for (int i = 0; i < 100; ++i) controllers->MarkDirty({"", std::to_string(i)});
  size_t seen_before_task = 0;
  loop.Post([&] { seen_before_task = controller.seen.size(); });

  Run();

  EXPECT_EQ(seen_before_task, 32u);
  EXPECT_EQ(controller.seen.size(), 100u);
}

TEST_F(ControllerLoopTest, DoesNothingAfterItsEnd) {
  controller.act = [](const ClusterState&, absl::Time now) {
    ReconcileResult out;
    out.writes.push_back(WriteOf(Write::Type::kCreate, NamedNode("n")));
    out.requeue_at = now + absl::Seconds(1);
    return out;
  };
  controllers->MarkDirty({"", "a"});
  loop.Step();
  ASSERT_EQ(controller.seen.size(), 1u);

  controllers.reset();
  loop.RunFor(absl::Seconds(10));

  EXPECT_EQ(controller.seen.size(), 1u);
  EXPECT_EQ(cache.state().nodes.size(), 1u) << "the write was on its way";
}

}  // namespace
}  // namespace mesh::controlplane
