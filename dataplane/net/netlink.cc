// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/netlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/status.h"
#include "dataplane/net/netns.h"
#include "fmt/format.h"

namespace mesh::dataplane {
namespace {

// One message with its attributes; a veth pair takes some 300 bytes.
constexpr size_t kMessageBytes = 2048;
constexpr size_t kAnswerBytes = 65536;

// IN6_ADDR_GEN_MODE_NONE; its header clashes with <netinet/in.h>.
constexpr uint8_t kNoIpv6Addresses = 1;

// libmnl's loops are C: they convert from void*.
template <typename F>
void ForEachAttribute(const void* first, const void* end, F visit) {
  const auto* attribute = static_cast<const nlattr*>(first);
  while (mnl_attr_ok(attribute, static_cast<int>(static_cast<const char*>(end) -
                                                 reinterpret_cast<const char*>(attribute)))) {
    visit(attribute);
    attribute = mnl_attr_next(attribute);
  }
}

template <typename F>
void ForEachAttribute(const nlmsghdr* message, size_t header_bytes, F visit) {
  ForEachAttribute(mnl_nlmsg_get_payload_offset(message, header_bytes),
                   mnl_nlmsg_get_payload_tail(message), visit);
}

const nlattr* Find(const nlattr* nested, uint16_t type) {
  const nlattr* found = nullptr;
  const char* payload = static_cast<const char*>(mnl_attr_get_payload(nested));
  ForEachAttribute(payload, payload + mnl_attr_get_payload_len(nested),
                   [&](const nlattr* attribute) {
                     if (mnl_attr_get_type(attribute) == type) found = attribute;
                   });
  return found;
}

IpAddress ReadIp(const nlattr* attribute) {
  std::array<uint8_t, 16> bytes{};
  if (mnl_attr_get_payload_len(attribute) != bytes.size()) {
    return IpAddress::V4(ntohl(mnl_attr_get_u32(attribute)));
  }
  std::memcpy(bytes.data(), mnl_attr_get_payload(attribute), bytes.size());
  return IpAddress::FromBytes(bytes);
}

void PutIp(nlmsghdr* message, uint16_t type, const IpAddress& ip) {
  if (ip.is_v4()) {
    mnl_attr_put_u32(message, type, htonl(ip.v4()));
  } else {
    mnl_attr_put(message, type, ip.bytes().size(), ip.bytes().data());
  }
}

uint8_t KernelFamily(Family family) { return family == Family::kV4 ? AF_INET : AF_INET6; }
int Bits(Family family) { return family == Family::kV4 ? 32 : 128; }

void PutLinkDefaults(nlmsghdr* message, const std::string& name, const MacAddress& mac, int mtu) {
  mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  mnl_attr_put(message, IFLA_ADDRESS, mac.size(), mac.data());
  mnl_attr_put_u32(message, IFLA_MTU, mtu);
}

LinkInfo ReadLink(const nlmsghdr* message) {
  LinkInfo out;
  const auto* header = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
  out.ifindex = header->ifi_index;
  out.up = (header->ifi_flags & IFF_UP) != 0;
  out.running = (header->ifi_flags & IFF_RUNNING) != 0;
  ForEachAttribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case IFLA_IFNAME:
        out.name = mnl_attr_get_str(attribute);
        break;
      case IFLA_ADDRESS:
        if (mnl_attr_get_payload_len(attribute) == out.mac.size()) {
          std::memcpy(out.mac.data(), mnl_attr_get_payload(attribute), out.mac.size());
        }
        break;
      case IFLA_MTU:
        out.mtu = mnl_attr_get_u32(attribute);
        break;
      case IFLA_LINKINFO: {
        if (const nlattr* kind = Find(attribute, IFLA_INFO_KIND)) out.kind = mnl_attr_get_str(kind);
        const nlattr* data = Find(attribute, IFLA_INFO_DATA);
        if (out.kind != "vxlan" || data == nullptr) break;
        if (const nlattr* metadata = Find(data, IFLA_VXLAN_COLLECT_METADATA)) {
          out.collect_metadata = mnl_attr_get_u8(metadata) != 0;
        }
        if (const nlattr* port = Find(data, IFLA_VXLAN_PORT)) {
          out.vxlan_port = ntohs(mnl_attr_get_u16(port));
        }
        break;
      }
      default:
        break;
    }
  });
  return out;
}

