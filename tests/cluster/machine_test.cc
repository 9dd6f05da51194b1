// SPDX-License-Identifier: Apache-2.0
// What the local cluster does to the machine it runs on: nothing that stays, and nothing outside
// its own namespaces.
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include <map>

#include "absl/strings/str_split.h"
#include "cli/local/cgroups.h"
#include "fmt/format.h"
#include "tests/support/cluster/local_cluster.h"

namespace mesh::testing {
namespace {

using cli::local::Output;
using cli::local::RunProgram;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string TextOf(std::vector<std::string> command) {
  const auto output = RunProgram(command);
  return output.ok() ? output->text : output.status().ToString();
}

// Addresses, links, routes, rules and firewall of the machine.
std::map<std::string, std::string> MachineNetwork() {
  return {{"links", TextOf({"sh", "-c", "ip -o link | cut -d' ' -f1-9"})},
          // Life times count down.
          {"addresses", TextOf({"sh", "-c", "ip -o addr | sed 's/valid_lft.*//'"})},
          {"routes", TextOf({"ip", "route", "show", "table", "all"})},
          {"routes6", TextOf({"sh", "-c", "ip -6 -o route show table all | sed 's/expires.*//'"})},
          {"rules", TextOf({"ip", "rule"})},
          {"nftables", TextOf({"nft", "--stateless", "list", "ruleset"})}};
}

// Network settings by name; counters that move by themselves left out.
std::map<std::string, std::string> NetworkSettings() {
  std::map<std::string, std::string> settings;
  const std::string text =
      TextOf({"sh", "-c",
              "cd /proc/sys/net && grep -rsH '' . --exclude='*_count' --exclude='nr_*' "
              "--exclude='*random*' "
              "--exclude=tcp_fastopen_key --exclude=flush --exclude=stable_secret"});
  size_t start = 0;
  while (start < text.size()) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string line = text.substr(start, end - start);
    const size_t colon = line.find(':');
    if (colon != std::string::npos) settings[line.substr(0, colon)] += line.substr(colon + 1) + " ";
    start = end + 1;
  }
  return settings;
}

std::string Mounts() { return TextOf({"sh", "-c", "cut -d' ' -f4,5 /proc/self/mountinfo | sort"}); }

// What of the cluster is still to be found.
std::string Leftovers(const cli::local::Layout& layout) {
  std::string left;
  for (const std::string& path : {layout.RunDir(), layout.DataDir(), layout.LockFile()}) {
    if (::access(path.c_str(), F_OK) == 0) left += path + "; ";
  }
  const std::string prefix = layout.NetnsName("");
  const std::string namespaces = TextOf({"ip", "netns", "list"});
  if (namespaces.find(prefix) != std::string::npos) left += "namespaces: " + namespaces;
  const auto mounts = cli::local::ReadFile("/proc/self/mountinfo");
  if (mounts.value().find(prefix) != std::string::npos ||
      mounts.value().find(layout.RunDir() + "/") != std::string::npos ||
      mounts.value().find(layout.DataDir() + "/") != std::string::npos) {
    left += "mounts; ";
  }
  const auto hierarchies = cli::local::HostHierarchies().value();
  for (const auto& hierarchy : hierarchies) {
    const std::string group = fmt::format("{}/{}", hierarchy.mount_point, layout.ClusterCgroup());
    if (::access(group.c_str(), F_OK) == 0) left += group + "; ";
  }
  for (const auto& process : cli::local::ListProcesses()) {
    const auto command = cli::local::ReadFile(fmt::format("/proc/{}/cmdline", process.pid));
    if (!command.ok() || process.pid == ::getpid()) continue;
    if (command->find(layout.RunDir() + "/") != std::string::npos ||
        command->find(layout.DataDir() + "/") != std::string::npos) {
      left += fmt::format("process {}: {}; ", process.pid, *command);
    }
  }
  return left;
}

TEST(MachineTest, KeepsItsNetworkBeforeDuringAndAfterACluster) {
  const auto network_before = MachineNetwork();
  const auto settings_before = NetworkSettings();
  const std::string mounts_before = Mounts();
  const auto expect_unchanged = [&](const char* when) {
    EXPECT_EQ(MachineNetwork(), network_before) << when;
    const auto now = NetworkSettings();
    for (const auto& [name, value] : settings_before) {
      const auto it = now.find(name);
      if (it == now.end()) {
        ADD_FAILURE() << name << " is gone " << when;
      } else {
        EXPECT_EQ(it->second, value) << name << " " << when;
      }
    }
  };
  cli::local::Layout layout = cli::local::Layout::Create("test").value();
  {
    LocalCluster cluster;
    ASSERT_TRUE(cluster.running());
    layout = cluster.layout();
    cluster.Apply(EchoManifest("echo", 3) + "---\n" + ClientManifest("client"));
    ASSERT_TRUE(cluster.WaitForPods("app=echo", 3));
    ASSERT_TRUE(cluster.WaitForPods("app=client", 1));
    const std::string target = cluster.ClusterIp("echo") + ":80";
    ASSERT_TRUE(Eventually(
        [&] { return cluster.Load(cluster.PodPid("client"), "tcp", target, 20).failures == 0; }));
    expect_unchanged("while it runs");
  }
  expect_unchanged("after it");
  EXPECT_EQ(Mounts(), mounts_before);
  EXPECT_THAT(Leftovers(layout), IsEmpty());
}

TEST(MachineTest, TellsASecondUpThatItRuns) {
  LocalCluster cluster;
  ASSERT_TRUE(cluster.running());
  const pid_t agent = cluster.Pid("n1", "agent");

  const Output again = cluster.Meshctl({"local", "up", "--name", cluster.layout().cluster()});

  EXPECT_EQ(again.exit_code, 0);
  EXPECT_EQ(again.text, "cluster is already running (3 nodes)\n");
  EXPECT_EQ(cluster.Pid("n1", "agent"), agent);

  const Output other = cluster.Meshctl(
      {"local", "up", "--name", cluster.layout().cluster(), "--nodes", "3", "--xdp", "off"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_THAT(other.text, HasSubstr("runs already with --xdp auto, not off: "));
  EXPECT_EQ(cluster.Pid("n1", "agent"), agent);
}

// `up` that was interrupted once its nodes ran has loaded nothing into them yet.
TEST(MachineTest, GivesTheNodesWhatAnInterruptedUpHasNotLoaded) {
  LocalCluster cluster;
  ASSERT_TRUE(cluster.running());
  const auto ctr = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(),
                     {"ctr", "--address", cluster.layout().ContainerdSocket("n2"), "--namespace",
                      "k8s.io", "images"});
    return TextOf(arguments);
  };
  ASSERT_THAT(ctr({"list", "--quiet"}), HasSubstr("mesh-pause"));
  for (const auto image : absl::StrSplit(ctr({"list", "--quiet"}), '\n', absl::SkipEmpty())) {
    ctr({"remove", "--sync", std::string(image)});
  }
  ASSERT_THAT(ctr({"list", "--quiet"}), IsEmpty());

  const Output again = cluster.Meshctl({"local", "up", "--name", cluster.layout().cluster()});

  EXPECT_EQ(again.exit_code, 0) << again.text;
  EXPECT_THAT(ctr({"list", "--quiet"}), HasSubstr("mesh-pause"));
}

// `up` may find nodes whose agents have not registered yet.
TEST(MachineTest, WaitsInASecondUpUntilTheNodesAreReady) {
  LocalCluster cluster;
  ASSERT_TRUE(cluster.running());
  ASSERT_EQ(::kill(cluster.Pid("n1", "meshd"), SIGKILL), 0);

  const Output again = cluster.Meshctl({"local", "up", "--name", cluster.layout().cluster()});

  EXPECT_EQ(again.exit_code, 0) << again.text;
  EXPECT_EQ(cluster.Meshctl({"get", "nodes"}).exit_code, 0);
}

TEST(MachineTest, IsCleanAfterDownWhateverDiedBefore) {
  for (const char* victim : {"node-init", "containerd", "agent"}) {
    cli::local::Layout layout = cli::local::Layout::Create("test").value();
    {
      LocalCluster cluster;
      ASSERT_TRUE(cluster.running());
      layout = cluster.layout();
      cluster.Apply(EchoManifest("echo", 3));
      ASSERT_TRUE(cluster.WaitForPods("app=echo", 3));
      ASSERT_EQ(::kill(cluster.Pid("n2", victim), SIGKILL), 0);
    }
    EXPECT_THAT(Leftovers(layout), IsEmpty()) << victim;
  }
}

TEST(MachineTest, BringsADeadNodeBackAndKeepsTheRest) {
  LocalCluster cluster;
  ASSERT_TRUE(cluster.running());
  const int meshd = cluster.Pid("n1", "meshd");
  ASSERT_EQ(::kill(cluster.Pid("n3", "node-init"), SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return cluster.Status()["running"] == false; }));
  EXPECT_EQ(cluster.Status()["nodes"][0]["ready"], true);

