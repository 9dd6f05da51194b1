// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <ostream>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "cli/access_client.h"
#include "cli/client.h"
#include "cli/commands/forwarded_port.h"
#include "cli/commands/list_option.h"
#include "cli/commands/pod_commands.h"
#include "cli/commands/targets.h"
#include "common/socket_address.h"
#include "common/status.h"
#include "common/unique_fd.h"
#include "fmt/format.h"

namespace mesh::cli {
namespace {

constexpr size_t kBlockBytes = 32 * 1024;

struct Flags {
  std::vector<std::string> args;
  std::vector<std::string> addresses = {"localhost"};
  bool addresses_given = false;
};

struct Listener {
  UniqueFd fd;
  uint16_t local = 0;
  uint16_t remote = 0;
};

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

// Both directions of one connection, each to its own end. The status is what the pod's side said.
absl::Status Carry(int fd, const v1::StreamStart& start, AccessClient& client) {
  ASSIGN_OR_RETURN(std::unique_ptr<ExecStream> stream, client.Stream(start));
  std::thread input([&] {
    std::string block(kBlockBytes, '\0');
    v1::ExecInput message;
    while (true) {
      const ssize_t n = ::recv(fd, block.data(), block.size(), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      message.set_stdin(block.data(), static_cast<size_t>(n));
      if (!stream->Write(message)) return;
    }
    message.set_stdin_closed(true);
    stream->Write(message);
  });
  v1::ExecOutput output;
  bool ended = false, left = false;
  while (!ended && !left && stream->Read(&output)) {
    if (output.has_stdout()) {
      // A client that reads no more has gone altogether, or the pod will be told so.
      left = !SendAll(fd, output.stdout());
    } else if (output.output_case() == v1::ExecOutput::OUTPUT_NOT_SET) {
      ::shutdown(fd, SHUT_WR);
    } else if (output.has_exit_code()) {
      ended = true;
    }
  }
  // A stream that is over has its own status, which a cancellation would replace.
  if (ended || left) stream->Cancel();
  ::shutdown(fd, SHUT_RDWR);
  input.join();
  const absl::Status status = stream->Finish();
  return ended || left ? absl::OkStatus() : status;
}

class Forwarder {
 public:
  Forwarder(const v1::Pod& pod, AccessClient& client, Context& context)
      : pod_(pod), client_(client), context_(context), gone_(::eventfd(0, EFD_CLOEXEC)) {}

  ~Forwarder() {
    for (Connection& each : connections_) {
      ::shutdown(each.fd.get(), SHUT_RDWR);
      each.thread.join();
    }
  }

  // FAILED_PRECONDITION when the address is taken.
  absl::Status Listen(const std::string& address, const ForwardedPort& port, uint16_t remote) {
    ASSIGN_OR_RETURN(const IpAddress ip, IpAddress::Parse(address));
    SocketAddress at(ip, port.local);
    UniqueFd fd(::socket(at.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int one = 1;
    if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd && at.family() == AF_INET6)
      ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (!fd || ::bind(fd.get(), at.get(), at.length()) != 0 || ::listen(fd.get(), 128) != 0) {
      return absl::FailedPreconditionError(
          fmt::format("unable to listen on {}: {}", at.ToString(), std::strerror(errno)));
    }
    SocketAddress bound;
    ::getsockname(fd.get(), bound.get(), bound.room());
    context_.out << fmt::format("Forwarding from {} -> {}\n", bound.ToString(), remote);
    context_.out.flush();
    listeners_.push_back({.fd = std::move(fd), .local = bound.port(), .remote = remote});
    return absl::OkStatus();
  }
  // Of the listener that was made last.
  uint16_t local() const { return listeners_.back().local; }

  // Until the pod is gone.
  absl::Status Run() {
    std::vector<pollfd> waits = {{.fd = gone_.get(), .events = POLLIN, .revents = 0}};
    for (const Listener& each : listeners_)
      waits.push_back({.fd = each.fd.get(), .events = POLLIN, .revents = 0});
    while (true) {
      if (::poll(waits.data(), waits.size(), /*timeout=*/-1) < 0 && errno != EINTR)
        return ErrnoStatus(errno, "poll");
      if (waits[0].revents != 0) return absl::UnavailableError("lost connection to pod");
      for (size_t i = 0; i < listeners_.size(); ++i) {
        if (waits[i + 1].revents != 0) Accept(listeners_[i]);
      }
      connections_.remove_if([](Connection& each) {
        if (!each.done) return false;
        each.thread.join();
        return true;
      });
    }
  }

 private:
  struct Connection {
    UniqueFd fd;
    std::atomic<bool> done = false;
    std::thread thread;
  };

  void Accept(const Listener& listener) {
    UniqueFd fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) return;  // the client has thought better of it
    const int one = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    Say(context_.out, fmt::format("Handling connection for {}\n", listener.local));
    Connection& connection = connections_.emplace_back();
    connection.fd = std::move(fd);
    connection.thread = std::thread([this, &connection, &listener] {
      v1::StreamStart start;
      start.set_namespace_(pod_.metadata().namespace_());
      start.set_pod(pod_.metadata().name());
      start.set_port(listener.remote);
      const absl::Status status = Carry(connection.fd.get(), start, client_);
      if (!status.ok()) {
        Say(context_.err,
            fmt::format("error: an error occurred forwarding {} -> {}: {}\n", listener.local,
                        listener.remote, std::string(status.message())));
        const uint64_t one_more = 1;
        if (IsServerNotFound(status) &&
            ::write(gone_.get(), &one_more, sizeof one_more) != sizeof one_more) {
          Say(context_.err, "error: lost connection to pod\n");
        }
      }
      ::shutdown(connection.fd.get(), SHUT_RDWR);
      connection.done = true;
    });
  }

  void Say(std::ostream& to, const std::string& line) {
    absl::MutexLock lock(&mutex_);
    to << line;
    to.flush();
  }

  const v1::Pod& pod_;
  AccessClient& client_;
  Context& context_;
  const UniqueFd gone_;
  std::vector<Listener> listeners_;
  std::list<Connection> connections_;
  absl::Mutex mutex_;  // of the two streams
};

absl::StatusOr<int> Run(const Flags& flags, Context& context) {
  if (flags.args.size() < 2) {
    return UsageError("TYPE/NAME and list of ports are required for port-forward");
  }
  ASSIGN_OR_RETURN(const Target target, ParsePodTarget(flags.args[0], context.ns()));
  ASSIGN_OR_RETURN(const std::vector<std::string> addresses, ListenAddresses(flags.addresses));
  std::vector<ForwardedPort> ports;
  for (size_t i = 1; i < flags.args.size(); ++i) {
    ASSIGN_OR_RETURN(ForwardedPort port, ParseForwardedPort(flags.args[i]));
    ports.push_back(std::move(port));
  }
  ASSIGN_OR_RETURN(ControlClient * client, context.client());
  std::string note;
  ASSIGN_OR_RETURN(const v1::Pod pod, FindPod(target, *client, &note));
  if (pod.status().phase() != "Running") {
    return absl::FailedPreconditionError(
        fmt::format("unable to forward port because pod is not running. Current status={}",
                    pod.status().phase()));
  }
  v1::Resource service;
  if (target.type.kind == v1::KIND_SERVICE) {
    v1::GetRequest request;
    request.mutable_name()->set_kind(v1::KIND_SERVICE);
    request.mutable_name()->set_namespace_(target.ns);
    request.mutable_name()->set_name(target.name);
    ASSIGN_OR_RETURN(service, client->Get(request));
  }
  const auto access = AccessClient::New(client->server());
  Forwarder forwarder(pod, *access, context);
  for (ForwardedPort& port : ports) {
    const bool named = port.local == 0 && flags.args[1 + (&port - ports.data())][0] != ':';
    uint16_t remote = 0;
    if (service.has_service()) {
      ASSIGN_OR_RETURN(remote, ServicePodPort(service.service(), pod, port.remote));
      if (named) {
        ASSIGN_OR_RETURN(port.local, ServicePortNumber(service.service(), port.remote));
      }
    } else {
      ASSIGN_OR_RETURN(remote, PodPort(pod, port.remote));
      if (named) port.local = remote;
    }
    // With "localhost" a machine without IPv6 has one of the two.
    absl::Status last;
    bool any = false;
    for (const std::string& address : addresses) {
      const absl::Status status = forwarder.Listen(address, port, remote);
      if (status.ok()) {
        any = true;
        // The same one at every address.
        if (port.local == 0) port.local = forwarder.local();
      } else if (flags.addresses_given || address != "::1") {
        last = status;
      }
    }
    if (!any || !last.ok()) return last;
  }
  const absl::Status status = forwarder.Run();
  return status.ok() ? absl::StatusOr<int>(0) : status;
}

}  // namespace

Command PortForwardCommand() {
  return {.name = "port-forward",
          .summary = "Forward local ports to a pod",
          .group = kGroupTroubleshoot,
          .usage = "(POD | TYPE/NAME) [LOCAL:]REMOTE... [--address ADDRESS]",
          .examples =
              "  meshctl port-forward web-1 8080:80\n"
              "  meshctl port-forward service/web :http\n"
              "  meshctl port-forward deployment/db 5432 --address 127.0.0.1\n",
          .define = [](CLI::App& app, Context& context) -> Action {
            auto flags = std::make_shared<Flags>();
            app.add_option("ports", flags->args);
            auto given = std::make_shared<std::vector<std::string>>();
            AddList(app, "--address", given.get(),
                    "Addresses to listen on; localhost, the default, is 127.0.0.1 and ::1");
            return [flags, given, &context] {
              if (!given->empty()) {
                flags->addresses = *given;
                flags->addresses_given = true;
              }
              return Run(*flags, context);
            };
          }};
}

}  // namespace mesh::cli