// INVALID_ARGUMENT: its destination is no prefix.
absl::StatusOr<RouteInfo> ReadRoute(const nlmsghdr* row, Family family) {
  RouteInfo info;
  IpAddress base = AnyAddress(family);
  ForEachAttribute(row, sizeof(rtmsg), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case RTA_DST:
        base = ReadIp(attribute);
        break;
      case RTA_GATEWAY:
        info.gateway = ReadIp(attribute);
        break;
      case RTA_PREFSRC:
        info.source = ReadIp(attribute);
        break;
      case RTA_TABLE:
        info.table = mnl_attr_get_u32(attribute);
        break;
      case RTA_OIF:
        info.ifindex = static_cast<int>(mnl_attr_get_u32(attribute));
        break;
      default:
        break;
    }
  });
  const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(row));
  ASSIGN_OR_RETURN(info.destination,
                   IpPrefix::Parse(fmt::format("{}/{}", base.ToString(), int{route->rtm_dst_len})));
  return info;
}

void PutRule(nlmsghdr* message, const Rule& rule) {
  auto* header =
      static_cast<fib_rule_hdr*>(mnl_nlmsg_put_extra_header(message, sizeof(fib_rule_hdr)));
  header->family = KernelFamily(rule.family);
  header->action = FR_ACT_TO_TBL;
  mnl_attr_put_u32(message, FRA_TABLE, rule.table);
  mnl_attr_put_u32(message, FRA_PRIORITY, rule.priority);
  mnl_attr_put_u8(message, FRA_PROTOCOL, RTPROT_STATIC);
  if (!rule.output.empty()) mnl_attr_put_strz(message, FRA_OIFNAME, rule.output.c_str());
  if (rule.port == 0) return;
  mnl_attr_put_u8(message, FRA_IP_PROTO, rule.protocol);
  const fib_rule_port_range to{rule.port, rule.port};
  const fib_rule_port_range from{rule.sources.first, rule.sources.second};
  mnl_attr_put(message, FRA_DPORT_RANGE, sizeof(to), &to);
  mnl_attr_put(message, FRA_SPORT_RANGE, sizeof(from), &from);
}

Rule ReadRule(const nlmsghdr* row, Family family) {
  Rule out;
  out.family = family;
  const auto range = [](const nlattr* attribute) {
    const auto* ports = static_cast<const fib_rule_port_range*>(mnl_attr_get_payload(attribute));
    return std::pair(ports->start, ports->end);
  };
  ForEachAttribute(row, sizeof(fib_rule_hdr), [&](const nlattr* attribute) {
    switch (mnl_attr_get_type(attribute)) {
      case FRA_TABLE:
        out.table = mnl_attr_get_u32(attribute);
        break;
      case FRA_PRIORITY:
        out.priority = mnl_attr_get_u32(attribute);
        break;
      case FRA_OIFNAME:
        out.output = mnl_attr_get_str(attribute);
        break;
      case FRA_IP_PROTO:
        out.protocol = mnl_attr_get_u8(attribute);
        break;
      case FRA_DPORT_RANGE:
        out.port = range(attribute).first;
        break;
      case FRA_SPORT_RANGE:
        out.sources = range(attribute);
        break;
      default:
        break;
    }
  });
  return out;
}

}  // namespace

struct Netlink::State {
  struct Close {
    void operator()(mnl_socket* socket) const { mnl_socket_close(socket); }
  };
  struct Queued {
    std::string bytes, what;
    int fine = 0;
  };
  std::unique_ptr<mnl_socket, Close> socket;
  uint32_t sequence = 0;
  alignas(nlmsghdr) char message[kMessageBytes];
  std::string answer = std::string(kAnswerBytes, '\0');
  bool queueing = false;
  std::vector<Queued> queue;
};

Netlink::Netlink(std::unique_ptr<State> state) : state_(std::move(state)) {}
Netlink::Netlink(Netlink&&) noexcept = default;
Netlink& Netlink::operator=(Netlink&&) noexcept = default;
Netlink::~Netlink() = default;

absl::StatusOr<Netlink> Netlink::Open() {
  auto state = std::make_unique<State>();
  state->socket.reset(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC));
  if (state->socket == nullptr) return ErrnoStatus(errno, "open a netlink socket");
  if (mnl_socket_bind(state->socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    return ErrnoStatus(errno, "bind a netlink socket");
  }
  return Netlink(std::move(state));
}