  const Output again = cluster.Meshctl({"local", "up", "--name", cluster.layout().cluster()});

  EXPECT_EQ(again.exit_code, 0) << again.text;
  EXPECT_THAT(again.text, HasSubstr("node n3 is down: starting it again"));
  EXPECT_EQ(cluster.Status()["running"], true);
  EXPECT_EQ(cluster.Pid("n1", "meshd"), meshd);
  EXPECT_EQ(cluster.Status()["nodes"][2]["ready"], true);
}

TEST(MachineTest, RunsCommandsInNodesAndPassesTheirExitCodeOn) {
  LocalCluster cluster;
  ASSERT_TRUE(cluster.running());
  const auto exec = [&](std::vector<std::string> command) {
    command.insert(command.begin(),
                   {"local", "exec", "--name", cluster.layout().cluster(), "n2", "--"});
    return cluster.Meshctl(command);
  };

  EXPECT_EQ(exec({"sh", "-c", "exit 7"}).exit_code, 7);
  EXPECT_EQ(exec({"hostname"}).text, "n2\n");
  EXPECT_THAT(exec({"ip", "-o", "addr", "show", "eth0"}).text, HasSubstr("10.89.0.12/24"));
  EXPECT_EQ(exec({"mesh-no-such-command"}).exit_code, 127);
  EXPECT_EQ(exec({"sh", "-c", "kill -9 $$"}).exit_code, 137);
}

}  // namespace
}  // namespace mesh::testing
