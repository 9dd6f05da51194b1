// SPDX-License-Identifier: Apache-2.0
// Goal: the order between network, acknowledgement and pods, and what the control plane hears of
// the node. Method: the agent with a network whose maps fill when the test says so, a runtime in
// memory and a meshd of the test.
#include "agent/agent.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "absl/synchronization/notification.h"
#include "agent/cri/fake_cri.h"
#include "common/real_loop.h"
#include "tests/unit/agent/fake_meshd.h"
#include "tests/unit/agent/pods/pod_builder.h"

namespace mesh::agent {
namespace {

// Thread-safe: called by the loop and by the test.
class HeldNetwork : public Network {
 public:
  void Apply(NodeStatePtr state, std::function<void(int64_t, absl::Status)> done) override {
    absl::MutexLock lock(&mutex_);
    waiting_.emplace_back(state->revision, std::move(done));
    if (open_) Release();
  }
  std::string PodNameServer() const override { return "10.244.1.1"; }
  bool Ready() const override {
    absl::MutexLock lock(&mutex_);
    return open_;
  }
  v1::DataplaneNode ListDataplane(const v1::ListDataplaneRequest&) override { return {}; }
  std::string PolicyTrouble() const override {
    absl::MutexLock lock(&mutex_);
    return policy_trouble_;
  }
  void RefusePolicies(const std::string& trouble) {
    absl::MutexLock lock(&mutex_);
    policy_trouble_ = trouble;
  }
  void OnWarning(std::function<void(const NetworkWarning&)> told) override {
    absl::MutexLock lock(&mutex_);
    told_ = std::move(told);
  }

  void WarnOf(const std::string& pod) {
    absl::MutexLock lock(&mutex_);
    told_({"default", pod, {}, "FlowQuotaReached", "it has as many flows as it may"});
  }

  void WarnOfService(const std::string& service) {
    absl::MutexLock lock(&mutex_);
    told_({"default", {}, service, "NotServed", "its port is taken"});
  }

  void WarnOfPolicy(const std::string& policy) {
    absl::MutexLock lock(&mutex_);
    told_({"default", {}, {}, "NotInForce", "it does not fit", policy});
  }

  // The maps take what waits, and from now on everything.
  void Open() {
    absl::MutexLock lock(&mutex_);
    open_ = true;
    Release();
  }
  bool AwaitApply() {
    absl::MutexLock lock(&mutex_);
    const auto waits = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !waiting_.empty(); };
    return mutex_.AwaitWithTimeout(absl::Condition(&waits), kMeshdDeadline);
  }

 private:
  void Release() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    for (auto& [revision, done] : waiting_) done(revision, absl::OkStatus());
    waiting_.clear();
  }

  mutable absl::Mutex mutex_;
  std::string policy_trouble_ ABSL_GUARDED_BY(mutex_);
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  std::function<void(const NetworkWarning&)> told_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<int64_t, std::function<void(int64_t, absl::Status)>>> waiting_
      ABSL_GUARDED_BY(mutex_);
};

class AgentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/mesh-agent-XXXXXX";
    ASSERT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    cri.images = {"registry.local/app:1"};
    cri.latency = absl::Milliseconds(1);
    v1::NodeUpdate update;
    update.set_revision(7);
    update.set_full(true);
    *update.add_pods() = MakePod();
    meshd.SetFirstUpdate(update);
    thread_ = std::thread([this] { loop.Run(); });
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(folder_);
  }
  // As the process does: the loop first, because calls in flight end on it.
  void Stop() {
    if (!thread_.joinable()) return;
    loop.Stop();
    thread_.join();
    agent.reset();
    checkpoint.reset();  // writes what waits
  }
  void OnLoop(const std::function<void()>& task) {
    absl::Notification done;
    loop.Post([&] {
      task();
      done.Notify();
    });
    done.WaitForNotification();
  }
  void Start(const std::vector<std::string>& servers, NodeStatePtr initial) {
    checkpoint = std::make_unique<CheckpointWriter>(
        checkpoint_path_.empty() ? folder_ + "/state" : checkpoint_path_, absl::Milliseconds(20));
    OnLoop([&] {
      AgentOptions options;
      options.node_name = "n1";
      options.node_ips = {"192.0.2.1", "2001:db8::1"};
      options.agent_endpoint = "192.0.2.1:6441";
      options.containerd_socket = "/run/none.sock";
      options.address_trouble = [this](bool dual_stack) {
        if (dual_stack) return "no IPv6 address in a cluster of both families";
        return address_is_there_ ? "" : "no interface of the node has its address 2001:db8::1";
      };
      options.sync.servers = servers;
      options.pods.node_ip = "192.0.2.1";
      options.pods.config.log_root = folder_ + "/logs";
      options.pods.config.files_root = folder_ + "/pods";
      agent = std::make_unique<Agent>(&loop, &network, &cri, checkpoint.get(), std::move(options),
                                      std::move(initial));
      agent->Start();
    });
  }
  int SandboxCalls() {
    int count = 0;
    OnLoop([&] { count = cri.CountCalls("RunSandbox"); });
    return count;
  }

  RealLoop loop;
  std::thread thread_;
  FakeMeshd meshd;
  HeldNetwork network;
  FakeCri cri{&loop};
  std::unique_ptr<CheckpointWriter> checkpoint;
  std::unique_ptr<Agent> agent;
  std::string folder_;
  std::string checkpoint_path_;
  std::atomic<bool> address_is_there_ = true;
};