absl::StatusOr<Netlink> Netlink::OpenIn(int netns_fd) {
  absl::StatusOr<Netlink> out = absl::UnknownError("");
  RETURN_IF_ERROR(InNetns(netns_fd, [&] {
    out = Open();
    return out.status();
  }));
  return out;
}

nlmsghdr* Netlink::Message(uint16_t type, uint16_t flags) {
  nlmsghdr* message = mnl_nlmsg_put_header(state_->message);
  message->nlmsg_type = type;
  message->nlmsg_flags = NLM_F_REQUEST | flags;
  message->nlmsg_seq = ++state_->sequence;
  return message;
}

void Netlink::Begin() {
  state_->queueing = true;
  state_->queue.clear();
}

absl::Status Netlink::Commit() {
  state_->queueing = false;
  std::string batch;
  for (const State::Queued& queued : state_->queue) batch += queued.bytes;
  if (batch.empty()) return absl::OkStatus();
  if (mnl_socket_sendto(state_->socket.get(), batch.data(), batch.size()) < 0) {
    return ErrnoStatus(errno, "send a netlink batch");
  }
  absl::Status first;
  size_t answered = 0;
  while (answered < state_->queue.size()) {
    const ssize_t length =
        mnl_socket_recvfrom(state_->socket.get(), state_->answer.data(), state_->answer.size());
    if (length < 0) return ErrnoStatus(errno, "receive a netlink answer");
    int rest = static_cast<int>(length);
    for (auto* message = reinterpret_cast<const nlmsghdr*>(state_->answer.data());
         mnl_nlmsg_ok(message, rest); message = mnl_nlmsg_next(message, &rest)) {
      if (message->nlmsg_type != NLMSG_ERROR) continue;
      const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
      const State::Queued& queued = state_->queue[answered];
      if (error->error != 0 && -error->error != queued.fine && first.ok()) {
        first = ErrnoStatus(-error->error, queued.what);
      }
      ++answered;
    }
  }
  return first;
}

absl::Status Netlink::Send(nlmsghdr* message, const std::string& what, int fine) {
  message->nlmsg_flags |= NLM_F_ACK;
  if (state_->queueing) {
    state_->queue.push_back(
        {std::string(reinterpret_cast<const char*>(message), NLMSG_ALIGN(message->nlmsg_len)), what,
         fine});
    return absl::OkStatus();
  }
  if (mnl_socket_sendto(state_->socket.get(), message, message->nlmsg_len) < 0) {
    return ErrnoStatus(errno, what);
  }
  const ssize_t length =
      mnl_socket_recvfrom(state_->socket.get(), state_->answer.data(), state_->answer.size());
  if (length < 0) return ErrnoStatus(errno, what);
  const auto* answer = reinterpret_cast<const nlmsghdr*>(state_->answer.data());
  if (!mnl_nlmsg_ok(answer, static_cast<int>(length)) || answer->nlmsg_type != NLMSG_ERROR) {
    return absl::InternalError(fmt::format("{}: unexpected netlink answer", what));
  }
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer));
  if (error->error == 0 || -error->error == fine) return absl::OkStatus();
  return ErrnoStatus(-error->error, what);
}

absl::Status Netlink::Dump(nlmsghdr* message, const std::string& what,
                           const std::function<void(const nlmsghdr*)>& row) {
  message->nlmsg_flags |= NLM_F_DUMP;
  const uint32_t sequence = message->nlmsg_seq;
  if (mnl_socket_sendto(state_->socket.get(), message, message->nlmsg_len) < 0) {
    return ErrnoStatus(errno, what);
  }
  while (true) {
    const ssize_t length =
        mnl_socket_recvfrom(state_->socket.get(), state_->answer.data(), state_->answer.size());
    if (length < 0) return ErrnoStatus(errno, what);
    int rest = static_cast<int>(length);
    for (auto* answer = reinterpret_cast<const nlmsghdr*>(state_->answer.data());
         mnl_nlmsg_ok(answer, rest); answer = mnl_nlmsg_next(answer, &rest)) {
      if (answer->nlmsg_seq != sequence) continue;
      if (answer->nlmsg_type == NLMSG_DONE) return absl::OkStatus();
      if (answer->nlmsg_type == NLMSG_ERROR) {
        const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer));
        return ErrnoStatus(-error->error, what);
      }
      row(answer);
    }
  }
}

