// SPDX-License-Identifier: Apache-2.0
// Goal: the net thread as the agent sees it: states are programmed and acknowledged, failures are
// reported and tried again, CNI is served and announced when it can be.
// Method: the real loop, sockets and files over the fake dataplane; the resolver on 127.0.0.1.
#include "agent/network/network.h"

#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "agent/network/network_impl.h"
#include "cni/agent_client.h"
#include "common/unique_fd.h"
#include "dataplane/fake_dataplane.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "mesh/shared/drop_reason.h"
#include "tests/unit/agent/network/fake_events.h"
#include "tests/unit/agent/network/named_state.h"
#include "tests/unit/agent/network/temporary_folder.h"

namespace mesh::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr absl::Duration kDeadline = absl::Seconds(10);

// Collects what `done` says.
class Acknowledgements {
 public:
  std::function<void(int64_t, absl::Status)> Next() {
    return [this](int64_t revision, absl::Status status) {
      absl::MutexLock lock(&mutex_);
      all_.emplace_back(revision, std::move(status));
    };
  }
  // The first `count` ones, when they came in time.
  std::vector<std::pair<int64_t, absl::Status>> Await(size_t count) {
    absl::MutexLock lock(&mutex_);
    auto enough = [&] { return all_.size() >= count; };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), kDeadline));
    return all_;
  }
  // Until the newest is without an error.
  void AwaitOk() {
    absl::MutexLock lock(&mutex_);
    auto ok = [&] { return !all_.empty() && all_.back().second.ok(); };
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&ok), kDeadline));
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::pair<int64_t, absl::Status>> all_;
};

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string Text(const NetworkWarning& warning) {
  return fmt::format("{}/{}{} {}: {}", warning.ns, warning.pod,
                     warning.service.empty() ? "" : "service " + warning.service, warning.reason,
                     warning.message);
}

class NetworkTest : public testing::Test {
 protected:
  NetworkTest() {
    std::ofstream(folder_.path() + "/binary") << "the plugin";
    // A gateway that this machine has: the resolver binds it.
    state_->config.set_pod_cidr("127.0.0.0/24");
    state_->pods["uid-1"].Mutable().mutable_status()->set_pod_ip("127.0.0.5");
    options_.node_name = "node-1";
    options_.node_ip = "192.168.9.1";
    options_.run_dir = folder_.path() + "/run";
    options_.cni_bin_dir = folder_.path() + "/opt/cni/bin";
    options_.cni_conf_dir = folder_.path() + "/etc/cni/net.d";
    options_.cni_binary = folder_.path() + "/binary";
    options_.resolv_conf = folder_.path() + "/resolv.conf";
    source_.probe = [] { return absl::OkStatus(); };
    source_.uplink = [] { return Uplink{.name = "eth0"}; };
    source_.resolver_port = 0;
    source_.open = [this](const dataplane::NodeConfig& config)
        -> absl::StatusOr<std::unique_ptr<dataplane::Dataplane>> {
      ++opens_;
      if (!open_status_.ok()) return open_status_;
      auto fake = std::make_unique<dataplane::FakeDataplane>(config);
      fake->fault = [this](const std::string& method) {
        return method == "Apply" && failures_-- > 0 ? failure_ : absl::OkStatus();
      };
      fake_ = fake.get();
      return fake;
    };
  }

  std::unique_ptr<Network> Start(NodeStatePtr initial = nullptr) {
    auto network = StartNetwork(options_, std::move(initial), source_);
    EXPECT_TRUE(network.ok()) << network.status();
    return network.ok() ? *std::move(network) : nullptr;
  }

  v1::CniReply Cni(const std::string& command, const std::string& args = "") {
    v1::CniRequest request;
    request.set_command(command);
    request.set_container_id("abc");
    request.set_netns("/run/netns/x");
    request.set_ifname("eth0");
    request.set_args(args);
    request.set_config(R"({"cniVersion":"1.1.0","type":"mesh-cni","name":"mesh"})");
    v1::CniReply reply;
    const auto error = cni::CallAgent(options_.run_dir + "/cni.sock", request, -1, &reply);
    EXPECT_EQ(error, std::nullopt) << error->message << error->details;
    return reply;
  }

  TemporaryFolder folder_;
  NetworkOptions options_;
  DataplaneSource source_;
  std::shared_ptr<NodeState> state_ = NamedState();
  Acknowledgements acknowledgements_;
  std::atomic<int> opens_ = 0, failures_ = 0;
  dataplane::FakeDataplane* fake_ = nullptr;  // the last one opened
  absl::Status open_status_;
  absl::Status failure_ = absl::ResourceExhaustedError("service map full");  // of `failures_`
};

