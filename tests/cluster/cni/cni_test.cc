// SPDX-License-Identifier: Apache-2.0
// Goal: the CNI plugin as a container runtime or an engineer executes it, on the real kernel.
// Method: a node is a network namespace with the agent's network (dataplane, CNI server, resolver)
// in it; pods are namespaces; the built mesh-cni is executed for each command. Needs root.
#include <net/if.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "agent/network/network.h"
#include "common/status.h"
#include "dataplane/kernel_dataplane.h"
#include "dataplane/net/netlink.h"
#include "dataplane/net/netns.h"
#include "dataplane/net/tcx.h"
#include "fmt/format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/support/network/network.h"
#include "tests/unit/agent/network/dns_client.h"
#include "tests/unit/agent/network/named_state.h"
#include "tests/unit/agent/network/temporary_folder.h"
#include "tests/unit/cni/execute.h"

namespace mesh::agent {
namespace {

using cni::Execute;
using cni::Outcome;
using dataplane::InNetns;
using dataplane::LinkInfo;
using dataplane::Netlink;
using ::mesh::testing::Netns;
using ::mesh::testing::PrivateBpffs;
using ::mesh::testing::Socket;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Json = nlohmann::json;

constexpr const char* kNodeIp = "192.0.2.1";
constexpr const char* kPodArgs =
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=uid-1";

IpAddress Ip(const std::string& text) { return *IpAddress::Parse(text); }

class CniTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto root = PrivateBpffs();
    ASSERT_TRUE(root.ok()) << root.status() << " (these tests need root)";
    static int number = 0;
    options_.bpf_root = fmt::format("{}/cni{}", *root, ++number);
    ASSERT_EQ(::mkdir(options_.bpf_root.c_str(), 0700), 0);
    auto node = Netns::Make();
    auto outside = Netns::Make();
    ASSERT_TRUE(node.ok() && outside.ok()) << node.status() << outside.status();
    node_ = *std::move(node);
    outside_ = *std::move(outside);
    ASSERT_TRUE(GiveUplink().ok());
    options_.node_name = "node-1";
    options_.node_ip = kNodeIp;
    options_.run_dir = folder_.path() + "/run";
    options_.cni_bin_dir = folder_.path() + "/bin";
    options_.cni_conf_dir = folder_.path() + "/net.d";
    options_.cni_binary = MESH_BIN_DIR "/mesh-cni";
    options_.resolv_conf = "/nonexistent";
    StartAgent(FirstState());
  }

  virtual NodeStatePtr FirstState() { return NamedState(); }

  void TearDown() override {
    network_.reset();
    if (!node_) return;
    const absl::Status removed = InNetns(
        node_->fd(), [&] { return dataplane::KernelDataplane::Remove({options_.bpf_root}); });
    EXPECT_TRUE(removed.ok()) << removed;
  }

  absl::Status GiveUplink() {
    ASSIGN_OR_RETURN(Netlink netlink, Netlink::OpenIn(node_->fd()));
    RETURN_IF_ERROR(netlink.AddVeth({"uplink", {2, 0, 0, 0, 0, 1}, -1},
                                    {"uplink", {2, 0, 0, 0, 0, 2}, outside_->fd()}, 1500));
    ASSIGN_OR_RETURN(const LinkInfo link, netlink.Link("uplink"));
    netlink.Begin();
    netlink.AddAddress(link.ifindex, Ip(kNodeIp)).IgnoreError();  // queued: Commit() tells
    netlink.SetUp(link.ifindex).IgnoreError();
    return netlink.Commit();
  }

  void StartAgent(NodeStatePtr state) {
    ASSERT_TRUE(InNetns(node_->fd(), [&] {
                  auto network = Network::Start(options_, std::move(state));
                  if (network.ok()) network_ = *std::move(network);
                  EXPECT_TRUE(network.ok()) << network.status();
                  return network.status();
                }).ok());
    // Over what an agent before has left it starts in the background.
    const absl::Time deadline = absl::Now() + absl::Seconds(60);
    while (!network_->Ready()) {
      ASSERT_LT(absl::Now(), deadline);
      sched_yield();
    }
  }

  // As any process of the machine can open it.
  static std::string PathOf(const Netns& netns) {
    return fmt::format("/proc/{}/fd/{}", ::getpid(), netns.fd());
  }
  static Netns NewPod() {
    auto netns = Netns::Make();
    EXPECT_TRUE(netns.ok()) << netns.status();
    return *std::move(netns);
  }

