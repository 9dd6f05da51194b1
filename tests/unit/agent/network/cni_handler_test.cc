// SPDX-License-Identifier: Apache-2.0
// Goal: each CNI verb does what the specification says, whatever happened before.
// Method: the handler over the fake dataplane and a folder for its notes.
#include "agent/network/cni_handler.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "dataplane/fake_dataplane.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/named_state.h"
#include "tests/unit/agent/network/temporary_folder.h"

namespace mesh::agent {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

dataplane::NodeConfig Config() {
  dataplane::NodeConfig config;
  config.node_name = "node-1";
  config.pod_cidr = *IpPrefix::Parse("10.244.1.0/24");
  config.cluster_cidr = *IpPrefix::Parse("10.244.0.0/16");
  config.gateway = *IpAddress::Parse("10.244.1.1");
  return config;
}

dataplane::NodeConfig DualConfig() {
  dataplane::NodeConfig config = Config();
  config.pod_cidr6 = *IpPrefix::Parse("fd00:10:244:1::/64");
  config.cluster_cidr6 = *IpPrefix::Parse("fd00:10:244::/48");
  config.gateway6 = *IpAddress::Parse("fd00:10:244:1::1");
  return config;
}

constexpr const char* kPodArgs =
    "IgnoreUnknown=1;K8S_POD_UID=uid-1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;"
    "K8S_POD_INFRA_CONTAINER_ID=abc";

class CniHandlerTest : public testing::Test {
 protected:
  CniHandlerTest() {
    handler_.SetState(state_);
    EXPECT_TRUE(handler_.SetDataplane(&dataplane_, Config()).ok());
    handler_.SetNotReady("");
  }

  v1::CniReply Call(const std::string& command, const std::string& container,
                    const std::string& args = "", const std::string& more_config = "",
                    const std::string& network = "mesh") {
    v1::CniRequest request;
    request.set_command(command);
    request.set_container_id(container);
    request.set_netns("/run/netns/" + container);
    request.set_ifname("eth0");
    request.set_args(args);
    request.set_config(R"({"cniVersion":"1.1.0","type":"mesh-cni","name":")" + network + "\"" +
                       (more_config.empty() ? "" : "," + more_config) + "}");
    v1::CniReply out;
    bool replied = false;
    handler_.Handle(request, -1, [&](const v1::CniReply& reply) {
      out = reply;
      replied = true;
    });
    EXPECT_TRUE(replied);
    return out;
  }

  std::set<std::string> Containers() {
    std::set<std::string> out;
    const auto endpoints = dataplane_.Endpoints();
    for (const dataplane::Endpoint& endpoint : *endpoints) out.insert(endpoint.container_id);
    return out;
  }

  TemporaryFolder folder_;
  std::shared_ptr<NodeState> state_ = NamedState();
  dataplane::FakeDataplane dataplane_{DualConfig()};
  Attachments attachments_ = [this] {
    std::string dropped;
    return *Attachments::Open(folder_.path(), &dropped);
  }();
  CniHandler handler_{&attachments_};
};

TEST_F(CniHandlerTest, GivesAPodTheAddressAndIdentityOfItsObject) {
  const v1::CniReply reply = Call("ADD", "abc", kPodArgs);

  ASSERT_EQ(reply.code(), 0u) << reply.message();
  EXPECT_THAT(reply.result(), HasSubstr(R"("address":"10.244.1.5/32","gateway":"10.244.1.1")"));
  EXPECT_THAT(reply.result(), HasSubstr(R"("nameservers":["10.244.1.1"])"));
  EXPECT_THAT(
      reply.result(),
      HasSubstr(R"("search":["shop.svc.cluster.local","svc.cluster.local","cluster.local"])"));
  const auto endpoints = *dataplane_.Endpoints();
  ASSERT_THAT(endpoints, SizeIs(1));
  EXPECT_EQ(endpoints[0].ip.ToString(), "10.244.1.5");
  EXPECT_EQ(endpoints[0].identity, 300u);
  EXPECT_EQ(endpoints[0].ns, "shop");
  EXPECT_EQ(endpoints[0].pod, "web-1");
  EXPECT_EQ(dataplane_.attached().egress_bandwidth, 0u);
  EXPECT_EQ(dataplane_.attached().ingress_bandwidth, 0u);
}