TEST_F(NetworkTest, FollowsTheUplinksMtuAndSaysWhatItCannot) {
  UniqueFd events(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  std::atomic<int> mtu = 1500;
  source_.link_events = [&] { return UniqueFd(::dup(events.get())); };
  source_.uplink_mtu = [&](const std::string& uplink) {
    EXPECT_EQ(uplink, "eth0");
    return mtu.load();
  };
  auto network = Start(state_);
  fake_->fault = [&](const std::string& method) {
    return method == "SetUplinkMtu" && mtu < 1400 ? absl::InvalidArgumentError("too small")
                                                  : absl::OkStatus();
  };
  const std::string pod = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=uid-1";
  ASSERT_EQ(Cni("ADD", pod).code(), 0u);
  const auto change = [&](int to) {
    mtu = to;
    EXPECT_EQ(::eventfd_write(events.get(), 1), 0);
  };
  // Asked on the net thread, behind what it does with the event.
  const auto await_trouble = [&](bool wanted) {
    const absl::Time deadline = absl::Now() + kDeadline;
    while (network->UplinkTrouble().empty() == wanted && absl::Now() < deadline)
      network->PodNetns("shop", "web-1").IgnoreError();
    return network->UplinkTrouble();
  };

  change(1399);
  EXPECT_THAT(await_trouble(true), HasSubstr("too small; the node goes on as before (1500)"));
  EXPECT_EQ(fake_->uplink_mtu(), 1500);

  change(1450);
  EXPECT_EQ(await_trouble(false), "");
  EXPECT_EQ(fake_->uplink_mtu(), 1450);
  ASSERT_EQ(fake_->followed().size(), 1u);
  EXPECT_EQ(fake_->followed()[0].container_id, "abc");
  EXPECT_EQ(fake_->followed()[0].netns, "/run/netns/x");
  // What a state brings is compared with it.
  network->Apply(state_, acknowledgements_.Next());
  EXPECT_TRUE(acknowledgements_.Await(1)[0].second.ok());
}

TEST_F(NetworkTest, IsNotReadyBeforeTheFirstState) {
  auto network = Start();

  EXPECT_FALSE(network->Ready());
  EXPECT_EQ(network->PodNameServer(), "");
  EXPECT_EQ(Cni("STATUS").code(), 50u);
  EXPECT_EQ(ReadText(options_.cni_conf_dir + "/10-mesh.conflist"), "");
}

// Another node may have the address by now: neighbours are told when meshd has said who has it.
TEST_F(NetworkTest, TellsNeighboursOfNoAddressThatItOnlyRemembers) {
  absl::Mutex mutex;
  std::vector<std::string> told;
  source_.announce = [&](const std::string&, const std::vector<IpAddress>& ips) {
    absl::MutexLock lock(&mutex);
    for (const IpAddress& ip : ips) told.push_back(ip.ToString());
    return absl::OkStatus();
  };
  v1::ServiceState& service = state_->services["shop/web"].Mutable();
  service.add_load_balancer_ips("192.168.9.200");
  service.set_announcing_node("node-1");
  auto network = Start(state_);
  auto welcomed = std::make_shared<NodeState>(*state_);
  welcomed->config.set_node_port_first(20000);
  network->Apply(welcomed, acknowledgements_.Next());
  ASSERT_EQ(acknowledgements_.Await(1).size(), 1u);
  {
    absl::MutexLock lock(&mutex);
    EXPECT_THAT(told, testing::IsEmpty());
  }

  auto sent = std::make_shared<NodeState>(*welcomed);
  sent->revision = 8;
  network->Apply(sent, acknowledgements_.Next());

  absl::MutexLock lock(&mutex);
  const auto any = [&] { return !told.empty(); };
  ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&any), kDeadline));
  EXPECT_EQ(told.front(), "192.168.9.200");
}

// A full connection table takes seconds on a busy machine.
TEST_F(NetworkTest, WhoReadsTheConnectionsHoldsNobodyUp) {
  absl::Notification reading, applied;
  std::atomic<bool> waited_in_vain = false;
  const auto open = source_.open;
  source_.open = [&](const dataplane::NodeConfig& config)
      -> absl::StatusOr<std::unique_ptr<dataplane::Dataplane>> {
    auto opened = open(config);
    static_cast<dataplane::FakeDataplane&>(**opened).fault = [&](const std::string& method) {
      if (method != "Conntrack") return absl::OkStatus();
      reading.Notify();
      waited_in_vain = !applied.WaitForNotificationWithTimeout(kDeadline);
      return absl::OkStatus();
    };
    return opened;
  };
  auto network = Start();
  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(1);

  std::thread reader([&] {
    v1::ListDataplaneRequest request;
    request.set_table(v1::DATAPLANE_TABLE_CONNTRACK);
    EXPECT_EQ(network->ListDataplane(request).error(), "");
  });
  ASSERT_TRUE(reading.WaitForNotificationWithTimeout(kDeadline));
  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(2);
  applied.Notify();
  reader.join();
  EXPECT_FALSE(waited_in_vain);
}