  Outcome Run(const std::string& command, const std::string& container, const std::string& netns,
              const std::string& args = "", const std::string& more = "") const {
    std::vector<std::string> environment = {
        "CNI_COMMAND=" + command, "CNI_CONTAINERID=" + container, "CNI_NETNS=" + netns,
        "CNI_IFNAME=eth0",        "CNI_PATH=/opt/cni/bin",        "CNI_ARGS=" + args};
    return Execute(std::move(environment),
                   fmt::format(R"({{"cniVersion":"1.1.0","name":"mesh","type":"mesh-cni",)"
                               R"("agentSocket":"{}/cni.sock"{}{}}})",
                               options_.run_dir, more.empty() ? "" : ",", more));
  }
  // The result of an ADD that must work.
  Json Add(const std::string& container, const Netns& pod, const std::string& args = "") const {
    const Outcome outcome = Run("ADD", container, PathOf(pod), args);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
    return Json::parse(outcome.out, nullptr, /*allow_exceptions=*/false);
  }
  // Where programs stand at the ingress of an interface of the node: how many in the kernel's list
  // (UNIMPLEMENTED: it has none), and whether some in the clsact.
  using Places = std::pair<size_t, bool>;
  static constexpr Places kSettled = {1, false};
  absl::StatusOr<Places> PlacesOf(const std::string& interface) const {
    Places out;
    const absl::Status looked = InNetns(node_->fd(), [&]() -> absl::Status {
      ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
      ASSIGN_OR_RETURN(const LinkInfo link, netlink.Link(interface));
      ASSIGN_OR_RETURN(const auto programs, dataplane::TcxPrograms(link.ifindex));
      out.first = programs.size();
      ASSIGN_OR_RETURN(out.second, netlink.HasFilters(link.ifindex));
      return absl::OkStatus();
    });
    if (!looked.ok()) return looked;
    return out;
  }

  // In milliseconds, of twenty pods that come and go, one after the other.
  struct Medians {
    double add = 0, del = 0;
  };
  Medians TimePods() const {
    std::map<std::string, std::vector<double>> milliseconds;
    for (int i = 0; i < 20; ++i) {
      const Netns pod = NewPod();
      for (const char* command : {"ADD", "DEL"}) {
        const Outcome outcome = Run(command, fmt::format("c{}", i), PathOf(pod));
        EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
        milliseconds[command].push_back(absl::ToDoubleMilliseconds(outcome.wall));
      }
    }
    for (auto& [command, times] : milliseconds) {
      std::sort(times.begin(), times.end());
      std::cout << fmt::format("{}, 20 times, ms: median {:.2f}, fastest {:.2f}, slowest {:.2f}\n",
                               command, times[10], times.front(), times.back());
    }
    return {milliseconds["ADD"][10], milliseconds["DEL"][10]};
  }

  static IpAddress AddressOf(const Json& result, size_t index = 0) {
    const std::string address = result["ips"][index]["address"];
    return Ip(address.substr(0, address.find('/')));
  }

  // Names of interfaces in a namespace that begin with `prefix`.
  static std::set<std::string> Interfaces(const Netns& netns, const std::string& prefix) {
    std::set<std::string> out;
    EXPECT_TRUE(InNetns(netns.fd(), [&] {
                  struct if_nameindex* list = ::if_nameindex();
                  for (auto* at = list; at != nullptr && at->if_index != 0; ++at)
                    if (std::string(at->if_name).starts_with(prefix)) out.insert(at->if_name);
                  ::if_freenameindex(list);
                  return absl::OkStatus();
                }).ok());
    return out;
  }
  // Of pods, without the links of the node itself.
  std::set<std::string> HostInterfaces() const {
    std::set<std::string> out = Interfaces(*node_, "mesh");
    for (const char* own : {"mesh_host", "mesh_net", "mesh_vxlan"}) out.erase(own);
    return out;
  }

  static void ExpectConnection(const Netns& from, const Netns& to, const IpAddress& ip) {
    const auto family = ip.is_v4() ? dataplane::Family::kV4 : dataplane::Family::kV6;
    Socket listener = *Socket::Tcp(to, family);
    ASSERT_TRUE(listener.Bind(ip.is_v4() ? IpAddress::V4(0) : IpAddress(), 8080).ok());
    ASSERT_TRUE(listener.Listen().ok());
    Socket client = *Socket::Tcp(from, family);
    const absl::Status connected = client.Connect(ip, 8080);
    ASSERT_TRUE(connected.ok()) << connected;
    auto server = listener.Accept();
    ASSERT_TRUE(server.ok()) << server.status();
    ASSERT_TRUE(server->Send("hello").ok());
    EXPECT_EQ(client.Receive().value_or("nothing"), "hello");
  }

