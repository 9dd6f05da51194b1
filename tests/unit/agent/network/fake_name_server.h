// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "agent/network/forwarder.h"
#include "common/unique_fd.h"
#include "gtest/gtest.h"
#include "tests/unit/agent/network/loop_thread.h"

namespace mesh::agent {

// A name server on a free port of 127.0.0.1, UDP and TCP; `answer` runs on the loop, gets a
// query and returns the packets to send back.
class FakeNameServer {
 public:
  using Answer = std::function<std::vector<std::string>(const std::string& query, bool tcp)>;

  FakeNameServer(LoopThread* thread, Answer answer)
      : thread_(thread), loop_(thread->loop()), answer_(std::move(answer)) {
    tcp_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(tcp_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(tcp_.get(), 16), 0);
    socklen_t length = sizeof address;
    ::getsockname(tcp_.get(), reinterpret_cast<sockaddr*>(&address), &length);
    udp_.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::bind(udp_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    server_ = {IpAddress::V4(INADDR_LOOPBACK), ntohs(address.sin_port)};
    thread_->Call([this] {
      loop_->WatchReadable(udp_.get(), [this] { OnDatagram(); });
      loop_->WatchReadable(tcp_.get(), [this] { OnConnection(); });
    });
  }
  ~FakeNameServer() {
    thread_->Call([this] {
      loop_->Unwatch(udp_.get());
      loop_->Unwatch(tcp_.get());
      if (client_) loop_->Unwatch(client_.get());
    });
  }

  NameServer server() const { return server_; }
  int queries() const { return queries_; }

 private:
  void OnDatagram() {
    char buffer[2048];
    sockaddr_in from{};
    socklen_t length = sizeof from;
    const ssize_t n = ::recvfrom(udp_.get(), buffer, sizeof buffer, 0,
                                 reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0) return;
    ++queries_;
    for (const std::string& packet : answer_(std::string(buffer, static_cast<size_t>(n)), false))
      ::sendto(udp_.get(), packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from),
               sizeof from);
  }
  void OnConnection() {
    client_.reset(::accept4(tcp_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (client_) loop_->WatchReadable(client_.get(), [this] { OnStream(); });
  }
  void OnStream() {
    char buffer[2048];
    const ssize_t n = ::recv(client_.get(), buffer, sizeof buffer, 0);
    if (n <= 2) {
      loop_->Unwatch(client_.get());
      client_.reset();
      return;
    }
    ++queries_;
    for (const std::string& packet :
         answer_(std::string(buffer + 2, static_cast<size_t>(n) - 2), true)) {
      const std::string framed =
          std::string{static_cast<char>(packet.size() >> 8), static_cast<char>(packet.size())} +
          packet;
      // In two pieces: a stream has no packets.
      ::send(client_.get(), framed.data(), 1, MSG_NOSIGNAL);
      ::send(client_.get(), framed.data() + 1, framed.size() - 1, MSG_NOSIGNAL);
    }
  }

  LoopThread* thread_;
  EventLoop* loop_;
  Answer answer_;
  UniqueFd udp_, tcp_, client_;
  NameServer server_;
  std::atomic<int> queries_ = 0;
};

}  // namespace mesh::agent
