// SPDX-License-Identifier: Apache-2.0
// Goal: a node opened with the other routing than before serves the pods that it has. Method: the
// two nodes of live.h are opened over their own pins while sockets of pods are connected. Needs
// root.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/bpf/live.h"

namespace mesh::dataplane::testing {
namespace {

class Reopened : public LiveWays {
 protected:
  void Reopen() {
    for (Node* node : {&one_, &two_}) {
      node->dataplane.reset();
      ASSERT_STATUS(OpenNode(*node));
    }
    Apply();
  }

  void TurnRouting() {
    for (Node* node : {&one_, &two_}) {
      node->config.uplink = "uplink";
      node->config.routing =
          node->config.routing == Routing::kNative ? Routing::kVxlan : Routing::kNative;
    }
    Reopen();
  }
};

TEST_P(Reopened, ServesPodsOfTheOtherRouting) {
  Serve({far_.ip});
  Socket listener = Listener(far_), receiver = Receiver(far_);
  Socket datagrams = *Udp(*client_.netns), stream = *Tcp(*client_.netns);
  ASSERT_STATUS(stream.Connect(vip_, 80));
  absl::StatusOr<Socket> accepted = listener.Accept();
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  ASSERT_STATUS(datagrams.Connect(vip_, 80));
  ASSERT_STATUS(datagrams.Send("before"));
  ASSERT_EQ(receiver.Answer("heard").value_or("nothing"), "before");
  ASSERT_EQ(datagrams.Receive().value_or("nothing"), "heard");

  TurnRouting();

  // Datagrams go on. A connection does, or its sender is told at once.
  ASSERT_STATUS(datagrams.Send("after"));
  EXPECT_EQ(receiver.Answer("heard").value_or("nothing"), "after");
  EXPECT_EQ(datagrams.Receive().value_or("nothing"), "heard");
  ASSERT_STATUS(stream.Send("after"));
  absl::StatusOr<std::string> told = accepted->Receive(absl::Milliseconds(500));
  if (!told.ok()) told = stream.Receive();
  EXPECT_FALSE(absl::IsDeadlineExceeded(told.status())) << told.status();
  // What begins anew finds its way, through the Service and straight to the pod.
  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectTalk(*client_.netns, far_.ip, 8080, listener);
  ExpectDatagrams(*client_.netns, vip_, 80, receiver);
  // Isolation is judged by what the new routing tells.
  Socket stranger = *Tcp(*clerk_.netns);
  EXPECT_TRUE(absl::IsDeadlineExceeded(stranger.Connect(far_.ip, 8080, kDropped)));

  TurnRouting();

  ExpectTalk(*client_.netns, vip_, 80, listener);
  ExpectTalk(*client_.netns, far_.ip, 8080, listener);
}

INSTANTIATE_TEST_SUITE_P(Ways, Reopened, ::testing::ValuesIn(AllWays()), NameOf);

}  // namespace
}  // namespace mesh::dataplane::testing