  TemporaryFolder folder_;
  std::optional<Netns> node_, outside_;
  NetworkOptions options_;
  std::unique_ptr<Network> network_;
};

TEST_F(CniTest, TwoPodsMadeByHandTalkToEachOtherAndTheirNode) {
  const Netns one = NewPod(), two = NewPod();

  const Json first = Add("one", one), second = Add("two", two);

  EXPECT_EQ(first["ips"][0]["address"], "10.244.1.240/32");
  EXPECT_EQ(second["ips"][0]["address"], "10.244.1.241/32");
  ExpectConnection(one, two, AddressOf(second));
  ExpectConnection(two, one, AddressOf(first));
  ExpectConnection(*node_, one, AddressOf(first));
}

class DualStackCniTest : public CniTest {
 protected:
  NodeStatePtr FirstState() override {
    auto state = NamedState();
    state->config.set_pod_cidr6("fd00:10:244:1::/64");
    state->config.set_cluster_cidr6("fd00:10:244::/48");
    state->config.set_service_cidr6("fd00:10:96::/112");
    return state;
  }
};

TEST_F(DualStackCniTest, PodsTalkInBothFamiliesAndAskAtBothGateways) {
  const Netns one = NewPod(), two = NewPod();

  const Json first = Add("one", one), second = Add("two", two);

  EXPECT_EQ(first["ips"][1]["address"], "fd00:10:244:1::f0/128");
  EXPECT_EQ(first["ips"][1]["gateway"], "fd00:10:244:1::1");
  EXPECT_EQ(second["ips"][1]["address"], "fd00:10:244:1::f1/128");
  for (const size_t family : {size_t{0}, size_t{1}}) {
    ExpectConnection(one, two, AddressOf(second, family));
    ExpectConnection(two, one, AddressOf(first, family));
    ExpectConnection(*node_, one, AddressOf(first, family));
  }
  Socket udp = *Socket::Udp(one, dataplane::Family::kV6);
  ASSERT_TRUE(udp.Connect(Ip("fd00:10:244:1::1"), 53).ok());
  ASSERT_TRUE(udp.Send(dns::MakeQuery("web.shop.svc.cluster.local")).ok());
  EXPECT_THAT(dns::Decode(udp.Receive().value_or("")).answers,
              ::testing::ElementsAre("web.shop.svc.cluster.local. 5 A 10.96.0.10"));
  EXPECT_EQ(Run("CHECK", "one", PathOf(one), "", "\"prevResult\":" + first.dump()).exit_code, 0);
  EXPECT_EQ(Run("DEL", "one", PathOf(one)).exit_code, 0);
}

TEST_F(CniTest, TheResultTellsWhatIsThere) {
  const Netns pod = NewPod();

  const Json result = Add("abc", pod, kPodArgs);

  EXPECT_EQ(result["cniVersion"], "1.1.0");
  EXPECT_EQ(result["ips"][0]["address"], "10.244.1.5/32");
  EXPECT_EQ(result["ips"][0]["gateway"], "10.244.1.1");
  const Json& inside = result["interfaces"][static_cast<size_t>(result["ips"][0]["interface"])];
  EXPECT_EQ(inside["name"], "eth0");
  EXPECT_EQ(inside["sandbox"], PathOf(pod));
  EXPECT_EQ(inside["mtu"], 1450);
  EXPECT_EQ(HostInterfaces(), std::set<std::string>{result["interfaces"][0]["name"]});
  auto netlink = Netlink::OpenIn(pod.fd());
  ASSERT_TRUE(netlink.ok());
  const auto link = netlink->Link("eth0");
  ASSERT_TRUE(link.ok()) << link.status();
  EXPECT_EQ(fmt::format("{:02x}", fmt::join(link->mac, ":")), inside["mac"]);
}

