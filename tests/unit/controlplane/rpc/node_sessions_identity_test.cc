// SPDX-License-Identifier: Apache-2.0
// What pods are to policies reaches the other nodes before it reaches the pod's own.
#include <gmock/gmock.h>

#include "google/protobuf/text_format.h"
#include "tests/unit/controlplane/rpc/sessions_world.h"

namespace mesh::controlplane {
namespace {

class IdentityBarrierTest : public NodeSessionsTest {
 protected:
  IdentityBarrierTest() {
    one_.Hello("n1");
    two_.Hello("n2", "192.168.0.2");
    AckAll();
  }
  // Everybody takes all there is, and has it in the maps.
  void AckAll() {
    for (FakeAgent* agent : {&one_, &two_}) {
      agent->Drain();
      agent->Ack(agent->received().back().update().revision());
    }
  }
  void Bind(const std::string& name, const std::map<std::string, std::string>& labels) {
    v1::Resource pod = APod(name);
    for (const auto& [key, value] : labels)
      (*pod.mutable_pod()->mutable_metadata()->mutable_labels())[key] = value;
    ASSERT_TRUE(world_.Create(pod).ok());
    v1::Resource bound = *world_.cache.Find(v1::KIND_POD, {"default", name});
    bound.mutable_pod()->mutable_spec()->set_node_name("n1");
    const std::string ip = "10.244.0." + std::to_string(next_address_++);
    bound.mutable_pod()->mutable_status()->set_pod_ip(ip);
    bound.mutable_pod()->mutable_status()->add_pod_ips()->set_ip(ip);
    ASSERT_TRUE(world_.Submit({Write::Type::kBind, bound, {}}).ok());
  }
  void Relabel(const std::string& name, const std::string& value) {
    v1::Resource pod = *world_.cache.Find(v1::KIND_POD, {"default", name});
    (*pod.mutable_pod()->mutable_metadata()->mutable_labels())["app"] = value;
    ASSERT_TRUE(world_.Submit({Write::Type::kUpdate, pod, {}}).ok());
  }
  // The identity that an agent was told of a pod last; 0: it has not heard of it.
  static uint32_t Told(FakeAgent& agent, const std::string& name) {
    agent.Drain();
    uint32_t out = 0;
    for (const auto& message : agent.received()) {
      for (const v1::Pod& pod : message.update().pods()) {
        if (pod.metadata().name() == name) out = pod.status().identity();
      }
    }
    return out;
  }
  static bool Knows(FakeAgent& agent, uint32_t identity) {
    agent.Drain();
    bool out = false;
    for (const auto& message : agent.received()) {
      for (const auto& row : message.update().identities()) out |= row.identity() == identity;
      for (const uint32_t gone : message.update().removed_pod_identities())
        out = out && gone != identity;
    }
    return out;
  }

  int next_address_ = 2;
  FakeAgent one_{world_, sessions_}, two_{world_, sessions_};
};

TEST_F(IdentityBarrierTest, APodIsToldToItsNodeWhenTheOthersKnowItsIdentity) {
  Bind("web", {{"app", "web"}});
  const uint32_t identity = Pod("web")->status().identity();
  EXPECT_TRUE(Knows(two_, identity));
  EXPECT_EQ(Told(one_, "web"), 0u);

  one_.Ack(one_.received().back().update().revision());
  EXPECT_EQ(Told(one_, "web"), 0u) << "n2 does not know it yet";
  two_.Ack(two_.received().back().update().revision());
  EXPECT_EQ(Told(one_, "web"), identity);

  // Of an identity that is known.
  Bind("web-2", {{"app", "web"}});
  EXPECT_EQ(Pod("web-2")->status().identity(), identity);
  EXPECT_EQ(Told(one_, "web-2"), identity);
}

TEST_F(IdentityBarrierTest, ANodeThatDoesNotAcknowledgeHoldsNothingUpForLong) {
  Bind("web", {{"app", "web"}});
  ASSERT_EQ(Told(one_, "web"), 0u);
  world_.loop.RunFor(absl::Seconds(3));
  EXPECT_NE(Told(one_, "web"), 0u);
}

TEST_F(IdentityBarrierTest, AnotherLabelIsAnotherIdentityAndTheOldOneIsKnownForAWhile) {
  Bind("web", {{"app", "web"}});
  AckAll();
  AckAll();
  const uint32_t before = Told(one_, "web");
  ASSERT_NE(before, 0u);

  Relabel("web", "shop");
  const uint32_t after = Pod("web")->status().identity();
  EXPECT_NE(after, before);
  EXPECT_TRUE(Knows(two_, after));
  EXPECT_EQ(Told(one_, "web"), before);
  AckAll();
  EXPECT_EQ(Told(one_, "web"), after);
  EXPECT_TRUE(Knows(two_, before)) << "packets may be on their way";
  world_.loop.RunFor(absl::Seconds(40));
  EXPECT_FALSE(Knows(two_, before));

  Relabel("web", "web");
  EXPECT_NE(Pod("web")->status().identity(), before) << "numbers rest";
}

TEST_F(IdentityBarrierTest, NodesKnowEachOthersPodsWhileAPolicyAsksWhereTheySend) {
  Bind("web", {{"app", "web"}});
  AckAll();
  two_.Drain();
  EXPECT_TRUE(two_.received().back().update().pod_identities().empty());

  v1::Resource policy;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(network_policy { metadata { namespace: "default" name: "p" }
           spec { pod_selector {} policy_types: "Egress" } })",
      &policy));
  ASSERT_TRUE(world_.Create(policy).ok());
  const v1::NodeUpdate& update = two_.Update();
  ASSERT_EQ(update.pod_identities_size(), 1);
  EXPECT_EQ(update.pod_identities(0).ip(), "10.244.0.2");
  EXPECT_EQ(update.policy_sets_size(), 1) << "in one update with what asks";
}

}  // namespace
}  // namespace mesh::controlplane
