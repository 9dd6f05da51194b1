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

bool Answers(const sockaddr_un& address) {
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

bool CniServer::IsServed(const std::string& path) {
  const absl::StatusOr<sockaddr_un> address = ToAddress(path);
  return address.ok() && Answers(*address);
}

absl::StatusOr<std::unique_ptr<CniServer>> CniServer::Listen(EventLoop* loop,
                                                             const std::string& path,
                                                             Handler handler) {
  ASSIGN_OR_RETURN(const sockaddr_un address, ToAddress(path));
  if (Answers(address))
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
    const uint64_t id = next_id_++;
    auto connection = std::make_unique<Connection>();
    connection->fd.reset(fd);
    connection->idle_timer = loop_->RunAfter(kIdleLimit, [this, id] { Close(id); });
    connections_.emplace(id, std::move(connection));
    loop_->WatchReadable(fd, [this, id] { Read(id); });
  }
  // The listening socket stays readable; looking away from it is what keeps the loop from spinning.
  loop_->Unwatch(listener_.get());
  accepting_ = false;
}

void CniServer::Close(uint64_t id) {
  auto node = connections_.extract(id);
  if (node.empty()) return;
  loop_->Cancel(node.mapped()->idle_timer);
  loop_->Unwatch(node.mapped()->fd.get());
  if (!accepting_) {
    accepting_ = true;
    loop_->WatchReadable(listener_.get(), [this] { Accept(); });
  }
}

void CniServer::Read(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection* connection = found->second.get();
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
  if (n <= 0) return Close(id);
  if (UniqueFd fd = TakeDescriptor(message)) connection->netns = std::move(fd);
  connection->received.append(buffer, static_cast<size_t>(n));

  const std::string& received = connection->received;
  if (received.size() < kHeaderBytes) return;
  uint32_t length;
  std::memcpy(&length, received.data(), sizeof length);
  length = ntohl(length);
  if (length > cni::kMaxFrameBytes) {
    spdlog::warn("cni: a request of {} bytes is refused, the limit is {}", length,
                 cni::kMaxFrameBytes);
    return Close(id);
  }
  if (received.size() < kHeaderBytes + length) return;
  connection->received.resize(kHeaderBytes + length);
  Serve(id, connection);
}

void CniServer::Serve(uint64_t id, Connection* connection) {
  loop_->Cancel(connection->idle_timer);
  loop_->Unwatch(connection->fd.get());
  v1::CniRequest request;
  if (!request.ParseFromArray(connection->received.data() + kHeaderBytes,
                              static_cast<int>(connection->received.size() - kHeaderBytes))) {
    v1::CniReply reply;
    reply.set_code(cni::kIoFailure);
    reply.set_message("the request to the agent does not parse");
    return Send(id, reply);
  }
  const UniqueFd netns = std::move(connection->netns);
  handler_(request, netns ? netns.get() : -1,
           [this, id, alive = std::weak_ptr<bool>(alive_)](const v1::CniReply& reply) {
             if (!alive.expired()) Send(id, reply);
           });
}

void CniServer::Send(uint64_t id, const v1::CniReply& reply) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  const std::string payload = reply.SerializeAsString();
  const uint32_t size = htonl(static_cast<uint32_t>(payload.size()));
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += payload;
  // Replies fit the socket's buffer; a client that does not read gets what fits.
  if (::send(found->second->fd.get(), frame.data(), frame.size(), MSG_NOSIGNAL) !=
      static_cast<ssize_t>(frame.size()))
    spdlog::warn("cni: a reply could not be sent: {}", std::strerror(errno));
  Close(id);
}

}  // namespace mesh::agent
