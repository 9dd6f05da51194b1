// SPDX-License-Identifier: Apache-2.0
#include "cni/loopback.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "common/unique_fd.h"

namespace mesh::cni {
namespace {

Error Failure(uint32_t code, std::string message) {
  return Error{code, std::move(message), std::strerror(errno)};
}

// A socket inside the namespace, and the flags of the interface.
std::optional<Error> Enter(const Invocation& invocation, UniqueFd* socket, ifreq* request) {
  UniqueFd netns(::open(invocation.netns.c_str(), O_RDONLY | O_CLOEXEC));
  if (!netns)
    return Failure(kInvalidEnvironment, "CNI_NETNS: cannot open \"" + invocation.netns + "\"");
  if (::setns(netns.get(), CLONE_NEWNET) != 0)
    return Failure(kInvalidEnvironment, "CNI_NETNS: cannot enter \"" + invocation.netns + "\"");
  socket->reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!*socket) return Failure(kIoFailure, "cannot make a socket in " + invocation.netns);
  *request = {};
  std::memcpy(request->ifr_name, invocation.ifname.data(), invocation.ifname.size());
  if (::ioctl(socket->get(), SIOCGIFFLAGS, request) != 0)
    return Failure(kIoFailure, "no interface " + invocation.ifname + " in " + invocation.netns);
  return std::nullopt;
}

}  // namespace

std::optional<Error> SetLoopback(const Invocation& invocation, bool up) {
  UniqueFd socket;
  ifreq request;
  if (auto error = Enter(invocation, &socket, &request)) return error;
  const int flags = request.ifr_flags;
  request.ifr_flags = static_cast<short>(up ? flags | IFF_UP : flags & ~IFF_UP);
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0)
    return Failure(kIoFailure, "cannot set " + invocation.ifname + (up ? " up" : " down") + " in " +
                                   invocation.netns);
  return std::nullopt;
}

std::optional<Error> CheckLoopback(const Invocation& invocation) {
  UniqueFd socket;
  ifreq request;
  if (auto error = Enter(invocation, &socket, &request)) return error;
  if ((request.ifr_flags & IFF_UP) == 0)
    return Error{kAttachmentDiffers, invocation.ifname + " in " + invocation.netns + " is down",
                 ""};
  return std::nullopt;
}

}  // namespace mesh::cni
