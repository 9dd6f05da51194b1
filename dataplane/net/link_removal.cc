// SPDX-License-Identifier: Apache-2.0
#include "dataplane/net/link_removal.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <thread>

#include "common/status.h"
#include "common/unique_fd.h"
#include "dataplane/net/netlink.h"

namespace mesh::dataplane {
namespace {

// A socket that hears of links that have gone.
absl::StatusOr<UniqueFd> Listen() {
  UniqueFd out(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
  if (!out) return ErrnoStatus(errno, "open a netlink socket");
  // Of nothing else that happens to links. Loads are of network byte order, messages of ours.
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(nlmsghdr, nlmsg_type)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(RTM_DELLINK), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(code)), code};
  if (setsockopt(out.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0) {
    return ErrnoStatus(errno, "filter what a netlink socket hears");
  }
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = RTMGRP_LINK;
  if (bind(out.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "bind a netlink socket");
  }
  return out;
}

// Whether it has heard of that link.
bool HasHeard(int socket_fd, int ifindex) {
  alignas(nlmsghdr) std::array<char, 16384> buffer;
  while (true) {
    const ssize_t bytes = recv(socket_fd, buffer.data(), buffer.size(), 0);
    // EAGAIN: that was all. ENOBUFS: some are lost, and the kernel's answer is the next to come.
    if (bytes <= 0) return false;
    auto left = static_cast<unsigned>(bytes);
    for (auto* message = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(message, left);
         message = NLMSG_NEXT(message, left)) {
      const auto* link = static_cast<const ifinfomsg*>(NLMSG_DATA(message));
      // Not what a bridge says of its ports.
      if (message->nlmsg_type == RTM_DELLINK && link->ifi_family == AF_UNSPEC &&
          link->ifi_index == ifindex)
        return true;
    }
  }
}

// Until that link is gone, or `over` can be read.
void AwaitGone(int socket_fd, int over_fd, int ifindex) {
  pollfd events[] = {{over_fd, POLLIN, 0}, {socket_fd, POLLIN, 0}};
  while (true) {
    if (poll(events, std::size(events), -1) < 0 && errno != EINTR) return;
    if (events[0].revents != 0 || HasHeard(socket_fd, ifindex)) return;
  }
}

}  // namespace

absl::Status RemoveLink(int ifindex, const std::function<void()>& gone) {
  absl::StatusOr<Netlink> netlink = Netlink::Open();
  absl::StatusOr<UniqueFd> events = Listen();
  const UniqueFd over(eventfd(0, EFD_CLOEXEC));
  if (!netlink.ok() || !events.ok() || !over) {
    gone();
    if (!netlink.ok()) return netlink.status();
    return events.ok() ? ErrnoStatus(errno, "make an event counter") : events.status();
  }
  std::thread watcher([&] {
    AwaitGone(events->get(), over.get(), ifindex);
    gone();
  });
  const absl::Status deleted = netlink->DeleteLink(ifindex);
  eventfd_write(over.get(), 1);
  watcher.join();
  return deleted;
}

}  // namespace mesh::dataplane