absl::StatusOr<const nlmsghdr*> Netlink::Ask(nlmsghdr* message, const std::string& what,
                                             int* error) {
  *error = 0;
  if (mnl_socket_sendto(state_->socket.get(), message, message->nlmsg_len) < 0) {
    return ErrnoStatus(errno, what);
  }
  const ssize_t length =
      mnl_socket_recvfrom(state_->socket.get(), state_->answer.data(), state_->answer.size());
  if (length < 0) return ErrnoStatus(errno, what);
  const auto* answer = reinterpret_cast<const nlmsghdr*>(state_->answer.data());
  if (answer->nlmsg_type != NLMSG_ERROR) return answer;
  *error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(answer))->error;
  return ErrnoStatus(*error, what);
}

absl::StatusOr<LinkInfo> Netlink::Link(const std::string& name) {
  nlmsghdr* message = Message(RTM_GETLINK, 0);
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  mnl_attr_put_strz(message, IFLA_IFNAME, name.c_str());
  int error = 0;
  const auto answer = Ask(message, fmt::format("look up interface {}", name), &error);
  if (error == ENODEV) return absl::NotFoundError(fmt::format("no interface {}", name));
  RETURN_IF_ERROR(answer.status());
  return ReadLink(*answer);
}

absl::StatusOr<LinkInfo> Netlink::Link(int ifindex) {
  absl::StatusOr<std::vector<LinkInfo>> links = Links();
  if (!links.ok()) return links.status();
  for (LinkInfo& link : *links) {
    if (link.ifindex == ifindex) return std::move(link);
  }
  return absl::NotFoundError(fmt::format("no interface with index {}", ifindex));
}

absl::StatusOr<std::vector<LinkInfo>> Netlink::Links() {
  nlmsghdr* message = Message(RTM_GETLINK, 0);
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  std::vector<LinkInfo> out;
  RETURN_IF_ERROR(Dump(message, "list interfaces", [&](const nlmsghdr* row) {
    if (row->nlmsg_type == RTM_NEWLINK) out.push_back(ReadLink(row));
  }));
  return out;
}

absl::Status Netlink::AddVeth(const VethEnd& host, const VethEnd& peer, int mtu) {
  nlmsghdr* message = Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  PutLinkDefaults(message, host.name, host.mac, mtu);
  if (host.netns_fd >= 0) mnl_attr_put_u32(message, IFLA_NET_NS_FD, host.netns_fd);
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, "veth");
  nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  nlattr* other = mnl_attr_nest_start(message, VETH_INFO_PEER);
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  PutLinkDefaults(message, peer.name, peer.mac, mtu);
  if (peer.netns_fd >= 0) mnl_attr_put_u32(message, IFLA_NET_NS_FD, peer.netns_fd);
  mnl_attr_nest_end(message, other);
  mnl_attr_nest_end(message, data);
  mnl_attr_nest_end(message, info);
  return Send(message, fmt::format("make interfaces {} and {}", host.name, peer.name));
}

absl::Status Netlink::AddVxlan(const std::string& name, uint16_t port, const MacAddress& mac,
                               int mtu) {
  nlmsghdr* message = Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg));
  PutLinkDefaults(message, name, mac, mtu);
  nlattr* info = mnl_attr_nest_start(message, IFLA_LINKINFO);
  mnl_attr_put_strz(message, IFLA_INFO_KIND, "vxlan");
  nlattr* data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
  mnl_attr_put_u8(message, IFLA_VXLAN_COLLECT_METADATA, 1);
  mnl_attr_put_u8(message, IFLA_VXLAN_LEARNING, 0);
  mnl_attr_put_u16(message, IFLA_VXLAN_PORT, htons(port));
  mnl_attr_nest_end(message, data);
  mnl_attr_nest_end(message, info);
  absl::Status status = Send(message, fmt::format("make interface {}", name));
  if (absl::IsUnimplemented(status) || absl::IsUnavailable(status)) {
    return absl::FailedPreconditionError(
        fmt::format("make interface {}: the kernel has no VXLAN; load it: modprobe vxlan", name));
  }
  return status;
}

absl::Status Netlink::DeleteLink(int ifindex) {
  nlmsghdr* message = Message(RTM_DELLINK, 0);
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_index = ifindex;
  return Send(message, fmt::format("remove interface {}", ifindex));
}