TEST_F(NetworkTest, WarnsOfAPodThatHasAllTheFlowsItMayHave) {
  options_.quota_interval = absl::Milliseconds(5);
  const auto open = source_.open;
  source_.open = [&](const dataplane::NodeConfig& config)
      -> absl::StatusOr<std::unique_ptr<dataplane::Dataplane>> {
    auto opened = open(config);
    auto& fake = static_cast<dataplane::FakeDataplane&>(**opened);
    fake.flow_usage = {.flows = 700, .capacity = 1000};
    fake.flow_usage.owners = {{*IpAddress::Parse("127.0.0.5"), "shop", "web-1", 700, 700}};
    return opened;
  };
  auto network = Start();
  absl::Mutex mutex;
  std::vector<std::string> warnings;
  network->OnWarning([&](const NetworkWarning& warning) {
    absl::MutexLock lock(&mutex);
    warnings.push_back(Text(warning).substr(0, 45));
  });

  network->Apply(state_, acknowledgements_.Next());

  {
    absl::MutexLock lock(&mutex);
    const auto warned = [&] { return !warnings.empty(); };
    ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&warned), kDeadline));
    EXPECT_THAT(warnings, ElementsAre("shop/web-1 FlowQuotaReached: it has 700 flows"));
  }
  network->OnWarning(nullptr);
}

TEST_F(NetworkTest, WarnsOnceOfAPodThatFindsNoSourcePort) {
  options_.quota_interval = absl::Milliseconds(5);
  FakeRing ring;
  dataplane::FlowEvent refused;
  refused.kind = dataplane::FlowEvent::Kind::kRefused;
  refused.reason = MESH_REASON_NO_PORT;
  refused.protocol = IPPROTO_TCP;
  refused.source = *IpAddress::Parse("10.244.1.5");
  refused.server = refused.destination = *IpAddress::Parse("198.51.100.1");
  refused.server_port = 443;
  const auto open = source_.open;
  source_.open = [&](const dataplane::NodeConfig& config)
      -> absl::StatusOr<std::unique_ptr<dataplane::Dataplane>> {
    auto opened = open(config);
    static_cast<dataplane::FakeDataplane&>(**opened).flow_events = [&] {
      return std::make_unique<FakeEvents>(&ring);
    };
    return opened;
  };
  auto network = Start();
  absl::Mutex mutex;
  std::vector<std::string> warnings;
  network->OnWarning([&](const NetworkWarning& warning) {
    absl::MutexLock lock(&mutex);
    warnings.push_back(Text(warning).substr(0, 75));
  });
  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(1);

  ring.Tell({refused, refused});
  {
    absl::MutexLock lock(&mutex);
    const auto warned = [&] { return !warnings.empty(); };
    ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&warned), kDeadline));
  }
  // Another one shows that the first were told once.
  refused.server_port = 444;
  ring.Tell({refused});
  {
    absl::MutexLock lock(&mutex);
    const auto both = [&] { return warnings.size() >= 2; };
    ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&both), kDeadline));
    EXPECT_THAT(
        warnings,
        ElementsAre("shop/web-1 SourcePortsTaken: connections to 198.51.100.1:443/TCP are refuse",
                    "shop/web-1 SourcePortsTaken: connections to 198.51.100.1:444/TCP are refuse"));
  }
  network->OnWarning(nullptr);
}

