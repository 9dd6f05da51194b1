// SPDX-License-Identifier: Apache-2.0
#include "controlplane/rpc/server.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "common/log.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"
#include "grpc/support/log.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"

namespace mesh::controlplane {
namespace {

constexpr int kReceiveMax = 16 << 20;  // a manifest of thousands of objects

void ForwardLog(gpr_log_func_args* args) {
  spdlog::debug("grpc: {} ({}:{})", args->message, args->file, args->line);
}

// Why an address cannot be bound: gRPC only says that it could not.
std::string BindProblem(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return "it has no port";
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const int code = getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &list);
  if (code != 0) return gai_strerror(code);
  std::string problem = "it could not be bound";
  for (addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    UniqueFd fd(::socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int one = 1;
    setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!fd || ::bind(fd.get(), entry->ai_addr, entry->ai_addrlen) != 0 ||
        ::listen(fd.get(), 1) != 0) {
      problem = std::strerror(errno);
      break;
    }
  }
  freeaddrinfo(list);
  return problem;
}

// Makes the socket's folder, and removes a socket that nobody listens on any more.
absl::Status PrepareSocket(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(fmt::format("--unix-socket {}: {} bytes, at most {}", path,
                                                  path.size(), sizeof address.sun_path - 1));
  }
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return ErrnoStatus(error.value(), fmt::format("folder of --unix-socket {}", path));
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {}: another meshd answers there", path));
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {}: it exists and is not a socket", path));
  }
  ::unlink(path.c_str());
  return absl::OkStatus();
}

class GrpcServer : public RpcServer {
 public:
  GrpcServer(std::unique_ptr<grpc::Server> server, std::vector<int> ports, std::string socket)
      : server_(std::move(server)), ports_(std::move(ports)), socket_(std::move(socket)) {}
  ~GrpcServer() override {
    if (server_ != nullptr) Shutdown(absl::ZeroDuration());
  }

  std::vector<int> ports() const override { return ports_; }
  void Shutdown(absl::Duration patience) override {
    server_->Shutdown(absl::ToChronoTime(absl::Now() + patience));
    server_->Wait();
    server_.reset();
    if (!socket_.empty()) ::unlink(socket_.c_str());
  }

 private:
  std::unique_ptr<grpc::Server> server_;
  const std::vector<int> ports_;
  const std::string socket_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const Options& options, const std::vector<grpc::Service*>& services) {
  gpr_set_log_function(ForwardLog);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(kReceiveMax);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // A node that vanished is noticed by its stream; agents may ping as often.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 2'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 2'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 500);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  std::vector<int> ports(options.listen.size(), 0);
  for (size_t i = 0; i < options.listen.size(); ++i) {
    builder.AddListeningPort(options.listen[i], grpc::InsecureServerCredentials(), &ports[i]);
  }
  if (!options.unix_socket.empty()) {
    RETURN_IF_ERROR(PrepareSocket(options.unix_socket));
    builder.AddListeningPort("unix:" + options.unix_socket, grpc::InsecureServerCredentials());
  }
  for (grpc::Service* service : services) builder.RegisterService(service);

  // The socket is root's from its first moment on.
  const mode_t mask = ::umask(0177);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ::umask(mask);
  for (size_t i = 0; i < options.listen.size(); ++i) {
    if (server != nullptr && ports[i] > 0) continue;
    const std::string problem = BindProblem(options.listen[i]);
    if (server == nullptr && ports[i] > 0) continue;
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {}: {}", options.listen[i], problem));
  }
  if (server == nullptr) {
    return absl::FailedPreconditionError(
        fmt::format("cannot listen on {}: it could not be bound", options.unix_socket));
  }
  return std::make_unique<GrpcServer>(std::move(server), std::move(ports), options.unix_socket);
}

}  // namespace mesh::controlplane