TEST_F(CniHandlerTest, GivesAPodBothAddressesOfItsObject) {
  ASSERT_TRUE(handler_.SetDataplane(&dataplane_, DualConfig()).ok());
  v1::PodStatus* status = state_->pods["uid-1"].Mutable().mutable_status();
  status->add_pod_ips()->set_ip("10.244.1.5");
  status->add_pod_ips()->set_ip("fd00:10:244:1::5");

  const v1::CniReply reply = Call("ADD", "abc", kPodArgs);

  ASSERT_EQ(reply.code(), 0u) << reply.message();
  EXPECT_THAT(reply.result(),
              HasSubstr(R"({"address":"fd00:10:244:1::5/128","gateway":"fd00:10:244:1::1")"));
  EXPECT_THAT(reply.result(), HasSubstr(R"({"address":"10.244.1.5/32","gateway":"10.244.1.1")"));
  EXPECT_THAT(reply.result(), HasSubstr(R"("nameservers":["10.244.1.1"])"));
  EXPECT_EQ(dataplane_.attached().ip6.ToString(), "fd00:10:244:1::5");
  std::string dropped;
  const auto again = Attachments::Open(folder_.path(), &dropped);
  EXPECT_EQ(again->Find("abc", "eth0")->ip6.ToString(), "fd00:10:244:1::5") << "it is noted";
  EXPECT_EQ(Call("CHECK", "abc", "", "\"prevResult\":" + reply.result()).code(), 0u);
}

TEST_F(CniHandlerTest, APodBoundBeforeTheClusterHadIpv6HasNoneOfIt) {
  ASSERT_TRUE(handler_.SetDataplane(&dataplane_, DualConfig()).ok());

  const v1::CniReply reply = Call("ADD", "abc", kPodArgs);

  ASSERT_EQ(reply.code(), 0u) << reply.message();
  EXPECT_THAT(reply.result(), Not(HasSubstr("fd00")));
}

TEST_F(CniHandlerTest, AsksToComeBackForAnIpv6AddressOfAnotherNode) {
  ASSERT_TRUE(handler_.SetDataplane(&dataplane_, DualConfig()).ok());
  state_->pods["uid-1"].Mutable().mutable_status()->add_pod_ips()->set_ip("fd00:10:244:2::5");

  const v1::CniReply reply = Call("ADD", "abc", kPodArgs);

  EXPECT_EQ(reply.code(), 11u);
  EXPECT_THAT(reply.details(), HasSubstr("fd00:10:244:2::5, the node's range is fd00:10:244:1::"));
}

TEST_F(CniHandlerTest, AnAttachmentByHandHasTheSamePlaceInBothRanges) {
  ASSERT_TRUE(handler_.SetDataplane(&dataplane_, DualConfig()).ok());

  EXPECT_THAT(Call("ADD", "one").result(), HasSubstr("fd00:10:244:1::f0/128"));
}

TEST_F(CniHandlerTest, TellsTheMtuOfTheRouting) {
  EXPECT_THAT(Call("ADD", "one").result(), HasSubstr("\"mtu\":1450"));
  dataplane::NodeConfig native = Config();
  native.routing = dataplane::Routing::kNative;
  ASSERT_TRUE(handler_.SetDataplane(&dataplane_, native).ok());

  EXPECT_THAT(Call("ADD", "two").result(), HasSubstr("\"mtu\":1500"));
}