TEST_F(NetworkTest, WarnsOnceOfAPodWhoseHostPortIsNotServed) {
  options_.own_ports = {6441};
  auto network = Start();
  std::vector<std::string> warnings;  // written before an acknowledgement, read after it
  network->OnWarning([&](const NetworkWarning& warning) { warnings.push_back(Text(warning)); });
  v1::Pod& pod = state_->pods["uid-1"].Mutable();
  const auto add_port = [&](int number, const std::string& protocol, const std::string& ip) {
    v1::ContainerPort* port = pod.mutable_spec()->mutable_containers(0)->add_ports();
    port->set_container_port(80);
    port->set_host_port(number);
    port->set_protocol(protocol);
    port->set_host_ip(ip);
  };
  pod.mutable_metadata()->set_namespace_("shop");
  pod.mutable_metadata()->set_name("web-1");
  if (pod.spec().containers().empty()) pod.mutable_spec()->add_containers();
  add_port(6441, "TCP", "");
  add_port(6441, "UDP", "");
  add_port(4789, "UDP", "");
  add_port(8080, "TCP", "192.0.2.77");
  const auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;

  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(1);
  network->Apply(next, acknowledgements_.Next());
  acknowledgements_.Await(2);

  EXPECT_THAT(warnings,
              ElementsAre("shop/web-1 HostPortNotServed: hostPort 4789/UDP is not served: the "
                          "agent, the control plane or the tunnel of node node-1 listens there; "
                          "give the pod another one",
                          "shop/web-1 HostPortNotServed: hostPort 6441/TCP is not served: the "
                          "agent, the control plane or the tunnel of node node-1 listens there; "
                          "give the pod another one",
                          "shop/web-1 HostPortNotServed: pod shop/web-1: hostPort 8080: hostIP "
                          "192.0.2.77 is not this node's address 192.168.9.1"));
  network->OnWarning(nullptr);
}

TEST_F(NetworkTest, FollowsWhoListensOnTheNodeWhileServicesNameItsAddress) {
  options_.quota_interval = absl::Milliseconds(5);
  std::atomic<bool> listens = true;
  std::atomic<int> looks = 0;
  const dataplane::Frontend at = {*IpAddress::Parse("192.168.9.1"), 80, dataplane::Protocol::kTcp};
  source_.listeners = [&]() -> absl::StatusOr<NodeListeners> {
    ++looks;
    NodeListeners out;
    if (listens) out.sockets = {at};
    return out;
  };
  auto network = Start();
  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(1);
  EXPECT_EQ(looks, 0) << "nobody asks";
  const auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;
  next->services["shop/web"].Mutable().add_external_ips("192.168.9.1");

  network->Apply(next, acknowledgements_.Next());
  acknowledgements_.Await(2);
  EXPECT_TRUE(fake_->desired().taken.contains(at)) << "before it is acknowledged";

  const uint64_t applies = network->Figures().applies;
  listens = false;
  const absl::Time deadline = absl::Now() + kDeadline;
  while (network->Figures().applies == applies && absl::Now() < deadline) std::this_thread::yield();
  EXPECT_TRUE(fake_->desired().taken.empty());
}

TEST_F(NetworkTest, AcknowledgesARevisionOnceTheMapsHoldIt) {
  auto network = Start();

  network->Apply(state_, acknowledgements_.Next());

  EXPECT_THAT(acknowledgements_.Await(1), ElementsAre(std::pair(7, absl::OkStatus())));
  EXPECT_TRUE(network->Ready());
  EXPECT_EQ(network->PodNameServer(), "127.0.0.1");
  EXPECT_EQ(Cni("STATUS").code(), 0u);
}

TEST_F(NetworkTest, StartsFromTheCheckpointBeforeItReturns) {
  auto network = Start(state_);

  EXPECT_TRUE(network->Ready());
  EXPECT_EQ(Cni("ADD", "K8S_POD_UID=uid-1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=shop").code(), 0u);
}

TEST_F(NetworkTest, KnowsAPodFromTheStateThatHasJustArrived) {
  auto network = Start(state_);
  auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;
  next->pods["uid-2"] = next->pods["uid-1"];
  next->pods["uid-2"].Mutable().mutable_status()->set_pod_ip("127.0.0.6");

  network->Apply(next, acknowledgements_.Next());

  EXPECT_EQ(Cni("ADD", "K8S_POD_UID=uid-2;K8S_POD_NAME=x;K8S_POD_NAMESPACE=shop").code(), 0u);
}

TEST_F(NetworkTest, ReportsAFailureAndTriesAgainUntilItHolds) {
  auto network = Start();
  failures_ = 2;

  network->Apply(state_, acknowledgements_.Next());

  const auto all = acknowledgements_.Await(3);
  EXPECT_EQ(all[0].first, 0);
  EXPECT_THAT(std::string(all[0].second.message()), HasSubstr("service map full"));
  EXPECT_FALSE(all[1].second.ok());
  EXPECT_EQ(all[2], std::pair(int64_t{7}, absl::OkStatus()));
}