absl::Status Netlink::SetUp(int ifindex, const std::string& alias) {
  nlmsghdr* message = Message(RTM_NEWLINK, 0);
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_index = ifindex;
  header->ifi_flags = IFF_UP;
  header->ifi_change = IFF_UP;
  if (!alias.empty()) mnl_attr_put_strz(message, IFLA_IFALIAS, alias.substr(0, 255).c_str());
  return Send(message, fmt::format("set interface {} up", ifindex));
}

absl::Status Netlink::DisableIpv6Addresses(int ifindex) {
  nlmsghdr* message = Message(RTM_NEWLINK, 0);
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_index = ifindex;
  nlattr* family = mnl_attr_nest_start(message, IFLA_AF_SPEC);
  nlattr* inet6 = mnl_attr_nest_start(message, AF_INET6);
  mnl_attr_put_u8(message, IFLA_INET6_ADDR_GEN_MODE, kNoIpv6Addresses);
  mnl_attr_nest_end(message, inet6);
  mnl_attr_nest_end(message, family);
  const absl::Status status =
      Send(message, fmt::format("keep interface {} without IPv6 addresses", ifindex));
  return absl::IsUnimplemented(status) ? absl::OkStatus() : status;
}

absl::Status Netlink::SetMtu(int ifindex, int mtu) {
  nlmsghdr* message = Message(RTM_NEWLINK, 0);
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_index = ifindex;
  mnl_attr_put_u32(message, IFLA_MTU, mtu);
  return Send(message, fmt::format("set the MTU of interface {} to {}", ifindex, mtu));
}

absl::Status Netlink::SetForwarding(int ifindex) {
  nlmsghdr* message = Message(RTM_NEWLINK, 0);
  auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifinfomsg)));
  header->ifi_index = ifindex;
  nlattr* family = mnl_attr_nest_start(message, IFLA_AF_SPEC);
  nlattr* inet = mnl_attr_nest_start(message, AF_INET);
  nlattr* settings = mnl_attr_nest_start(message, IFLA_INET_CONF);
  mnl_attr_put_u32(message, IPV4_DEVCONF_FORWARDING, 1);
  mnl_attr_nest_end(message, settings);
  mnl_attr_nest_end(message, inet);
  mnl_attr_nest_end(message, family);
  return Send(message, fmt::format("let interface {} pass packets on", ifindex));
}

absl::Status Netlink::AddAddress(int ifindex, const IpAddress& address) {
  nlmsghdr* message = Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  auto* header = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
  const Family family = FamilyOf(address);
  header->ifa_family = KernelFamily(family);
  header->ifa_prefixlen = static_cast<uint8_t>(Bits(family));
  header->ifa_flags = family == Family::kV4 ? 0 : IFA_F_NODAD;
  header->ifa_scope = RT_SCOPE_UNIVERSE;
  header->ifa_index = ifindex;
  PutIp(message, IFA_LOCAL, address);
  PutIp(message, IFA_ADDRESS, address);
  return Send(message, fmt::format("add address {} to interface {}", address.ToString(), ifindex));
}

// The worker's own route comes beside this one, with another metric.
absl::Status Netlink::TakeAddress(int ifindex, const IpAddress& address) {
  if (FamilyOf(address) == Family::kV4) return absl::OkStatus();
  nlmsghdr* message = Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  header->rtm_family = AF_INET6;
  header->rtm_dst_len = Bits(Family::kV6);
  header->rtm_table = RT_TABLE_LOCAL;
  header->rtm_protocol = RTPROT_STATIC;
  header->rtm_scope = RT_SCOPE_UNIVERSE;
  header->rtm_type = RTN_LOCAL;
  PutIp(message, RTA_DST, address);
  mnl_attr_put_u32(message, RTA_OIF, ifindex);
  return Send(message, fmt::format("take {} at interface {}", address.ToString(), ifindex));
}

absl::Status Netlink::AddRoute(const RouteInfo& route) {
  nlmsghdr* message = Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
  auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  const bool direct = route.gateway == IpAddress();
  header->rtm_family = KernelFamily(FamilyOf(route.destination));
  header->rtm_dst_len = route.destination.length();
  header->rtm_protocol = RTPROT_STATIC;
  header->rtm_scope = direct ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  header->rtm_type = RTN_UNICAST;
  // The gateway is reachable on this link although no address says so.
  header->rtm_flags = direct ? 0 : RTNH_F_ONLINK;
  mnl_attr_put_u32(message, RTA_TABLE, route.table);
  if (route.destination.length() > 0) PutIp(message, RTA_DST, route.destination.base());
  if (!direct) PutIp(message, RTA_GATEWAY, route.gateway);
  if (route.source != IpAddress()) PutIp(message, RTA_PREFSRC, route.source);
  mnl_attr_put_u32(message, RTA_OIF, route.ifindex);
  return Send(message, fmt::format("add route {} by interface {}", route.destination.ToString(),
                                   route.ifindex));
}