TEST_F(AgentTest, AcknowledgesAndStartsPodsOnlyWhenTheMapsHoldTheRevision) {
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(network.AwaitApply());
  ASSERT_TRUE(meshd.Heard("heartbeat", 5));
  EXPECT_EQ(meshd.Count("ack 7"), 0);
  EXPECT_EQ(SandboxCalls(), 0);

  network.Open();

  EXPECT_TRUE(meshd.Heard("ack 7"));
  EXPECT_TRUE(meshd.Heard("pod uid-web Running"));
}

TEST_F(AgentTest, MakesAnEventOfWhatAPodRunsInto) {
  network.Open();
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("pod uid-web Running"));

  network.WarnOf("gone");  // has ended since
  network.WarnOf("web");

  EXPECT_TRUE(meshd.Heard("event FlowQuotaReached"));
  OnLoop([] {});
  EXPECT_EQ(meshd.Count("event FlowQuotaReached"), 1);
}

TEST_F(AgentTest, MakesAnEventOfWhatAServiceRunsInto) {
  network.Open();
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("pod uid-web Running"));

  network.WarnOfService("web");

  EXPECT_TRUE(meshd.Heard("event NotServed service web"));

  network.WarnOfPolicy("from-web");

  EXPECT_TRUE(meshd.Heard("event NotInForce networkpolicy from-web"));
}

TEST_F(AgentTest, IsNotReadyUntilItsNetworkIs) {
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("Ready False"));

  network.Open();

  EXPECT_TRUE(meshd.Heard("Ready True"));
  EXPECT_TRUE(meshd.Heard("NetworkReady True"));
}

TEST_F(AgentTest, RegistersAsNotReadyWithoutAContainerRuntime) {
  network.Open();
  OnLoop([&] { cri.GoDown(); });
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("Ready False"));
  EXPECT_EQ(meshd.Count("Ready True"), 0);

  OnLoop([&] { cri.ComeUp(); });

  EXPECT_TRUE(meshd.Heard("Ready True"));
  EXPECT_TRUE(meshd.Heard("hello n1", 2)) << "the runtime's version is told";
}

TEST_F(AgentTest, StartsItsPodsFromTheCheckpointWithoutAControlPlane) {
  auto state = std::make_shared<NodeState>();
  state->complete = true;
  state->revision = 3;
  state->config.set_node_name("n1");
  state->pods["uid-web"] = MakePod();
  network.Open();

  // Nobody listens on the discard port.
  Start({"127.0.0.1:9"}, state);

  absl::Notification running;
  const std::function<void()> look = [&] {
    if (cri.RunningContainers() == 1) return running.Notify();
    loop.RunAfter(absl::Milliseconds(5), look);
  };
  OnLoop(look);
  EXPECT_TRUE(running.WaitForNotificationWithTimeout(kMeshdDeadline));
}

TEST_F(AgentTest, TellsThatItsStateCannotBeWrittenUntilItCan) {
  network.Open();
  checkpoint_path_ = folder_ + "/gone/state";
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("StateSaved False"));
  EXPECT_TRUE(meshd.Heard("Ready True"));
  const int before = meshd.Count("StateSaved True");

  std::filesystem::create_directory(folder_ + "/gone");

  EXPECT_TRUE(meshd.Heard("StateSaved True", before + 1));
}

TEST_F(AgentTest, TellsThatAnAddressOfTheNodeIsGoneUntilItIsBack) {
  network.Open();
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("AddressesPresent True"));

  address_is_there_ = false;
  EXPECT_TRUE(meshd.Heard("AddressesPresent False"));
  const int before = meshd.Count("AddressesPresent True");
  address_is_there_ = true;

  EXPECT_TRUE(meshd.Heard("AddressesPresent True", before + 1));
}

TEST_F(AgentTest, TellsThatPoliciesAreNotInForceWhileTheyAreNot) {
  network.Open();
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("PoliciesInForce True"));

  network.RefusePolicies("no room");
  EXPECT_TRUE(meshd.Heard("PoliciesInForce False"));
  const int before = meshd.Count("PoliciesInForce True");
  network.RefusePolicies("");

  EXPECT_TRUE(meshd.Heard("PoliciesInForce True", before + 1));
}

TEST_F(AgentTest, AsksForAnIpv6AddressOnceItKnowsThatTheClusterHasThem) {
  network.Open();
  auto state = std::make_shared<NodeState>();
  state->config.set_cluster_cidr6("fd00:10:244::/48");

  Start({meshd.address()}, state);

  EXPECT_TRUE(meshd.Heard("AddressesPresent False"));
}

TEST_F(AgentTest, WritesWhatItWasToldToTheCheckpoint) {
  network.Open();
  Start({meshd.address()}, std::make_shared<NodeState>());
  ASSERT_TRUE(meshd.Heard("ack 7"));
  Stop();

  const auto state = LoadCheckpoint(folder_ + "/state");

  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->revision, 7);
  EXPECT_EQ(state->config.node_name(), "n1");
  EXPECT_TRUE(state->pods.contains("uid-web"));
}

}  // namespace
}  // namespace mesh::agent
