// SPDX-License-Identifier: Apache-2.0
#include "cli/local/network.h"

#include <dirent.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>

#include "cli/local/process.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::cli::local {
namespace {

// Says that `ip netns add` is about to mount /run/netns over itself for us: see RemoveNetnsMount.
constexpr char kNetnsMountMark[] = "/run/mesh/netns-mount";

std::vector<std::string> ListDirectory(const std::string& path) {
  std::vector<std::string> names;
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status MarkNetnsMount() {
  ASSIGN_OR_RETURN(const std::string mounts, ReadFile("/proc/self/mountinfo"));
  if (mounts.find(fmt::format(" {} ", kNetnsDir)) != std::string::npos) return absl::OkStatus();
  return WriteFile(kNetnsMountMark, "");
}

// `ip` commands for the namespace of the bridge.
std::string FabricCommands(int nodes, bool ipv6) {
  // With an address the bridge is a host on the link as well: the world outside the cluster. It
  // floods groups nobody has joined: who asks for an announced address asks a group of it.
  std::string out = fmt::format(
      "link set lo up\nlink add br0 type bridge forward_delay 0 mcast_snooping 0\n"
      "addr add {}/24 dev br0\n",
      Layout::OutsideAddress());
  if (ipv6) out += fmt::format("addr add {}/64 dev br0 nodad\n", Layout::OutsideAddress6());
  out += "link set br0 up\n";
  for (int i = 0; i < nodes; ++i)
    out += fmt::format("link set {} master br0 up\n", Layout::NodeName(i));
  // Fails here, with a clear word, on a kernel that cannot carry traffic between nodes.
  return out + "link add vxlan-check type vxlan external dstport 4789\nlink del vxlan-check\n";
}

std::string NodeCommands(int index, bool ipv6) {
  std::string out =
      fmt::format("link set lo up\naddr add {}/24 dev eth0\n", Layout::NodeAddress(index));
  if (ipv6) out += fmt::format("addr add {}/64 dev eth0 nodad\n", Layout::NodeAddress6(index));
  out += fmt::format("link set eth0 up\nroute add default via {}\n", Layout::OutsideAddress());
  if (ipv6) out += fmt::format("route add default via {}\n", Layout::OutsideAddress6());
  return out;
}

absl::Status InNetns(const std::string& netns, const std::string& script) {
  return RunOrFail({"ip", "netns", "exec", netns, "sh", "-c", script}).status();
}

// Links to come do not look for others with their addresses (RFC 4862, 5.4), who cannot be there:
// for up to two seconds a link's own address asks for no neighbor, and what goes there waits.
absl::Status TakeAddressesAtOnce(const std::string& netns) {
  return Annotate(InNetns(netns, "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad"),
                  "set up IPv6 in " + netns);
}

}  // namespace

std::string NetnsPath(const std::string& name) { return fmt::format("{}/{}", kNetnsDir, name); }

std::vector<std::string> OwnNetns(const Layout& layout) {
  std::vector<std::string> own;
  for (const std::string& name : ListDirectory(kNetnsDir)) {
    if (layout.OwnsNetns(name)) own.push_back(name);
  }
  return own;
}

// The last cluster takes the mount away again, unless somebody else uses it now.
void RemoveNetnsMount() {
  if (::access(kNetnsMountMark, F_OK) != 0 || !ListDirectory(kNetnsDir).empty()) return;
  ::umount2(kNetnsDir, 0);
  ::rmdir(kNetnsDir);
  ::unlink(kNetnsMountMark);
}

bool KernelHasIpv6() { return ::access("/proc/net/if_inet6", F_OK) == 0; }

absl::Status CreateNetwork(const Layout& layout, int nodes, bool ipv6) {
  const std::string fabric = layout.FabricNetns();
  std::string namespaces = fmt::format("netns add {}\n", fabric);
  std::string links;
  for (int i = 0; i < nodes; ++i) {
    const std::string node = Layout::NodeName(i);
    namespaces += fmt::format("netns add {}\n", layout.NetnsName(node));
    links += fmt::format("link add eth0 netns {} type veth peer name {} netns {}\n",
                         layout.NetnsName(node), node, fabric);
  }
  RETURN_IF_ERROR(MarkNetnsMount());
  RETURN_IF_ERROR(Annotate(RunOrFail({"ip", "-batch", "-"}, namespaces).status(),
                           "create the nodes' network namespaces"));
  if (ipv6) {
    RETURN_IF_ERROR(TakeAddressesAtOnce(fabric));
    for (int i = 0; i < nodes; ++i)
      RETURN_IF_ERROR(TakeAddressesAtOnce(layout.NetnsName(Layout::NodeName(i))));
  }
  RETURN_IF_ERROR(
      Annotate(RunOrFail({"ip", "-batch", "-"}, links).status(), "create the nodes' links"));
  RETURN_IF_ERROR(Annotate(
      RunOrFail({"ip", "-netns", fabric, "-batch", "-"}, FabricCommands(nodes, ipv6)).status(),
      "create the network between the nodes"));
  // A gateway that forwards says by ICMP what it has no route to.
  std::string forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
  if (ipv6) forward += " && echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
  RETURN_IF_ERROR(Annotate(InNetns(fabric, forward), "set up the nodes' gateway"));
  for (int i = 0; i < nodes; ++i) {
    const std::string netns = layout.NetnsName(Layout::NodeName(i));
    RETURN_IF_ERROR(
        Annotate(RunOrFail({"ip", "-netns", netns, "-batch", "-"}, NodeCommands(i, ipv6)).status(),
                 "set up node " + Layout::NodeName(i)));
  }
  return absl::OkStatus();
}

}  // namespace mesh::cli::local