TEST_F(NetworkTest, TellsWhatOfARevisionCannotBeProgrammed) {
  auto network = Start();
  state_->services["shop/web"].Mutable().set_cluster_ip("fd00::1");

  network->Apply(state_, acknowledgements_.Next());

  const auto all = acknowledgements_.Await(1);
  EXPECT_EQ(all[0].first, 7) << "the rest holds";
  EXPECT_THAT(std::string(all[0].second.message()), HasSubstr("service shop/web"));
}

// It never will be otherwise: pods must start and stop nevertheless.
TEST_F(NetworkTest, ARevisionIsReachedThoughTheDataplaneCannotServeAllOfIt) {
  auto network = Start();
  failure_ = absl::InvalidArgumentError("service shop/web port 6441: is not served here");
  failures_ = 2;
  const auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;

  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(1);
  network->Apply(next, acknowledgements_.Next());

  const auto all = acknowledgements_.Await(2);
  EXPECT_EQ(all[0].first, 7) << "the rest holds";
  EXPECT_EQ(all[1].first, 8);
  EXPECT_EQ(all[0].second, failure_);
  EXPECT_EQ(all[1].second, failure_) << "the same for meshd, which tells it once";
}

TEST_F(NetworkTest, PodsDoNotWaitForEverForADataplaneThatFails) {
  options_.pods_wait = absl::Milliseconds(1);
  auto network = Start();
  failures_ = 1'000'000;

  network->Apply(state_, acknowledgements_.Next());

  const auto all = acknowledgements_.Await(2);
  EXPECT_EQ(all[0].first, 0) << "it may work the next time";
  EXPECT_EQ(all[1].first, 7) << "it goes on for too long";
  EXPECT_THAT(std::string(all[1].second.message()), HasSubstr("service map full"));
}

// It would take packets that its namespace's owner has forbidden.
TEST_F(NetworkTest, NoPodIsAttachedWhileTheIsolationOfItsNamespaceIsNotInTheMaps) {
  const std::string args = "K8S_POD_UID=uid-1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=shop";
  options_.pods_wait = absl::ZeroDuration();
  const auto open = source_.open;
  source_.open = [&](const dataplane::NodeConfig& config) {
    auto opened = open(config);
    fake_->unwritten_namespaces = {"shop"};
    fake_->fault = [this](const std::string& method) -> absl::Status {
      if (method != "Apply") return absl::OkStatus();
      if (failures_-- > 0) return absl::ResourceExhaustedError("no memory for a row");
      fake_->unwritten_namespaces.clear();
      return absl::OkStatus();
    };
    return opened;
  };
  failures_ = 1'000'000;
  auto network = Start();
  network->Apply(state_, acknowledgements_.Next());
  ASSERT_EQ(acknowledgements_.Await(1)[0].first, 7) << "its other pods do not wait";

  const v1::CniReply refused = Cni("ADD", args);

  EXPECT_EQ(refused.code(), 11u);
  EXPECT_EQ(refused.message(), "the isolation of namespace shop is not in force on this node");
  EXPECT_EQ(refused.details(), "no memory for a row");

  failures_ = 0;
  acknowledgements_.AwaitOk();
  EXPECT_EQ(Cni("ADD", args).code(), 0u);
}

TEST_F(NetworkTest, WarnsOnceOfEachServiceThatIsNotServed) {
  auto network = Start(state_);
  std::vector<std::string> warnings;  // written before an acknowledgement, read after it
  network->OnWarning([&](const NetworkWarning& warning) { warnings.push_back(Text(warning)); });
  fake_->service_problems = {{"shop", "large", "service shop/large: is not served on this node"},
                             {"shop", "web", "service shop/web port 80: belongs to another"},
                             {"shop", "pod/web-1", "service shop/pod/web-1: is a host port"}};
  const auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;
  next->services["shop/odd"] = next->services["shop/web"];
  next->services["shop/odd"].Mutable().set_cluster_ip("fd00::1");
  const auto last = std::make_shared<NodeState>(*next);
  last->revision = 9;

  network->Apply(next, acknowledgements_.Next());
  acknowledgements_.Await(1);
  network->Apply(last, acknowledgements_.Next());
  acknowledgements_.Await(2);

  EXPECT_THAT(
      warnings,
      ElementsAre(
          "shop/service large NotServed: service shop/large: is not served on this node",
          "shop/service odd NotServed: service shop/odd: IPv6 is left out: this node was not given "
          "ranges of it",
          "shop/service web NotServed: service shop/web port 80: belongs to another"));
  network->OnWarning(nullptr);
}

