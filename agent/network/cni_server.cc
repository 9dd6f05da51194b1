// SPDX-License-Identifier: Apache-2.0
#include "agent/network/cni_server.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cni/protocol.h"
#include "common/log.h"
#include "common/status.h"
#include "fmt/format.h"

namespace mesh::agent {
namespace {

constexpr absl::Duration kIdleLimit = absl::Seconds(10);
constexpr size_t kHeaderBytes = 4;

absl::StatusOr<sockaddr_un> ToAddress(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return absl::InvalidArgumentError(
        fmt::format("socket {}: the path has {} characters, the limit is {}; choose a shorter run "
                    "folder",
                    path, path.size(), sizeof address.sun_path - 1));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

bool IsServed(const sockaddr_un& address) {
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return probe &&
         ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// The descriptor that came with a message; the kernel closes none of them for us.
UniqueFd TakeDescriptor(const msghdr& message) {
  UniqueFd out;
  for (const cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(header))) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
      out.reset(fd);
    }
  }
  return out;
}

}  // namespace

struct CniServer::Connection {
  UniqueFd fd;
  UniqueFd netns;
  std::string received;
  TimerId idle_timer = 0;
};

absl::StatusOr<std::unique_ptr<CniServer>> CniServer::Listen(EventLoop* loop,
                                                             const std::string& path,
                                                             Handler handler) {
  ASSIGN_OR_RETURN(const sockaddr_un address, ToAddress(path));
  if (IsServed(address))
    return absl::FailedPreconditionError(
        fmt::format("another process serves {}: is a mesh-agent running already?", path));
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return ErrnoStatus(errno, fmt::format("cannot remove {}", path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ErrnoStatus(errno, "cannot make a unix socket");
  // The mode of the socket becomes that of its file: there is no moment in which others may
  // connect.
  if (::fchmod(fd.get(), 0600) != 0 ||
      ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd.get(), 256) != 0)
    return ErrnoStatus(errno, fmt::format("cannot listen on {}", path));
  return std::unique_ptr<CniServer>(new CniServer(loop, path, std::move(fd), std::move(handler)));
}

CniServer::CniServer(EventLoop* loop, std::string path, UniqueFd listener, Handler handler)
    : loop_(loop),
      path_(std::move(path)),
      listener_(std::move(listener)),
      handler_(std::move(handler)) {
  loop_->WatchReadable(listener_.get(), [this] { Accept(); });
}

CniServer::~CniServer() {
  loop_->Unwatch(listener_.get());
  while (!connections_.empty()) Close(connections_.begin()->first);
  ::unlink(path_.c_str());
}

void CniServer::Accept() {
  while (connections_.size() < kMaxConnections) {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    auto owned = std::make_unique<Connection>();
    Connection* connection = owned.get();
    connection->fd.reset(fd);
    connection->idle_timer = loop_->RunAfter(kIdleLimit, [this, fd] { Close(fd); });
    connections_.emplace(fd, std::move(owned));
    loop_->WatchReadable(fd, [this, connection] { Read(connection); });
  }
  // The listening socket stays readable; looking away from it is what keeps the loop from spinning.
  loop_->Unwatch(listener_.get());
  accepting_ = false;
}

void CniServer::Close(int fd) {
  auto node = connections_.extract(fd);
  if (node.empty()) return;
  loop_->Cancel(node.mapped()->idle_timer);
  loop_->Unwatch(fd);
  if (!accepting_) {
    accepting_ = true;
    loop_->WatchReadable(listener_.get(), [this] { Accept(); });
  }
}

void CniServer::Read(Connection* connection) {
  char buffer[16384];
  iovec iov{.iov_base = buffer, .iov_len = sizeof buffer};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t n = ::recvmsg(connection->fd.get(), &message, MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return Close(connection->fd.get());
  if (UniqueFd fd = TakeDescriptor(message)) connection->netns = std::move(fd);
  connection->received.append(buffer, static_cast<size_t>(n));

  const std::string& received = connection->received;
  if (received.size() < kHeaderBytes) return;
  uint32_t length;
  std::memcpy(&length, received.data(), sizeof length);
  length = ntohl(length);
  if (length > cni::kMaxFrameBytes) {
    SPDLOG_WARN("cni: a request of {} bytes is refused, the limit is {}", length,
                cni::kMaxFrameBytes);
    return Close(connection->fd.get());
  }
  if (received.size() >= kHeaderBytes + length) Serve(connection);
}

void CniServer::Serve(Connection* connection) {
  v1::CniRequest request;
  v1::CniReply reply;
  const std::string& received = connection->received;
  uint32_t length;
  std::memcpy(&length, received.data(), sizeof length);
  length = ntohl(length);
  if (request.ParseFromArray(received.data() + kHeaderBytes, static_cast<int>(length))) {
    reply = handler_(request, connection->netns ? connection->netns.get() : -1);
  } else {
    reply.set_code(cni::kIoFailure);
    reply.set_message("the request to the agent does not parse");
  }
  const std::string payload = reply.SerializeAsString();
  const uint32_t size = htonl(static_cast<uint32_t>(payload.size()));
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += payload;
  // Replies fit the socket's buffer; a client that does not read gets what fits.
  if (::send(connection->fd.get(), frame.data(), frame.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(frame.size()))
    SPDLOG_WARN("cni: the reply to {} {} could not be sent: {}", request.command(),
                request.container_id(), std::strerror(errno));
  Close(connection->fd.get());
}

}  // namespace mesh::agent
