// SPDX-License-Identifier: Apache-2.0
// The real and the simulated loop keep the same promises; file events are the real one's alone.
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <thread>
#include <vector>

#include "common/real_loop.h"
#include "common/sim_loop.h"

namespace mesh {
namespace {

TEST(SimLoop, RunsTasksInOrderOfTimeThenSequence) {
  SimLoop loop;
  std::vector<int> order;
  loop.RunAfter(absl::Seconds(2), [&] { order.push_back(3); });
  loop.RunAfter(absl::Seconds(1), [&] { order.push_back(1); });
  loop.RunAfter(absl::Seconds(1), [&] { order.push_back(2); });
  loop.Post([&] { order.push_back(0); });

  loop.RunFor(absl::Seconds(5));

  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3}));
}

TEST(SimLoop, JumpsToTheNextTask) {
  SimLoop loop;
  const absl::Time start = loop.Now();
  loop.RunAfter(absl::Hours(1), [] {});

  EXPECT_TRUE(loop.Step());

  EXPECT_EQ(loop.Now() - start, absl::Hours(1));
  EXPECT_FALSE(loop.Step());
}

TEST(SimLoop, RunUntilGivesUpAtItsLimit) {
  SimLoop loop;
  std::function<void()> again = [&] { loop.RunAfter(absl::Seconds(1), again); };
  again();

  EXPECT_FALSE(loop.RunUntil([] { return false; }, absl::Seconds(10)));
}

TEST(SimLoop, NeverRunsACancelledTimer) {
  SimLoop loop;
  bool ran = false;
  const TimerId id = loop.RunAfter(absl::Seconds(1), [&] { ran = true; });
  loop.Cancel(id);
  loop.Cancel(id);

  loop.RunFor(absl::Seconds(2));

  EXPECT_FALSE(ran);
}

TEST(RealLoop, RunsWhatOtherThreadsPost) {
  RealLoop loop;
  int sum = 0;
  std::thread other([&] {
    for (int i = 1; i <= 100; ++i) loop.Post([&sum, i] { sum += i; });
    loop.Post([&] { loop.Stop(); });
  });

  loop.Run();
  other.join();

  EXPECT_EQ(sum, 5050);
}

TEST(RealLoop, RunsTimersInOrderAndNotEarly) {
  RealLoop loop;
  std::vector<int> order;
  const absl::Time start = loop.Now();
  loop.RunAfter(absl::Milliseconds(20), [&] {
    order.push_back(2);
    loop.Stop();
  });
  loop.RunAfter(absl::Milliseconds(5), [&] { order.push_back(1); });
  const TimerId cancelled = loop.RunAfter(absl::Milliseconds(1), [&] { order.push_back(9); });
  loop.Cancel(cancelled);

  loop.Run();

  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_GE(loop.Now() - start, absl::Milliseconds(20));
}

TEST(RealLoop, ATimerThatIsAlwaysDueLeavesTurnsToTheRest) {
  RealLoop loop;
  int runs = 0;
  std::function<void()> again = [&] {
    if (++runs < 10'000) loop.RunAt(absl::InfinitePast(), again);
  };
  again();
  loop.Post([&] { loop.RunAfter(absl::ZeroDuration(), [&] { loop.Post([&] { loop.Stop(); }); }); });

  loop.Run();

  EXPECT_LT(runs, 10'000);
}

TEST(RealLoop, TellsWhenADescriptorIsReadableUntilItIsUnwatched) {
  RealLoop loop;
  UniqueFd event(eventfd(1, EFD_NONBLOCK));
  int calls = 0;
  loop.WatchReadable(event.get(), [&] {
    ++calls;
    loop.Unwatch(event.get());
    loop.RunAfter(absl::Milliseconds(5), [&] { loop.Stop(); });
  });

  loop.Run();

  EXPECT_EQ(calls, 1);
}

TEST(RealLoop, KnowsItsOwnThread) {
  RealLoop loop;
  bool inside = false;
  std::thread runner([&] { loop.Run(); });
  loop.Post([&] {
    inside = loop.InLoop();
    loop.Stop();
  });
  runner.join();

  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop.InLoop());
}

}  // namespace
}  // namespace mesh