TEST_F(NetworkTest, WarnsOfEachPolicyOfASetThatIsNotInForce) {
  auto network = Start(state_);
  std::vector<std::string> warnings;  // written before an acknowledgement, read after it
  network->OnWarning([&](const NetworkWarning& warning) {
    warnings.push_back(
        fmt::format("{}/{} {}: {}", warning.ns, warning.policy, warning.reason, warning.message));
  });
  fake_->refused_policies = {"policies need 9 rows for ports, more than 3", {4, 5}, {}};
  const auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;
  v1::PolicySetState set;
  set.add_policies("shop/deny");
  set.add_policies("shop/web");
  next->policy_sets[4] = set;
  const auto last = std::make_shared<NodeState>(*next);
  last->revision = 9;

  network->Apply(next, acknowledgements_.Next());
  acknowledgements_.Await(1);
  network->Apply(last, acknowledgements_.Next());
  acknowledgements_.Await(2);

  EXPECT_THAT(warnings,
              ElementsAre("shop/deny NotInForce: policies need 9 rows for ports, more than 3",
                          "shop/web NotInForce: policies need 9 rows for ports, more than 3"));
  network->OnWarning(nullptr);
}

TEST_F(NetworkTest, TellsWhatOfThePoliciesIsNotInForceWhileItIsNot) {
  const auto next = std::make_shared<NodeState>(*state_);
  next->revision = 8;
  v1::PolicySetState set;
  set.add_policies("shop/web");
  set.add_policies("shop/deny");
  next->policy_sets[4] = set;
  auto network = Start(state_);
  EXPECT_EQ(network->PolicyTrouble(), "");
  const std::string args = "K8S_POD_UID=uid-1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=shop";
  ASSERT_EQ(Cni("ADD", args).code(), 0u);
  fake_->refused_policies = {"no room", {4}, {{*IpAddress::Parse("127.0.0.5"), {.ingress = true}}}};

  network->Apply(next, acknowledgements_.Next());
  acknowledgements_.Await(1);

  EXPECT_EQ(network->PolicyTrouble(),
            "2 policies (shop/deny, shop/web) are not in force on this node: no room; pods keep "
            "what was in force before, and new ones are shut: shop/web-1");
  v1::ListDataplaneRequest request;
  request.set_table(v1::DATAPLANE_TABLE_POLICY_STATS);
  EXPECT_EQ(network->ListDataplane(request).refusal().ShortDebugString(),
            "reason: \"no room\" policies: \"shop/deny\" policies: \"shop/web\" shut_pods: "
            "\"shop/web-1\"");

  fake_->refused_policies = {};
  const auto last = std::make_shared<NodeState>(*next);
  last->revision = 9;
  network->Apply(last, acknowledgements_.Next());
  acknowledgements_.Await(2);
  EXPECT_EQ(network->PolicyTrouble(), "");
  EXPECT_FALSE(network->ListDataplane(request).has_refusal());
}

TEST_F(NetworkTest, CountsWhatASetHasDroppedBeforeAnotherTakesItsPlace) {
  const auto first = std::make_shared<NodeState>(*state_);
  v1::PolicySetState set;
  set.add_policies("shop/deny");
  first->policy_sets[4] = set;
  auto network = Start(first);
  fake_->policy_drops = {{.row = 1, .set = 4, .packets = 5}};
  fake_->fault = [this](const std::string& method) {
    if (method == "Apply") fake_->policy_drops.clear();  // as the garbage collection
    return absl::OkStatus();
  };
  const auto next = std::make_shared<NodeState>(*first);
  next->revision = 8;
  next->policy_sets.erase(4);
  next->policy_sets[5] = set;

  network->Apply(next, acknowledgements_.Next());
  acknowledgements_.Await(1);

  const auto drops = network->Figures().policy_drops;
  ASSERT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops[0].policies, "deny");
  EXPECT_EQ(drops[0].packets, 5u);
}