absl::Status Netlink::RemoveRoute(const RouteInfo& route) {
  nlmsghdr* message = Message(RTM_DELROUTE, 0);
  auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  header->rtm_family = KernelFamily(FamilyOf(route.destination));
  header->rtm_dst_len = route.destination.length();
  header->rtm_scope = RT_SCOPE_NOWHERE;  // any
  mnl_attr_put_u32(message, RTA_TABLE, route.table);
  if (route.destination.length() > 0) PutIp(message, RTA_DST, route.destination.base());
  mnl_attr_put_u32(message, RTA_OIF, route.ifindex);
  return Send(message, fmt::format("remove route {} by interface {}", route.destination.ToString(),
                                   route.ifindex));
}

absl::Status Netlink::AddRule(const Rule& rule) {
  // Without EXCL the kernel would take the same rule twice.
  nlmsghdr* message = Message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
  PutRule(message, rule);
  return Send(message, fmt::format("add a routing rule to table {}", rule.table), EEXIST);
}

absl::Status Netlink::RemoveRule(const Rule& rule) {
  nlmsghdr* message = Message(RTM_DELRULE, 0);
  PutRule(message, rule);
  return Send(message, fmt::format("remove a routing rule to table {}", rule.table), ENOENT);
}

absl::Status Netlink::SetBandwidth(int ifindex, uint64_t bits_per_second) {
  const uint64_t rate = std::max<uint64_t>(bits_per_second / 8, 1);  // bytes a second
  // What may go at once: 10 ms of it, and some packets in any case. What waits: 50 ms more.
  const auto burst = static_cast<uint32_t>(std::clamp<uint64_t>(rate / 100, 8'000, 1U << 28));
  tc_tbf_qopt options{};
  options.rate.rate = static_cast<uint32_t>(std::min<uint64_t>(rate, UINT32_MAX));
  options.rate.linklayer = TC_LINKLAYER_ETHERNET;
  options.limit = static_cast<uint32_t>(std::clamp<uint64_t>(rate / 20, 16'000, 1U << 28)) + burst;

  nlmsghdr* message = Message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
  auto* header = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(tcmsg)));
  header->tcm_family = AF_UNSPEC;
  header->tcm_ifindex = ifindex;
  header->tcm_parent = TC_H_ROOT;
  header->tcm_handle = 1U << 16;
  mnl_attr_put_strz(message, TCA_KIND, "tbf");
  nlattr* nest = mnl_attr_nest_start(message, TCA_OPTIONS);
  mnl_attr_put(message, TCA_TBF_PARMS, sizeof(options), &options);
  mnl_attr_put_u32(message, TCA_TBF_BURST, burst);
  if (rate > UINT32_MAX) mnl_attr_put_u64(message, TCA_TBF_RATE64, rate);
  mnl_attr_nest_end(message, nest);
  const absl::Status status =
      Send(message, fmt::format("limit interface {} to {} bit/s", ifindex, bits_per_second));
  if (!absl::IsNotFound(status)) return status;
  return absl::FailedPreconditionError(fmt::format(
      "{}: the kernel has no token bucket (CONFIG_NET_SCH_TBF)", std::string(status.message())));
}

absl::Status Netlink::AddNeighbour(int ifindex, const IpAddress& address, const MacAddress& mac) {
  nlmsghdr* message = Message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  auto* header = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ndmsg)));
  header->ndm_family = KernelFamily(FamilyOf(address));
  header->ndm_ifindex = ifindex;
  header->ndm_state = NUD_PERMANENT;
  PutIp(message, NDA_DST, address);
  mnl_attr_put(message, NDA_LLADDR, mac.size(), mac.data());
  return Send(message,
              fmt::format("add neighbour {} to interface {}", address.ToString(), ifindex));
}