TEST_F(CniTest, ResolvesNamesForPods) {
  const Netns pod = NewPod();
  const Json result = Add("abc", pod);
  ASSERT_EQ(result["dns"]["nameservers"][0], network_->PodNameServer());

  Socket udp = *Socket::Udp(pod), tcp = *Socket::Tcp(pod);
  ASSERT_TRUE(udp.Connect(Ip(network_->PodNameServer()), 53).ok());
  const std::string query = dns::MakeQuery("web.shop.svc.cluster.local");
  ASSERT_TRUE(udp.Send(query).ok());
  const auto answer = udp.Receive();
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_THAT(dns::Decode(*answer).answers,
              ::testing::ElementsAre("web.shop.svc.cluster.local. 5 A 10.96.0.10"));

  const absl::Status connected = tcp.Connect(Ip(network_->PodNameServer()), 53);
  EXPECT_TRUE(connected.ok()) << connected;
}

TEST_F(CniTest, DelTakesEverythingAwayHoweverOftenItComes) {
  const Netns pod = NewPod();
  Add("abc", pod);

  const Outcome first = Run("DEL", "abc", PathOf(pod));
  const Outcome second = Run("DEL", "abc", "");

  EXPECT_EQ(first.exit_code, 0) << first.out;
  EXPECT_THAT(first.out, IsEmpty());
  EXPECT_EQ(second.exit_code, 0) << second.out;
  EXPECT_THAT(Interfaces(pod, "eth0"), IsEmpty());
  EXPECT_THAT(HostInterfaces(), IsEmpty());
}

TEST_F(CniTest, DelWorksAfterTheNamespaceIsGone) {
  {
    const Netns pod = NewPod();
    Add("abc", pod);
  }

  const Outcome outcome = Run("DEL", "abc", "/nonexistent");

  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  v1::ListDataplaneRequest request;
  request.set_table(v1::DATAPLANE_TABLE_ENDPOINT);
  EXPECT_THAT(network_->ListDataplane(request).endpoints(), IsEmpty());
}

TEST_F(CniTest, AddRefusesAnInterfaceThatExists) {
  const Netns pod = NewPod();
  Add("abc", pod);

  const Outcome outcome = Run("ADD", "other", PathOf(pod));

  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_EQ(outcome.code(), 4) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("CNI_IFNAME: eth0 exists already"));
  EXPECT_EQ(HostInterfaces().size(), 1u) << "the first one stays, nothing of the second";
}

TEST_F(CniTest, CheckSeesWhatSomebodyChanged) {
  const Netns pod = NewPod();
  const std::string prev = "\"prevResult\":" + Add("abc", pod).dump();
  const Outcome before = Run("CHECK", "abc", PathOf(pod), "", prev);
  EXPECT_EQ(before.exit_code, 0) << before.out;

  auto netlink = Netlink::OpenIn(node_->fd());
  ASSERT_TRUE(netlink.ok());
  const auto link = netlink->Link(*HostInterfaces().begin());
  ASSERT_TRUE(link.ok() && netlink->DeleteLink(link->ifindex).ok());

  const Outcome after = Run("CHECK", "abc", PathOf(pod), "", prev);
  EXPECT_EQ(after.exit_code, 1);
  EXPECT_EQ(after.code(), 101) << after.out;
}

TEST_F(CniTest, GcRemovesWhatTheRuntimeForgot) {
  const Netns keep = NewPod(), drop = NewPod();
  Add("keep", keep);
  Add("drop", drop);

  const Outcome outcome = Run(
      "GC", "", "", "", R"("cni.dev/valid-attachments":[{"containerID":"keep","ifname":"eth0"}])");

  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  EXPECT_THAT(Interfaces(keep, "eth0"), Not(IsEmpty()));
  EXPECT_THAT(Interfaces(drop, "eth0"), IsEmpty());
}

TEST_F(CniTest, PodsOutliveTheAgentAndTheNextOneKnowsThem) {
  const Netns one = NewPod(), two = NewPod();
  const Json first = Add("one", one), second = Add("two", two);
  const std::string prev = "\"prevResult\":" + first.dump();

  network_.reset();
  const Outcome away = Run("ADD", "three", PathOf(one));
  EXPECT_EQ(away.code(), 11) << away.out;
  EXPECT_EQ(Run("STATUS", "", "").code(), 50);
  ExpectConnection(one, two, AddressOf(second));

  StartAgent(NamedState());
  const Outcome status = Run("STATUS", "", "");
  EXPECT_EQ(status.exit_code, 0) << status.out;
  const Outcome check = Run("CHECK", "one", PathOf(one), "", prev);
  EXPECT_EQ(check.exit_code, 0) << check.out;
  const Netns three = NewPod();
  EXPECT_EQ(Add("three", three)["ips"][0]["address"], "10.244.1.242/32");
  EXPECT_EQ(Run("DEL", "one", PathOf(one)).exit_code, 0);
  EXPECT_THAT(Interfaces(one, "eth0"), IsEmpty());
}

