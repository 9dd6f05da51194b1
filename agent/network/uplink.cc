// SPDX-License-Identifier: Apache-2.0
#include "agent/network/uplink.h"

#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "common/log.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

ifreq RequestFor(const std::string& interface) {
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), IFNAMSIZ - 1);
  return request;
}

bool ChooseXdp(int fd, const std::string& interface, XdpMode mode) {
  if (mode != XdpMode::kAuto) {
    spdlog::info("network: XDP on {} is {}, as asked for", interface,
                 mode == XdpMode::kOn ? "on" : "off");
    return mode == XdpMode::kOn;
  }
  ethtool_drvinfo driver{};
  driver.cmd = ETHTOOL_GDRVINFO;
  ifreq request = RequestFor(interface);
  request.ifr_data = reinterpret_cast<char*>(&driver);
  if (::ioctl(fd, SIOCETHTOOL, &request) != 0) {
    spdlog::info("network: XDP on {} is off: its driver is not known", interface);
    return false;
  }
  // Software interfaces (veth, bridge, bond) sit on no bus; there tc is as fast.
  const bool device = driver.bus_info[0] != '\0' && std::strcmp(driver.bus_info, "N/A") != 0;
  spdlog::info("network: XDP on {} is {}: driver {}{}", interface, device ? "on" : "off",
               driver.driver, device ? "" : " is of a software interface");
  return device;
}

}  // namespace

absl::StatusOr<std::string> InterfaceOf(const IpAddress& node_ip) {
  ifaddrs* raw = nullptr;
  if (::getifaddrs(&raw) != 0) return ErrnoStatus(errno, "cannot list the addresses of the node");
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(raw, ::freeifaddrs);
  for (const ifaddrs* at = list.get(); at != nullptr; at = at->ifa_next) {
    if (at->ifa_addr == nullptr || at->ifa_addr->sa_family != AF_INET) continue;
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(at->ifa_addr);
    if (IpAddress::V4(ntohl(v4->sin_addr.s_addr)) == node_ip) return std::string(at->ifa_name);
  }
  return absl::FailedPreconditionError(
      fmt::format("no interface of this node has the address {}: give the node's own address",
                  node_ip.ToString()));
}

absl::StatusOr<int> MtuOf(const std::string& interface) {
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request = RequestFor(interface);
  if (!fd || ::ioctl(fd.get(), SIOCGIFMTU, &request) != 0)
    return ErrnoStatus(errno, fmt::format("cannot read the MTU of {}", interface));
  return request.ifr_mtu;
}

absl::StatusOr<UniqueFd> OpenLinkEvents() {
  UniqueFd out(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (!out || ::bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
    return ErrnoStatus(errno, "listen for changes of the node's links");
  return out;
}

void DrainLinkEvents(int fd) {
  std::array<char, 16384> events;
  ssize_t bytes = 0;
  do {
    bytes = ::read(fd, events.data(), events.size());
  } while (bytes > 0 || (bytes < 0 && (errno == ENOBUFS || errno == EINTR)));
}

absl::StatusOr<Uplink> FindUplink(const std::string& node_ip, XdpMode mode) {
  Uplink out;
  ASSIGN_OR_RETURN(const IpAddress ip, IpAddress::Parse(node_ip));
  ASSIGN_OR_RETURN(out.name, InterfaceOf(ip));
  ASSIGN_OR_RETURN(out.mtu, MtuOf(out.name));
  const UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  out.xdp = ChooseXdp(fd.get(), out.name, mode);
  return out;
}

}  // namespace mesh::agent