TEST_F(CniHandlerTest, LimitsThePodToTheBandwidthOfItsAnnotations) {
  auto& annotations = *state_->pods["uid-1"].Mutable().mutable_metadata()->mutable_annotations();
  annotations["kubernetes.io/egress-bandwidth"] = "10M";
  annotations["kubernetes.io/ingress-bandwidth"] = "1Gi";
  handler_.SetState(state_);

  ASSERT_EQ(Call("ADD", "abc", kPodArgs).code(), 0u);

  EXPECT_EQ(dataplane_.attached().egress_bandwidth, 10'000'000u);
  EXPECT_EQ(dataplane_.attached().ingress_bandwidth, 1'073'741'824u);
}

TEST_F(CniHandlerTest, AsksToComeBackForAPodItHasNotHeardOf) {
  const v1::CniReply reply =
      Call("ADD", "abc", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-9;K8S_POD_UID=uid-9");

  EXPECT_EQ(reply.code(), 11u);
  EXPECT_THAT(reply.message(), HasSubstr("pod shop/web-9 (uid uid-9) is not known to this node"));
  EXPECT_THAT(Containers(), IsEmpty());
}

TEST_F(CniHandlerTest, AsksToComeBackForAPodWithoutAnAddress) {
  state_->pods["uid-1"].Mutable().mutable_status()->clear_pod_ip();

  EXPECT_EQ(Call("ADD", "abc", kPodArgs).code(), 11u);
}

TEST_F(CniHandlerTest, GivesAnAttachmentByHandAReservedAddressAndTheUnmanagedIdentity) {
  const v1::CniReply first = Call("ADD", "one");
  const v1::CniReply second = Call("ADD", "two");

  EXPECT_THAT(first.result(), HasSubstr("10.244.1.240/32"));
  EXPECT_THAT(second.result(), HasSubstr("10.244.1.241/32"));
  const auto endpoints = dataplane_.Endpoints();
  for (const dataplane::Endpoint& endpoint : *endpoints)
    EXPECT_EQ(endpoint.identity, dataplane::kIdentityUnmanaged);
}

TEST_F(CniHandlerTest, SaysWhenTheReservedAddressesAreUsedUp) {
  for (int i = 0; i < 15; ++i) ASSERT_EQ(Call("ADD", absl::StrCat("c", i)).code(), 0u) << i;

  EXPECT_EQ(Call("ADD", "one-more").code(), 102u);

  EXPECT_EQ(Call("DEL", "c3").code(), 0u);
  EXPECT_THAT(Call("ADD", "one-more").result(), HasSubstr("10.244.1.243/32"));
}

TEST_F(CniHandlerTest, RefusesASecondAddOfTheSameInterface) {
  ASSERT_EQ(Call("ADD", "abc").code(), 0u);

  const v1::CniReply reply = Call("ADD", "abc");

  EXPECT_EQ(reply.code(), 4u);
  EXPECT_THAT(reply.message(), HasSubstr("CNI_IFNAME"));
  EXPECT_EQ(Containers(), std::set<std::string>{"abc"}) << "the first one stays";
}

TEST_F(CniHandlerTest, AFailedAddLeavesNothing) {
  dataplane_.fault = [](const std::string& method) {
    return method == "Attach" ? absl::ResourceExhaustedError("map full") : absl::OkStatus();
  };

  const v1::CniReply reply = Call("ADD", "abc");

  EXPECT_EQ(reply.code(), 100u);
  EXPECT_EQ(reply.details(), "map full");
  EXPECT_THAT(attachments_.all(), IsEmpty());
}

TEST_F(CniHandlerTest, NamesAnInterfaceThatExistsAlready) {
  dataplane_.fault = [](const std::string& method) {
    return method == "Attach" ? absl::AlreadyExistsError("eth0 exists") : absl::OkStatus();
  };

  const v1::CniReply reply = Call("ADD", "abc");

  EXPECT_EQ(reply.code(), 4u);
  EXPECT_EQ(reply.message(), "CNI_IFNAME: eth0 exists already in /run/netns/abc");
}

TEST_F(CniHandlerTest, AnotherSandboxOfThePodTakesItsAddressOver) {
  ASSERT_EQ(Call("ADD", "old", kPodArgs).code(), 0u);

  const v1::CniReply reply = Call("ADD", "new", kPodArgs);

  ASSERT_EQ(reply.code(), 0u) << reply.message() << reply.details();
  EXPECT_EQ(Containers(), std::set<std::string>{"new"});
  EXPECT_EQ(Call("DEL", "old", kPodArgs).code(), 0u);
  EXPECT_EQ(Containers(), std::set<std::string>{"new"}) << "a late DEL of the old one";
}

TEST_F(CniHandlerTest, TakesAnAddressFromAnEndpointWhoseNoteIsLost) {
  ASSERT_EQ(Call("ADD", "old", kPodArgs).code(), 0u);
  ASSERT_TRUE(attachments_.Remove("old", "eth0").ok());

  EXPECT_EQ(Call("ADD", "new", kPodArgs).code(), 0u);

  EXPECT_EQ(Containers(), std::set<std::string>{"new"});
}

TEST_F(CniHandlerTest, DelSucceedsForWhatIsNotThere) {
  ASSERT_EQ(Call("ADD", "abc").code(), 0u);

  EXPECT_EQ(Call("DEL", "abc").code(), 0u);
  EXPECT_EQ(Call("DEL", "abc").code(), 0u);
  EXPECT_EQ(Call("DEL", "never-there").code(), 0u);
  EXPECT_THAT(Containers(), IsEmpty());
}

TEST_F(CniHandlerTest, DelRemovesWhatItsNotesDoNotKnow) {
  ASSERT_EQ(Call("ADD", "abc").code(), 0u);
  ASSERT_TRUE(attachments_.Remove("abc", "eth0").ok());

  EXPECT_EQ(Call("DEL", "abc").code(), 0u);

  EXPECT_THAT(Containers(), IsEmpty());
}

TEST_F(CniHandlerTest, DelRemovesTheLinkFirstWhereThatIsDoneElsewhere) {
  ASSERT_EQ(Call("ADD", "abc").code(), 0u);
  std::string removed;
  handler_.SetRemoveLink(
      [&](const std::string& container, const std::string& ifname, std::function<void()> done) {
        removed = container + " " + ifname;
        EXPECT_EQ(Containers(), std::set<std::string>{"abc"}) << "not before the link is gone";
        done();
      });

  EXPECT_EQ(Call("DEL", "abc").code(), 0u);

  EXPECT_EQ(removed, "abc eth0");
  EXPECT_THAT(Containers(), IsEmpty());
}

TEST_F(CniHandlerTest, DelGoesOnWithAFieldThatAddWouldRefuse) {
  EXPECT_EQ(Call("DEL", "abc", "", R"("ipam":{"type":"x"})").code(), 0u);
  EXPECT_EQ(Call("ADD", "abc", "", R"("ipam":{"type":"x"})").code(), 2u);
}

TEST_F(CniHandlerTest, CheckComparesWithPreviousResultAndKernel) {
  const std::string prev = "\"prevResult\":" + Call("ADD", "abc").result();
  EXPECT_EQ(Call("CHECK", "abc", "", prev).code(), 0u);

  EXPECT_EQ(Call("CHECK", "abc").code(), 7u) << "without prevResult";
  EXPECT_EQ(Call("CHECK", "other", "", prev).code(), 3u);
  dataplane_.fault = [](const std::string& method) {
    return method == "Check" ? absl::FailedPreconditionError("no route") : absl::OkStatus();
  };
  const v1::CniReply reply = Call("CHECK", "abc", "", prev);
  EXPECT_EQ(reply.code(), 101u);
  EXPECT_EQ(reply.details(), "no route");
}

TEST_F(CniHandlerTest, GcRemovesWhatIsNotListedOfTheSameNetworkOnly) {
  ASSERT_EQ(Call("ADD", "keep").code(), 0u);
  ASSERT_EQ(Call("ADD", "drop").code(), 0u);
  ASSERT_EQ(Call("ADD", "foreign", "", "", "by-hand").code(), 0u);

  const v1::CniReply reply =
      Call("GC", "", "", R"("cni.dev/valid-attachments":[{"containerID":"keep","ifname":"eth0"}])");

  EXPECT_EQ(reply.code(), 0u) << reply.message();
  EXPECT_EQ(Containers(), (std::set<std::string>{"foreign", "keep"}));
}

TEST_F(CniHandlerTest, GcRemovesEndpointsWhoseNoteIsLost) {
  ASSERT_EQ(Call("ADD", "lost").code(), 0u);
  ASSERT_TRUE(attachments_.Remove("lost", "eth0").ok());

  EXPECT_EQ(Call("GC", "", "", R"("cni.dev/valid-attachments":[])").code(), 0u);

  EXPECT_THAT(Containers(), IsEmpty());
}

TEST_F(CniHandlerTest, GcWithoutAListRemovesNothing) {
  ASSERT_EQ(Call("ADD", "abc").code(), 0u);

  EXPECT_EQ(Call("GC", "").code(), 7u);

  EXPECT_EQ(Containers(), std::set<std::string>{"abc"});
}

TEST_F(CniHandlerTest, GcGoesOnAfterAFailure) {
  ASSERT_EQ(Call("ADD", "a").code(), 0u);
  ASSERT_EQ(Call("ADD", "b").code(), 0u);
  int detaches = 0;
  dataplane_.fault = [&](const std::string& method) {
    return method == "Detach" && ++detaches == 1 ? absl::InternalError("busy") : absl::OkStatus();
  };

  EXPECT_EQ(Call("GC", "", "", R"("cni.dev/valid-attachments":[])").code(), 100u);

  EXPECT_EQ(detaches, 2);
}

TEST_F(CniHandlerTest, StatusSaysWhyItIsNotReady) {
  EXPECT_EQ(Call("STATUS", "").code(), 0u);

  handler_.SetNotReady("no address");

  const v1::CniReply reply = Call("STATUS", "");
  EXPECT_EQ(reply.code(), 50u);
  EXPECT_EQ(reply.details(), "no address");
  EXPECT_EQ(Call("ADD", "abc").code(), 11u);
}

TEST_F(CniHandlerTest, ANewAgentForgetsAttachmentsWhoseInterfaceIsGone) {
  ASSERT_EQ(Call("ADD", "alive").code(), 0u);
  ASSERT_EQ(Call("ADD", "gone").code(), 0u);
  ASSERT_TRUE(dataplane_.Detach("gone", "eth0").ok());
  std::string dropped;
  Attachments read_again = *Attachments::Open(folder_.path(), &dropped);
  CniHandler next(&read_again);

  ASSERT_TRUE(next.SetDataplane(&dataplane_, Config()).ok());

  EXPECT_NE(read_again.Find("alive", "eth0"), nullptr);
  EXPECT_EQ(read_again.Find("gone", "eth0"), nullptr);
}

}  // namespace
}  // namespace mesh::agent
