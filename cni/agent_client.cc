// SPDX-License-Identifier: Apache-2.0
#include "cni/agent_client.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "common/unique_fd.h"

namespace mesh::cni {
namespace {

constexpr int kTimeoutSeconds = 10;

Error NoAnswer(const std::string& socket_path, const std::string& why) {
  return Error{kTryAgainLater, "mesh-agent does not answer at " + socket_path + ": is it running?",
               why};
}

bool SendFrame(int fd, const std::string& payload, int netns_fd) {
  const uint32_t length = htonl(static_cast<uint32_t>(payload.size()));
  std::string frame(reinterpret_cast<const char*>(&length), sizeof length);
  frame += payload;

  iovec iov{.iov_base = frame.data(), .iov_len = frame.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (netns_fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &netns_fd, sizeof netns_fd);
  }
  size_t sent = 0;
  while (sent < frame.size()) {
    const ssize_t n = ::sendmsg(fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
    iov.iov_base = frame.data() + sent;
    iov.iov_len = frame.size() - sent;
    message.msg_control = nullptr;
    message.msg_controllen = 0;
  }
  return true;
}

bool ReadExactly(int fd, char* out, size_t size) {
  while (size > 0) {
    const ssize_t n = ::recv(fd, out, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = ECONNRESET;
    if (n <= 0) return false;
    out += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

}  // namespace

std::optional<Error> CallAgent(const std::string& socket_path, const v1::CniRequest& request,
                               int netns_fd, v1::CniReply* reply) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path)
    return Error{kInvalidConfig,
                 "network configuration: agentSocket is " + std::to_string(socket_path.size()) +
                     " characters long, the limit is " +
                     std::to_string(sizeof address.sun_path - 1),
                 socket_path};
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());

  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{kIoFailure, "cannot make a socket", std::strerror(errno)};
  const timeval timeout{.tv_sec = kTimeoutSeconds, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return NoAnswer(socket_path, std::strerror(errno));

  if (!SendFrame(fd.get(), request.SerializeAsString(), netns_fd))
    return NoAnswer(socket_path, std::strerror(errno));
  uint32_t length = 0;
  if (!ReadExactly(fd.get(), reinterpret_cast<char*>(&length), sizeof length))
    return NoAnswer(socket_path, errno == EAGAIN
                                     ? "no reply within " + std::to_string(kTimeoutSeconds) + " s"
                                     : std::strerror(errno));
  length = ntohl(length);
  if (length > kMaxFrameBytes)
    return Error{kIoFailure, "the agent's reply has " + std::to_string(length) + " bytes",
                 socket_path};
  std::string payload(length, '\0');
  if (!ReadExactly(fd.get(), payload.data(), payload.size()))
    return NoAnswer(socket_path, std::strerror(errno));
  if (!reply->ParseFromString(payload))
    return Error{kIoFailure, "the agent's reply does not parse", socket_path};
  return std::nullopt;
}

}  // namespace mesh::cni