absl::StatusOr<std::vector<AddressInfo>> Netlink::Addresses(Family family) {
  nlmsghdr* message = Message(RTM_GETADDR, 0);
  auto* header = static_cast<ifaddrmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(ifaddrmsg)));
  header->ifa_family = KernelFamily(family);
  const int own = family == Family::kV4 ? IFA_LOCAL : IFA_ADDRESS;
  std::vector<AddressInfo> out;
  RETURN_IF_ERROR(Dump(message, "list addresses", [&](const nlmsghdr* row) {
    const auto* address = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(row));
    // A kernel without IPv6 answers with everything it has.
    if (address->ifa_family != KernelFamily(family) || address->ifa_prefixlen != Bits(family)) {
      return;
    }
    ForEachAttribute(row, sizeof(ifaddrmsg), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) != own) return;
      out.push_back({static_cast<int>(address->ifa_index), IpPrefix::Of(ReadIp(attribute))});
    });
  }));
  return out;
}

absl::StatusOr<bool> Netlink::HasFilters(int ifindex) {
  bool out = false;
  for (const uint32_t side : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
    nlmsghdr* message = Message(RTM_GETTFILTER, 0);
    auto* header = static_cast<tcmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(tcmsg)));
    header->tcm_family = AF_UNSPEC;
    header->tcm_ifindex = ifindex;
    header->tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
    RETURN_IF_ERROR(Dump(message, fmt::format("list filters of interface {}", ifindex),
                         [&](const nlmsghdr* row) { out |= row->nlmsg_type == RTM_NEWTFILTER; }));
  }
  return out;
}

absl::StatusOr<std::vector<RouteInfo>> Netlink::Routes(Family family, uint32_t table) {
  nlmsghdr* message = Message(RTM_GETROUTE, 0);
  auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  header->rtm_family = KernelFamily(family);
  std::vector<RouteInfo> out;
  RETURN_IF_ERROR(Dump(message, "list routes", [&](const nlmsghdr* row) {
    const auto* route = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(row));
    if (route->rtm_family != KernelFamily(family) || route->rtm_type != RTN_UNICAST) return;
    absl::StatusOr<RouteInfo> info = ReadRoute(row, family);
    if (info.ok() && (table == 0 || info->table == table)) out.push_back(*std::move(info));
  }));
  return out;
}

absl::StatusOr<std::vector<Rule>> Netlink::Rules(Family family) {
  nlmsghdr* message = Message(RTM_GETRULE, 0);
  auto* header =
      static_cast<fib_rule_hdr*>(mnl_nlmsg_put_extra_header(message, sizeof(fib_rule_hdr)));
  header->family = KernelFamily(family);
  std::vector<Rule> out;
  const absl::Status status = Dump(message, "list routing rules", [&](const nlmsghdr* row) {
    const auto* rule = static_cast<const fib_rule_hdr*>(mnl_nlmsg_get_payload(row));
    if (rule->family == KernelFamily(family)) out.push_back(ReadRule(row, family));
  });
  // A kernel without rules has none.
  if (!status.ok() && !absl::IsUnimplemented(status)) return status;
  return out;
}

absl::StatusOr<RouteInfo> Netlink::RouteTo(const IpAddress& destination, const Rule& like) {
  int output = 0;
  if (!like.output.empty()) {
    ASSIGN_OR_RETURN(const LinkInfo link, Link(like.output));
    output = link.ifindex;
  }
  nlmsghdr* message = Message(RTM_GETROUTE, 0);
  auto* header = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(message, sizeof(rtmsg)));
  const Family family = FamilyOf(destination);
  header->rtm_family = KernelFamily(family);
  header->rtm_dst_len = destination.is_v4() ? 32 : 128;
  PutIp(message, RTA_DST, destination);
  if (output != 0) mnl_attr_put_u32(message, RTA_OIF, static_cast<uint32_t>(output));
  if (like.port != 0) {
    mnl_attr_put_u8(message, RTA_IP_PROTO, like.protocol);
    mnl_attr_put_u16(message, RTA_DPORT, htons(like.port));
    mnl_attr_put_u16(message, RTA_SPORT, htons(like.sources.first));
  }
  const std::string what = fmt::format("look up the route to {}", destination.ToString());
  int error = 0;
  const auto answer = Ask(message, what, &error);
  if (error == ENETUNREACH || error == EHOSTUNREACH || error == EACCES || error == EINVAL) {
    return absl::NotFoundError(fmt::format("no route to {}", destination.ToString()));
  }
  RETURN_IF_ERROR(answer.status());
  return ReadRoute(*answer, family);
}

}  // namespace mesh::dataplane