TEST_F(NetworkTest, PodsDoNotWaitForMapsToBeCounted) {
  auto network = Start(state_);
  absl::Notification counting, go;
  fake_->maps = {{.name = "mesh_backend", .entries = 100'000}};
  fake_->fault = [&](const std::string& method) {
    if (method != "LoadedMaps") return absl::OkStatus();
    if (!counting.HasBeenNotified()) counting.Notify();
    go.WaitForNotification();
    return absl::OkStatus();
  };
  NetworkFigures figures;
  std::thread scrape([&] { figures = network->Figures(); });
  ASSERT_TRUE(counting.WaitForNotificationWithTimeout(kDeadline));

  EXPECT_EQ(Cni("ADD", "K8S_POD_UID=uid-1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=shop").code(), 0u);

  go.Notify();
  scrape.join();
  ASSERT_EQ(figures.rows.maps_size(), 1);
  EXPECT_EQ(figures.rows.maps(0).entries(), 100'000u);
}

TEST_F(NetworkTest, StartFailsWhenTheKernelCannotHaveTheDataplane) {
  open_status_ =
      absl::FailedPreconditionError("kernel 5.10 is older than 6.1: install a newer one");

  const auto network = StartNetwork(options_, state_, source_);

  EXPECT_EQ(network.status(), open_status_);
}

TEST_F(NetworkTest, WhatAnAgentHasLeftGoesOnWhileItIsTakenOver) {
  absl::Notification go;
  source_.left_behind = [] { return true; };
  source_.open = [&go, open = source_.open](const dataplane::NodeConfig& config) {
    go.WaitForNotification();
    return open(config);
  };
  const auto network = Start(state_);

  EXPECT_TRUE(network->TakingOver());
  EXPECT_FALSE(network->Ready());

  go.Notify();
  network->Apply(state_, acknowledgements_.Next());
  EXPECT_TRUE(acknowledgements_.Await(1)[0].second.ok());
  EXPECT_TRUE(network->Ready());
  EXPECT_FALSE(network->TakingOver());
}

TEST_F(NetworkTest, WhatCannotBeTakenOverIsNotReady) {
  source_.left_behind = [] { return true; };
  open_status_ = absl::FailedPreconditionError("maps of a newer build");
  const auto network = Start(state_);

  network->Apply(state_, acknowledgements_.Next());

  EXPECT_EQ(acknowledgements_.Await(1)[0].second, open_status_);
  EXPECT_FALSE(network->TakingOver());
  EXPECT_FALSE(network->Ready());
}

TEST_F(NetworkTest, StartFailsWithTheProbesAnswer) {
  source_.probe = [] { return absl::FailedPreconditionError("needs root"); };

  EXPECT_EQ(StartNetwork(options_, nullptr, source_).status(),
            absl::FailedPreconditionError("needs root"));
}

TEST_F(NetworkTest, InstallsPluginLoopbackAndConfiguration) {
  auto network = Start(state_);

  EXPECT_EQ(ReadText(options_.cni_bin_dir + "/mesh-cni"), "the plugin");
  EXPECT_EQ(ReadText(options_.cni_bin_dir + "/loopback"), "the plugin");
  EXPECT_EQ(ReadText(options_.cni_conf_dir + "/10-mesh.conflist"),
            "{\n  \"cniVersion\": \"1.0.0\",\n  \"name\": \"mesh\",\n  \"plugins\": [\n    {\n"
            "      \"type\": \"mesh-cni\",\n      \"agentSocket\": \"" +
                options_.run_dir + "/cni.sock\"\n    }\n  ]\n}\n");
  struct stat info;
  ASSERT_EQ(::stat((options_.cni_bin_dir + "/mesh-cni").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0755u);
}

TEST_F(NetworkTest, KeepsALoopbackPluginThatIsThereAndReplacesAnOldPlugin) {
  ASSERT_NE(Start(state_), nullptr);
  ::unlink((options_.cni_bin_dir + "/loopback").c_str());
  std::ofstream(options_.cni_bin_dir + "/loopback") << "of the distribution";
  std::ofstream(options_.cni_binary) << "the new plugin";

  auto again = Start(state_);

  EXPECT_EQ(ReadText(options_.cni_bin_dir + "/loopback"), "of the distribution");
  EXPECT_EQ(ReadText(options_.cni_bin_dir + "/mesh-cni"), "the new plugin");
}

TEST_F(NetworkTest, ServesCniToRootOnly) {
  auto network = Start();

  struct stat info;
  ASSERT_EQ(::stat((options_.run_dir + "/cni.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
}

TEST_F(NetworkTest, ASecondAgentIsRefused) {
  auto first = Start();

  const auto second = StartNetwork(options_, nullptr, source_);

  EXPECT_TRUE(absl::IsFailedPrecondition(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("cni.sock"));
  EXPECT_EQ(Cni("STATUS").code(), 50u) << "the first one serves on";
}

TEST_F(NetworkTest, SurvivesGarbageOnItsSocket) {
  auto network = Start(state_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (options_.run_dir + "/cni.sock").c_str(),
               sizeof address.sun_path - 1);
  for (const std::string& bytes :
       {std::string("\xff\xff\xff\xff"), std::string("\0\0\0\4abcd", 8), std::string("\0", 1)}) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }

  EXPECT_EQ(Cni("STATUS").code(), 0u);
}

// The kernel takes some 30 ms to delete an interface.
TEST_F(NetworkTest, ServesOthersWhileADelWaitsForTheKernel) {
  absl::Notification started, released;
  source_.remove_link = [&](const std::string&, const std::string&,
                            const std::function<void()>& gone) {
    started.Notify();
    released.WaitForNotification();
    gone();
    return absl::OkStatus();
  };
  auto network = Start(state_);
  v1::CniReply deleted;
  deleted.set_code(99);
  std::thread del([&] { deleted = Cni("DEL"); });
  started.WaitForNotification();

  EXPECT_EQ(Cni("STATUS").code(), 0u);
  EXPECT_EQ(Cni("ADD", "K8S_POD_UID=uid-1;K8S_POD_NAME=web-1;K8S_POD_NAMESPACE=shop").code(), 0u);

  released.Notify();
  del.join();
  EXPECT_EQ(deleted.code(), 0u);
}

TEST_F(NetworkTest, ADelEndsOnceTheInterfaceIsGone) {
  absl::Notification deleted;
  source_.remove_link = [&](const std::string&, const std::string&,
                            const std::function<void()>& gone) {
    gone();
    deleted.WaitForNotification();  // the kernel is not through with it
    return absl::OkStatus();
  };
  auto network = Start(state_);

  EXPECT_EQ(Cni("DEL").code(), 0u);

  deleted.Notify();
}

TEST_F(NetworkTest, ListsRowsWithTheRevisionTheyBelongTo) {
  auto network = Start();
  v1::ListDataplaneRequest request;
  request.set_table(v1::DATAPLANE_TABLE_SERVICE);
  EXPECT_EQ(network->ListDataplane(request).error(), "the dataplane is not set up yet");
  network->Apply(state_, acknowledgements_.Next());
  acknowledgements_.Await(1);

  const v1::DataplaneNode node = network->ListDataplane(request);

  EXPECT_EQ(node.node(), "node-1");
  EXPECT_EQ(node.error(), "");
  EXPECT_EQ(node.revision(), 7);
  EXPECT_EQ(node.services_size(), 2);
}

TEST_F(NetworkTest, RefusesAnotherPodRangeWhilePodsUseTheFirst) {
  auto network = Start(state_);
  auto moved = std::make_shared<NodeState>(*state_);
  moved->config.set_pod_cidr("127.0.1.0/24");

  network->Apply(moved, acknowledgements_.Next());

  EXPECT_THAT(std::string(acknowledgements_.Await(1)[0].second.message()),
              HasSubstr("changed from 127.0.0.0/24 to 127.0.1.0/24"));
  EXPECT_EQ(opens_, 1);
}

TEST_F(NetworkTest, SaysThatIpv6AndRoutingComeWithTheNextStart) {
  auto network = Start(state_);
  auto dual = std::make_shared<NodeState>(*state_);
  dual->config.set_pod_cidr6("fd00:10:244:1::/64");
  dual->config.set_cluster_cidr6("fd00:10:244::/48");
  dual->config.set_service_cidr6("fd00:10:96::/112");
  auto native = std::make_shared<NodeState>(*state_);
  native->config.set_routing(v1::Welcome::NATIVE);

  network->Apply(dual, acknowledgements_.Next());
  EXPECT_THAT(std::string(acknowledgements_.Await(1)[0].second.message()),
              HasSubstr("the IPv6 pod range of this node changed from none to "
                        "fd00:10:244:1::/64: restart the agent"));
  EXPECT_TRUE(network->Ready()) << "what runs goes on";
  network->Apply(native, acknowledgements_.Next());
  EXPECT_THAT(std::string(acknowledgements_.Await(2)[1].second.message()),
              HasSubstr("the routing changed from vxlan to native"));
  network->Apply(state_, acknowledgements_.Next());
  EXPECT_TRUE(acknowledgements_.Await(3)[2].second.ok());
  EXPECT_EQ(opens_, 1);
}

TEST_F(NetworkTest, ListensForPodsAtBothGateways) {
  // Its first address is ::1, which this machine has.
  state_->config.set_pod_cidr6("::/64");
  state_->config.set_cluster_cidr6("::/48");
  state_->config.set_service_cidr6("fd00:10:96::/112");

  auto network = Start(state_);

  ASSERT_NE(network, nullptr);
  EXPECT_TRUE(network->Ready());
  EXPECT_EQ(network->PodNameServer(), "127.0.0.1") << "one is enough for both families";
}

}  // namespace
}  // namespace mesh::agent