TEST_F(CniTest, ServesAddsOfManyContainersAtATime) {
  constexpr size_t kPods = 8;
  std::vector<Netns> pods;
  for (size_t i = 0; i < kPods; ++i) pods.push_back(NewPod());
  std::vector<std::string> addresses(kPods);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kPods; ++i)
    threads.emplace_back(
        [&, i] { addresses[i] = AddressOf(Add(fmt::format("c{}", i), pods[i])).ToString(); });
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(std::set<std::string>(addresses.begin(), addresses.end()).size(), kPods);
}

TEST_F(CniTest, ServesAnAddAmongDelsOfOtherPods) {
  constexpr size_t kPods = 8;
  std::vector<Netns> pods;
  for (size_t i = 0; i < kPods; ++i) {
    pods.push_back(NewPod());
    Add(fmt::format("old{}", i), pods[i]);
  }
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kPods; ++i)
    threads.emplace_back(
        [&, i] { EXPECT_EQ(Run("DEL", fmt::format("old{}", i), PathOf(pods[i])).exit_code, 0); });
  const Netns pod = NewPod();
  const Outcome added = Run("ADD", "new", PathOf(pod));
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(added.exit_code, 0) << added.out;
  EXPECT_EQ(HostInterfaces().size(), 1u);
  std::cout << fmt::format("ADD beside {} DELs: {:.2f} ms\n", kPods,
                           absl::ToDoubleMilliseconds(added.wall));
}

TEST_F(CniTest, LoopbackSetsLoUpAndDown) {
  const Netns pod = NewPod();
  const std::string config = R"({"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"})";
  auto run = [&](const char* command) {
    return Execute({fmt::format("CNI_COMMAND={}", command), "CNI_CONTAINERID=abc",
                    "CNI_NETNS=" + PathOf(pod), "CNI_IFNAME=lo"},
                   config, "/opt/cni/bin/loopback");
  };
  auto is_up = [&] { return Netlink::OpenIn(pod.fd())->Link("lo")->up; };

  EXPECT_EQ(run("DEL").exit_code, 0);
  EXPECT_FALSE(is_up());
  const Outcome added = run("ADD");
  EXPECT_EQ(added.exit_code, 0) << added.out;
  EXPECT_TRUE(is_up());
  EXPECT_THAT(added.out, HasSubstr(R"("address":"127.0.0.1/8")"));
}

// An ADD does not wait for that (docs/adr/0026).
TEST_F(CniTest, ThePodsProgramsMoveIntoTheKernelsListAfterItsAdd) {
  const Netns pod = NewPod();
  const std::string interface = Add("one", pod)["interfaces"][0]["name"];
  absl::StatusOr<Places> now = PlacesOf(interface);
  if (absl::IsUnimplemented(now.status())) GTEST_SKIP() << now.status().message();

  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (now.ok() && *now != kSettled && absl::Now() < deadline) {
    sched_yield();
    now = PlacesOf(interface);
  }

  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_EQ(*now, kSettled);
  const Outcome deleted = Run("DEL", "one", PathOf(pod));
  EXPECT_EQ(deleted.exit_code, 0) << deleted.out;
  std::cout << fmt::format("DEL after that: {:.2f} ms\n", absl::ToDoubleMilliseconds(deleted.wall));
}

TEST_F(CniTest, TheNextAgentMovesThePodsProgramsWhenThisOneHasNot) {
  const Netns pod = NewPod();
  const std::string interface = Add("one", pod)["interfaces"][0]["name"];

  network_.reset();
  StartAgent(NamedState());

  const absl::StatusOr<Places> now = PlacesOf(interface);
  if (absl::IsUnimplemented(now.status())) GTEST_SKIP() << now.status().message();
  ASSERT_TRUE(now.ok()) << now.status();
  EXPECT_EQ(*now, kSettled);
}

TEST_F(CniTest, AddCostsLessThanTenMilliseconds) { EXPECT_LT(TimePods().add, 10); }
TEST_F(DualStackCniTest, AddCostsLessThanTenMilliseconds) { EXPECT_LT(TimePods().add, 10); }

// The kernel is through with an interface 20 ms after it has taken it away; nobody waits for that.
TEST_F(CniTest, DelCostsLessThanFifteenMilliseconds) { EXPECT_LT(TimePods().del, 15); }

}  // namespace
}  // namespace mesh::agent
