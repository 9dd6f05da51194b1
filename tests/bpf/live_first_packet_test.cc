// SPDX-License-Identifier: Apache-2.0
// Goal: the very first packet that a pod sends is answered, also on a machine whose kernel is busy
// with other links: what Attach() has returned is complete. Method: pods of live.h that start while
// links come and go in namespaces of their own, each with one datagram as soon as it is attached.
// Needs root.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "common/check.h"
#include "tests/bpf/live.h"
#include "tests/bpf/stream.h"

namespace mesh::dataplane::testing {
namespace {

using mesh::testing::Crowd;
using mesh::testing::Echo;

// Makes and removes links until it is destroyed, so that others wait for the kernel's lock of them.
class BusyKernel {
 public:
  BusyKernel() {
    for (int i = 0; i < kThreads; ++i) {
      threads_.emplace_back([this] {
        absl::StatusOr<Netns> netns = Netns::Make();
        MESH_CHECK(netns.ok()) << netns.status();
        absl::StatusOr<Netlink> netlink = Netlink::OpenIn(netns->fd());
        MESH_CHECK(netlink.ok()) << netlink.status();
        while (!stop_) {
          const absl::Status made =
              netlink->AddVeth({"a", {2, 0, 0, 0, 0, 1}, -1}, {"b", {2, 0, 0, 0, 0, 2}, -1}, 1500);
          MESH_CHECK(made.ok()) << made;
          MESH_CHECK(netlink->DeleteLink(netlink->Link("a")->ifindex).ok());
        }
      });
    }
  }
  ~BusyKernel() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  static constexpr int kThreads = 3;
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

class FirstPacket : public LiveWays {
 protected:
  // As the CNI leaves it.
  FirstPacket() { settle_ = false; }
};

TEST_P(FirstPacket, OfAPodIsAnsweredWhileTheKernelIsBusy) {
  constexpr int kPods = 20;
  Apply();
  const Echo echo(*near_.netns, 8080, AnyAddress(way_.family));
  const BusyKernel busy;
  for (int i = 0; i < kPods; ++i) {
    Pod pod;
    ASSERT_STATUS(
        Attach(pod, one_, fmt::format("10.244.1.{}", 100 + i), kShop, fmt::format("pod-{}", i)));
    Crowd said(*pod.netns, near_.ip, 8080);
    said.Grow(1);
    ASSERT_THAT(said.result().problems, ::testing::IsEmpty()) << "pod " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, FirstPacket, EveryWay(), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
