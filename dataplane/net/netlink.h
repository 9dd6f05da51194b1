// SPDX-License-Identifier: Apache-2.0
// rtnetlink, the part of it the dataplane needs: links, addresses, routes, rules, neighbours, of
// both families: that of an address or a range is its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ip_address.h"
#include "dataplane/model/state.h"

struct nlmsghdr;

namespace mesh::dataplane {

struct LinkInfo {
  int ifindex = 0;
  std::string name;
  std::string kind;  // "veth", "vxlan"; empty for others
  MacAddress mac{};
  uint32_t mtu = 0;
  bool up = false;
  bool running = false;  // can send
  // vxlan only.
  bool collect_metadata = false;
  uint16_t vxlan_port = 0;
};

// One end of a veth pair to be made.
struct VethEnd {
  std::string name;
  MacAddress mac{};
  int netns_fd = -1;  // -1: the socket's own
};

struct AddressInfo {
  int ifindex = 0;
  IpPrefix prefix;  // of the one address
};

inline constexpr uint32_t kMainTable = 254;

struct RouteInfo {
  IpPrefix destination;  // 0.0.0.0/0, ::/0: default
  int ifindex = 0;
  IpAddress gateway;  // unspecified: directly connected, scope link
  IpAddress source;   // unspecified: the kernel's choice
  uint32_t table = kMainTable;
  friend bool operator==(const RouteInfo&, const RouteInfo&) = default;
};

// What meets it is routed by `table` where that has a route.
struct Rule {
  Family family = Family::kV4;
  uint32_t table = 0;
  uint32_t priority = 0;  // lower ones first; 0: the addresses of the node, 32766: the main table
  std::string output;     // the interface that its socket is bound to; empty: of any
  // Of IPPROTO_*, to `port`, from one of the source ports; 0: to any port, of any protocol.
  uint8_t protocol = 0;
  uint16_t port = 0;
  std::pair<uint16_t, uint16_t> sources = {0, 0};
  friend auto operator<=>(const Rule&, const Rule&) = default;
};

// A socket of one network namespace. Requests are answered before a call returns. One thread.
class Netlink {
 public:
  // Of the namespace the thread is in.
  static absl::StatusOr<Netlink> Open();
  // Of another one: the thread goes there and comes back.
  static absl::StatusOr<Netlink> OpenIn(int netns_fd);

  Netlink(Netlink&&) noexcept;
  Netlink& operator=(Netlink&&) noexcept;
  ~Netlink();

  // NOT_FOUND when there is none.
  absl::StatusOr<LinkInfo> Link(const std::string& name);
  absl::StatusOr<LinkInfo> Link(int ifindex);
  absl::StatusOr<std::vector<LinkInfo>> Links();

  // Both ends get `mtu`. ALREADY_EXISTS when one of the names is taken.
  absl::Status AddVeth(const VethEnd& host, const VethEnd& peer, int mtu);
  // In collect-metadata mode. FAILED_PRECONDITION when the kernel has no VXLAN.
  absl::Status AddVxlan(const std::string& name, uint16_t port, const MacAddress& mac, int mtu);
  // Before the link is up: it makes no IPv6 address of its own, so it does not solicit routers.
  // Fine on a kernel without IPv6. Not to be queued.
  absl::Status DisableIpv6Addresses(int ifindex);
  // NOT_FOUND when it is gone.
  absl::Status DeleteLink(int ifindex);

  // The rest of these is idempotent, and may be queued between Begin() and Commit(), which sends
  // all in one system call and returns the first error.
  void Begin();
  absl::Status Commit();
  // `alias`: text for people, up to 255 bytes; empty: unchanged.
  absl::Status SetUp(int ifindex, const std::string& alias = "");
  absl::Status SetMtu(int ifindex, int mtu);
  // IPv4 packets that come in there may be passed on, as far as the kernel's routing is asked.
  absl::Status SetForwarding(int ifindex);
  // As /32 or /128; of IPv6 without asking whether somebody has it already.
  absl::Status AddAddress(int ifindex, const IpAddress& address);
  // The interface takes what comes to its address from now on. REQUIRES: it is up. Of IPv4 it has
  // always done so; of IPv6 the kernel leaves it to a worker, which waits for its lock of all
  // links.
  absl::Status TakeAddress(int ifindex, const IpAddress& address);
  absl::Status AddRoute(const RouteInfo& route);
  // By destination and interface. Not to be queued. NOT_FOUND when there is none.
  absl::Status RemoveRoute(const RouteInfo& route);
  // UNIMPLEMENTED when the kernel has none (CONFIG_IP_MULTIPLE_TABLES).
  absl::Status AddRule(const Rule& rule);
  // An absent one is fine.
  absl::Status RemoveRule(const Rule& rule);
  // A token bucket as the interface's queue: `bits_per_second` of what it sends. Replaces another.
  // FAILED_PRECONDITION when the kernel has none.
  absl::Status SetBandwidth(int ifindex, uint64_t bits_per_second);
  absl::Status AddNeighbour(int ifindex, const IpAddress& address, const MacAddress& mac);

  // Of length 32 and 128 only.
  absl::StatusOr<std::vector<AddressInfo>> Addresses(Family family = Family::kV4);
  // Whether its clsact holds a filter.
  absl::StatusOr<bool> HasFilters(int ifindex);
  // Unicast routes; of `table`, 0: of all tables.
  absl::StatusOr<std::vector<RouteInfo>> Routes(Family family = Family::kV4,
                                                uint32_t table = kMainTable);
  absl::StatusOr<std::vector<Rule>> Rules(Family family);
  // Which way the kernel sends what a process writes to `destination`, by all its tables; by `lo`
  // to an address of its own. NOT_FOUND: by none of its routes.
  absl::StatusOr<RouteInfo> RouteTo(const IpAddress& destination) {
    return RouteTo(destination, Rule());
  }
  // The same of a socket that `like` describes.
  absl::StatusOr<RouteInfo> RouteTo(const IpAddress& destination, const Rule& like);

 private:
  struct State;
  explicit Netlink(std::unique_ptr<State> state);

  nlmsghdr* Message(uint16_t type, uint16_t flags);
  // `fine`: an errno that is no error.
  absl::Status Send(nlmsghdr* message, const std::string& what, int fine = 0);
  // The one row of the answer, until the next request. `error`: the kernel's, in place of a row.
  absl::StatusOr<const nlmsghdr*> Ask(nlmsghdr* message, const std::string& what, int* error);
  absl::Status Dump(nlmsghdr* message, const std::string& what,
                    const std::function<void(const nlmsghdr*)>& row);

  std::unique_ptr<State> state_;
};

}  // namespace mesh::dataplane
